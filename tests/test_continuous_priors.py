"""Priors of continuous actions: SARSA on a teacher's data, spreads, teachers with eyes of their own, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from reincarnate import envs
from reincarnate.cli import main
from reincarnate.data.layouts import NEXT_ACTED, NEXT_ACTION, Transitions
from reincarnate.data.memory import Memory
from reincarnate.data.replay import Replay
from reincarnate.errors import UserError
from reincarnate.methods import BC, Kickstart, QDagger
from reincarnate.priors.temperature import measure_spread
from reincarnate.run.execute import execute
from reincarnate.run.prepare import prepare
from reincarnate.run.settings import Run
from reincarnate.students import DQN, PPO, SAC, TD3
from reincarnate.students.noise import Noise
from reincarnate.students.qcritics import Successor
from reincarnate.teachers import open_teacher
from reincarnate.teachers.fit import check_fit, open_for
from reincarnate.types import Batch, Prediction, TaskSpec, TimeStep

SPEC = TaskSpec("Point", (2,), "float32", 1, 1, None, {"env": "Point"}, ((-2.0,), (2.0,)))
TEACHERS = """
import torch

def means(obs):  # in the task's units
    return 3 * obs[:, :1] - 1
means.tells = "means"

def gaussian(obs):
    return torch.cat([obs[:, :1], torch.full((len(obs), 1), 0.5).log()], -1)
gaussian.tells = "gaussian"

def squashed(obs):
    return torch.cat([0 * obs[:, :1], torch.full((len(obs), 1), 0.25).log()], -1)
squashed.tells = "squashed"

def wide(obs):
    return obs[:, :1]
wide.tells, wide.card = "means", {"bounds": ((-3.0,), (3.0,)), "actions": 1}

def privileged(state):
    return state.float() * 2
privileged.tells = "means"
"""


class Point(gym.Env):
    """Where it is and where it shall be; six steps."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-2, 2, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.goal = 0, self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.shown(), {}

    def shown(self):
        return self.goal

    def step(self, action):
        self.t += 1
        reward = -float((action[0] - 2 * self.goal[0]) ** 2)
        self.goal = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.shown(), reward, False, self.t == 6, {}


class Privileged(Point):
    """The goal is an entry of its own, beside a number that says nothing."""

    observation_space = gym.spaces.Dict(
        {"goal": gym.spaces.Box(-1, 1, (1,), np.float32), "noise": gym.spaces.Box(-1, 1, (3,), np.float32)}
    )

    def shown(self):
        return {"goal": self.goal[:1], "noise": np.repeat(self.goal[1:], 3)}


@pytest.fixture(scope="module", autouse=True)
def _registered():
    gym.register("Point-v0", entry_point=Point, max_episode_steps=10)
    gym.register("Privileged-v0", entry_point=Privileged, max_episode_steps=10)
    yield
    del gym.registry["Point-v0"], gym.registry["Privileged-v0"]


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(TEACHERS)
    return f"py:{tmp_path}/mine.py"


def run_of(method, student, folder, **changes):
    brief = {"env_steps": 30, "evaluations": 1, "eval_episodes": 2, "final_episodes": 2, "reference_episodes": 2}
    run = Run("Point-v0", method, student, data_env_steps=60, store=str(folder / "store"), **brief)
    return replace(run, **changes)


def small(kind, **changes):
    return kind(hidden=(8,), batch_size=8, warmup=10, replay_size=500, **changes)


# ---- SARSA -------------------------------------------------------------------------------------------------


def test_the_datas_next_action_is_that_of_the_row_that_a_target_bootstraps_from():
    rows = Replay(SPEC, 64, 1)
    for t in range(9):  # episodes of three steps: a termination, a limit, a termination
        over, cut = np.array([t % 3 == 2 and t != 5]), np.array([t == 5])
        obs = np.full((1, 2), t, np.float32)
        rows.add(obs, np.array([[t / 10]], np.float32), np.zeros(1, np.float32), over, cut, obs + 1)
    batch = Transitions(2, 0.9, next_action=True).gather(rows, 0, np.array([0, 1, 2, 4, 5, 6, 8]), [])
    # rows: 0 1 2 (tail 3) 4 5 6 (tail 7) 8 9 10 (tail 11); actions t/10 in units of ±2
    acted = batch.notes[NEXT_ACTED].tolist()
    assert acted == [True, False, False, True, False, False, True]
    chosen = batch.notes[NEXT_ACTION][batch.notes[NEXT_ACTED]][:, 0] * 2
    assert chosen.tolist() == pytest.approx([0.2, 0.5, 0.8])
    assert NEXT_ACTION not in Transitions(2, 0.9).gather(rows, 0, np.array([0]), []).notes


@pytest.mark.parametrize("kind", [TD3, SAC])
def test_targets_of_sarsa_ask_the_datas_action_without_entropy_and_the_students_where_nobody_acted(kind):
    student = small(kind).newborn(SPEC, 0)
    rng = np.random.default_rng(0)
    obs = torch.randn(6, 2)
    batch = Batch(obs, torch.zeros(6, 1), torch.ones(6), torch.full((6,), 0.5), obs + 1)
    plain = student._target(student._see(batch), batch, Noise(np.random.default_rng(1), student.device))
    acted = torch.tensor([True, True, False, True, False, True])
    given = batch._replace(notes={NEXT_ACTION: torch.full((6, 1), 0.3), NEXT_ACTED: acted})
    found = student._target(student._see(given), given, Noise(np.random.default_rng(1), student.device))
    out = student.targets["critic"].module(batch.next_obs, given.notes[NEXT_ACTION])
    by_data = student.critic.target(Successor(out, batch.reward, batch.discount))
    assert torch.allclose(found[acted], by_data[acted]) and torch.equal(found[~acted], plain[~acted])
    assert not torch.allclose(found[acted], plain[acted])
    assert rng is not None


def test_qdagger_learns_offline_as_the_data_went_on_and_others_are_refused(source, tmp_path):
    method = QDagger(offline_updates=5, critic_targets="data")
    offline, online = method.phases(10)
    assert offline.objective.sarsa and not online.objective.sarsa and not QDagger().phases(10)[0].objective.sarsa
    result = execute(run_of(method, small(SAC), tmp_path, teacher=f"{source}:means"), tmp_path / "run")
    assert result["offline_updates"] == 5 and np.isfinite(result["score"])
    with pytest.raises(UserError, match="--critic-targets data is for critics"):
        prepare(run_of(method, PPO(rollout=16, batch_size=16), tmp_path, teacher=f"{source}:means"))
    with pytest.raises(UserError, match="--critic-targets data is for critics"):
        prepare(run_of(method, small(TD3, expectile=0.7), tmp_path, teacher=f"{source}:means"))
    with pytest.raises(UserError, match="--critic-targets data reads lone steps"):
        prepare(
            run_of(
                method, small(SAC, memory="lstm", unroll=4, overlap=2, burn_in=2), tmp_path, teacher=f"{source}:means"
            )
        )
    with pytest.raises(UserError, match="continuous actions"):
        prepare(run_of(method, DQN(), tmp_path, teacher=f"{source}:means"))


@pytest.mark.parametrize("reads, by", [("least", torch.amin), ("mean", torch.mean)])
def test_what_the_actor_climbs_is_a_setting(reads, by):
    student = small(SAC, critics=3, reads=reads).newborn(SPEC, 0)
    obs, action = torch.randn(4, 2), torch.rand(4, 1)
    assert torch.allclose(student.valued(obs, action), by(student.network.critic(obs, action), 0))


# ---- teachers of one's own ---------------------------------------------------------------------------------


def said(address, obs, spec=SPEC) -> Prediction:
    teacher = open_for(address, spec)
    return teacher.predict(TimeStep(obs, torch.ones(len(obs), dtype=torch.bool)), teacher.initial(len(obs)))[0]


def test_a_callable_tells_means_and_gaussians_in_the_tasks_units(source):
    obs = torch.tensor([[0.5, 0.0], [-0.5, 1.0]])
    kind, x = said(f"{source}:means", obs)
    assert kind == "means" and x.flatten().tolist() == pytest.approx([0.25, -1.25])
    kind, x = said(f"{source}:gaussian", obs)
    assert kind == "gaussian" and x[0].tolist() == pytest.approx([0.25, np.log(0.25)])
    kind, x = said(f"{source}:squashed", obs)  # before tanh there is no unit
    assert kind == "squashed" and x[0].tolist() == pytest.approx([0.0, np.log(0.25)])


@pytest.mark.parametrize("name", ["means", "gaussian", "squashed"])
def test_they_teach_students_of_every_kind(name, source, tmp_path):
    for i, student in enumerate((small(TD3), small(SAC), PPO(rollout=16, batch_size=16))):
        run = run_of(Kickstart(), student, tmp_path, teacher=f"{source}:{name}", envs=1)
        assert np.isfinite(execute(run, tmp_path / f"{name}{i}")["score"])


def test_a_temperature_that_is_asked_for_with_continuous_actions_is_told_to_change_nothing(source, tmp_path):
    def told(**settings) -> list[str]:
        method = Kickstart(**settings)
        found = prepare(run_of(method, small(TD3), tmp_path, teacher=f"{source}:means")).warnings
        return [line for line in found if "temperature" in line]

    assert told() == []
    assert told(temperature=1.0)[0].startswith(
        "--temperature 1 changes nothing: continuous actions have no temperature"
    )
    both = told(temperature=0.5, teacher_temperature=1.0)
    assert both[0].startswith("--temperature 0.5 and --teacher-temperature 1 change nothing")


def test_a_privileged_teacher_sees_what_the_student_does_not(source, tmp_path):
    task, teacher = "Privileged-v0?sees=noise", f"view:goal:{source}:privileged"
    spec = envs.spec(task)
    assert spec.obs_shape == (3,) and envs.spec("Privileged-v0").obs_shape == (4,)
    run = run_of(QDagger(offline_updates=5), small(SAC), tmp_path, env=task, teacher=teacher)
    result = execute(run, tmp_path / "run")
    assert result["reference"]["teacher"]["mean"] == 0, "the teacher that sees the goal plays without a fault"
    assert open_teacher(teacher).card.sha256 != open_teacher(f"{source}:privileged").card.sha256
    with pytest.raises(UserError, match="its observation has goal, noise"):
        envs.spec("Privileged-v0?sees=state")
    with pytest.raises(UserError, match="offers no view 'state' for a teacher; it offers goal, noise"):
        execute(replace(run, teacher=f"view:state:{source}:privileged"), tmp_path / "other")


def test_a_teacher_that_sees_the_state_teaches_a_student_that_sees_pixels(tmp_path):
    rule = tmp_path / "rule.py"
    told = "torch.eye(8)[:1].expand(len(numbers), 8) * 9"
    rule.write_text(f"import torch\ndef state(numbers):\n    assert numbers.shape[1:] == (2,)\n    return {told}\n")
    task = "own_tasks:Doom?sees=screen&max_episode_steps=20"
    assert envs.spec(task).obs_shape == (60, 80, 3) and envs.spec(task).obs_dtype == "uint8"
    student = PPO(hidden=(8,), rollout=8, batch_size=8, epochs=1)
    run = run_of(Kickstart(), student, tmp_path, env=task, teacher=f"view:gamevariables:py:{rule}:state")
    run = replace(run, envs=1, env_steps=16, evaluations=1)
    assert execute(run, tmp_path / "run")["updates"] == 2
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert any(line.get("loss_distil", 0) > 0 for line in lines)


def test_the_students_entries_are_named_by_a_flag(source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", f"view:goal:{source}:privileged", "--env", "Privileged-v0", "--sees", "noise", "--json"]
    main([*words, "--episodes", "2"])
    assert json.loads(capsys.readouterr().out)["score"] == 0


# ---- spreads -----------------------------------------------------------------------------------------------


def test_auto_gives_a_teacher_of_another_kind_its_own_median_spread(source, tmp_path):
    teacher = open_for(f"{source}:gaussian", envs.spec("Point-v0"))
    measured = measure_spread(envs.spec("Point-v0"), teacher, "greedy", None, lambda *_: None)
    assert measured.std == pytest.approx(0.25)  # 0.5 of the task's units, whose bounds are 4 apart
    run = run_of(Kickstart(temperature="auto"), small(SAC), tmp_path, teacher=f"{source}:gaussian")
    result = execute(run, tmp_path / "run")
    assert result["temperature"]["std"] == pytest.approx(0.25) and any("σ = 0.25" in line for line in result["plan"])
    same = replace(run, student=PPO(rollout=16, batch_size=16), envs=1)
    assert not any("σ" in line for line in execute(same, tmp_path / "same")["plan"]), "its spread is told as it is"
    with pytest.raises(UserError, match="tells means and no spread; --teacher-std"):
        execute(replace(run, teacher=f"{source}:means"), tmp_path / "none")


# ---- what is refused -----------------------------------------------------------------------------------------


def test_a_teacher_whose_bounds_differ_is_refused_with_both_printed(source, capsys):
    spec = envs.spec("Point-v0")
    with pytest.raises(UserError, match=r"from -3 to 3, Point-v0 takes -2 to 2.*--wrapper"):
        check_fit(open_for(f"{source}:wide", spec).card, spec)
    with pytest.raises(SystemExit) as left:
        main(["evaluate", f"{source}:wide", "--env", "Point-v0", "--episodes", "2"])
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_data_with_actions_outside_the_box_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    action = rng.uniform(-2, 2, (24, 1)).astype(np.float32)
    action[3] = 2.6
    over = np.arange(24) % 6 == 5
    obs = rng.uniform(-1, 1, (24, 2)).astype(np.float32)
    columns = {"observations": obs, "actions": action, "rewards": np.zeros(24, np.float32), "terminals": over}
    np.savez(tmp_path / "log.npz", **columns)
    run = run_of(BC(offline_updates=2), small(SAC), tmp_path, data=str(tmp_path / "log.npz"))
    with pytest.raises(UserError, match=r"1 of 24 actions lie outside the bounds of Point-v0, by up to 0\.15"):
        execute(run, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_spread_that_overflows_is_refused():
    from reincarnate.teachers.heads import FixedSpread, NoiseSpread

    for spread in (
        lambda: FixedSpread(torch.tensor([0.0, 100.0])),
        lambda: NoiseSpread(torch.full((3, 1), 50.0), False),
    ):
        with pytest.raises(UserError, match="beyond 10, σ overflows"):
            spread()
    NoiseSpread(torch.full((3, 1), 50.0), True)  # expln grows slowly
    with pytest.raises(UserError, match=r"--student.log-std 40 is too large"):
        PPO(log_std=40.0).check(8)


def test_a_callable_whose_spread_overflows_is_refused_before_anything_runs(tmp_path):
    for kind in ("gaussian", "squashed"):
        rule = tmp_path / f"{kind}.py"
        rule.write_text(
            f"import torch\ndef wide(obs):\n    return torch.full((len(obs), 2), 40.0)\nwide.tells = '{kind}'\n"
        )
        run = run_of(Kickstart(), small(SAC), tmp_path, teacher=f"py:{rule}:wide")
        with pytest.raises(UserError, match=r"wide: its log_std goes up to 40; beyond 10, σ overflows"):
            execute(run, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_memory_cut_for_sarsa_draws_it(tmp_path):
    rows = Replay(SPEC, 64, 1)
    for t in range(20):
        obs = np.full((1, 2), t, np.float32)
        end = np.array([t % 5 == 4])
        rows.add(obs, np.zeros((1, 1), np.float32), np.zeros(1, np.float32), end, ~end & False, obs + 1)
    batch = Memory(rows, Transitions(1, 0.9, next_action=True)).sample(8, np.random.default_rng(0))
    assert batch.notes[NEXT_ACTED].shape == (8,) and batch.notes[NEXT_ACTION].shape == (8, 1)
