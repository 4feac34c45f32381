"""Seeds trained together are what they are alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupting import metrics
from probes import Catch, CatchTeacher, CountingTeacher, catch, memory_of, on_catch, plays_of, run
from thinning import slow

from reincarnate.agents.agent import open_agent
from reincarnate.cli import main
from reincarnate.data.memory import Memory
from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.methods import JSRL, RLPD, DQfD, FineTune, Kickstart, QDagger, Rehearsal, Scratch, WarmCritic
from reincarnate.methods.weaning import Weaning
from reincarnate.run.assemble import assemble
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import execute, execute_together
from reincarnate.run.prepare import measure_priors, prepare_all
from reincarnate.run.settings import Run
from reincarnate.students import DQN, IQN, PQN, Modern, Rainbow
from reincarnate.students.stacked import StackedStudent
from reincarnate.studies.matrix import Cell
from reincarnate.studies.units import groups, work
from reincarnate.training.loop import Loop
from reincarnate.training.population import Apart, Stacked
from reincarnate.types import LOGITS, VALUES, Prediction

SEEDS = 3
SMALL = {"hidden": (16,), "warmup": 40, "batch_size": 8, "update_every": 2, "target_every": 20, "replay_size": 3000}
LINEAR = Weaning(by="linear")
ROLLOUTS = PQN(hidden=(16,), rollout=8, batch_size=8)


def newborn(method, config, seed, copies=2, memory=None):
    """A training on Catch."""
    method = method.suited(VALUES)
    return on_catch(
        config,
        [replace(p, evaluations=2) for p in method.phases(120)],
        seed,
        copies,
        CatchTeacher() if "teacher" in method.needs else None,
        plays_of(CatchTeacher(), 600) if "data" in method.needs else None,
        memory=memory,
    )


def alone(method, config, seed):
    training, lines = newborn(method, config, seed), []
    run(training, lines.append)
    return training, lines


def together(method, config, copies=2):
    """All seeds in step: stacked into one where that is done, else apart over one environment."""
    memories, whole = [None] * SEEDS, None
    if not config.on_rollouts:
        whole = memory_of(replace(config, replay_size=config.replay_size * SEEDS), Catch.spec, SEEDS * copies)
        whole.rows.predictions_of("teacher", VALUES, Catch.spec.actions)
        parts = [whole.rows.shard(i, SEEDS) for i in range(SEEDS)]
        memories = [Memory(part, config.layout(), whole.sampler.like(part)) for part in parts]
    trainings = [newborn(method, config, seed, copies, memories[seed]) for seed in range(SEEDS)]
    team = Stacked(trainings, StackedStudent([t.student for t in trainings]), whole.rows) if whole else Apart(trainings)
    lines = [[] for _ in range(SEEDS)]
    loop = Loop(trainings, {"student": team}, catch(SEEDS * copies))
    loop.run([rows.append for rows in lines], [lambda: None] * SEEDS, lambda phase: None)
    return trainings, lines


@pytest.mark.parametrize(
    "method, config",
    [
        slow(Scratch(), DQN(**SMALL)),
        (Kickstart(), DQN(**SMALL, double=True)),
        slow(QDagger(offline_updates=60), DQN(**SMALL)),
        slow(QDagger(offline_updates=20, wean=LINEAR), Rainbow(**SMALL, noisy=True, dueling=True)),
        slow(Kickstart(wean=LINEAR), IQN(**SMALL | {"hidden": (16, 8)})),
        slow(Scratch(), Modern(**SMALL, reset_every=20)),
        slow(JSRL(horizon=5), DQN(**SMALL)),
        slow(WarmCritic(critic_env_steps=40), DQN(**SMALL)),
        slow(Rehearsal(share=0.5), Rainbow(**SMALL)),
        slow(DQfD(offline_updates=20, share=0.25), DQN(**SMALL)),
        slow(Scratch(), ROLLOUTS),
        (Kickstart(), ROLLOUTS),
        (JSRL(horizon=5), ROLLOUTS),
        slow(RLPD(), ROLLOUTS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_seeds_trained_together_equal_seeds_trained_alone(method, config):
    trainings, lines = together(method, config)
    for seed, (one, rows) in enumerate(zip(trainings, lines, strict=True)):
        other, expected = alone(method, config, seed)
        assert one.at.__dict__ | {"seconds": 0} == other.at.__dict__ | {"seconds": 0}
        torch.testing.assert_close(one.student.state()["online"], other.student.state()["online"], rtol=1e-3, atol=1e-4)
        tables = [training.memory.rows for training in (one, other)]
        for name in ("action", "reward", "flags", "age"):
            kept = [t.columns[name].reshape(t.streams, t.rows)[:, : min(t.added.min(), t.rows)] for t in tables]
            assert np.array_equal(*kept)
        for line, told in zip(rows, expected, strict=True):
            assert line.keys() == told.keys()
            numbers = {key for key, value in line.items() if isinstance(value, float)} - {"seconds"}
            for key in line.keys() - {"seconds"}:
                expected_value = pytest.approx(told[key], rel=1e-3, abs=1e-4) if key in numbers else told[key]
                assert line[key] == expected_value, key


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_putting_one_stacked_student_back_changes_nothing_of_another(name):
    students = [newborn(Scratch(), DQN(**SMALL, optimizer=name), seed).student for seed in range(2)]
    early = {key: value.clone() for key, value in students[0].state().items()}
    stacked = StackedStudent(students)
    stacked.online.data += 1.0
    stacked.optimizer.step(stacked.online.data, torch.ones_like(stacked.online.data), 0.1)
    late = {key: value.clone() for key, value in students[1].state().items()}
    students[0].restore(early)
    for key, value in students[1].state().items():
        assert torch.equal(value, late[key]), key


def test_a_part_of_a_replay_is_what_was_added_to_its_streams():
    config = DQN(**SMALL)
    memory = memory_of(config, Catch.spec, 4).rows
    parts = [memory.shard(i, 2) for i in range(2)]
    obs = np.arange(4 * 40, dtype=np.float32).reshape(4, 40)
    for step in range(5):
        over = np.array([False, step == 2, False, False])
        memory.add(obs + step, np.full(4, step), np.arange(4.0), over, over & False, obs + step + 1)
    memory.cut(obs + 5)
    assert [part.added.tolist() for part in parts] == [[6, 7], [6, 6]]
    assert [part.transitions for part in parts] == [10, 10] and memory.transitions == 20
    batch = Memory(parts[1], config.layout()).sample(64, np.random.default_rng(0))
    assert set((batch.obs[:, 0] // 40).int().tolist()) == {2, 3}


# ---- teachers that watch -------------------------------------------------------------------------------


class Recounting(CountingTeacher):
    """It remembers: says 1, 2, 3 … from each episode's start."""

    def predict(self, step, carry):
        _, count = CountingTeacher.predict(self, step, carry)
        return Prediction(LOGITS, count.expand(-1, 3).clone()), count


class Viewing(CatchTeacher):
    """It sees the task by a view of its own."""

    view = "ball"

    def told(self, obs):
        return obs[:, :1].expand(-1, 3).clone()


class TwoViews(Copies):
    """Catch, which also shows nothing but the ball's height."""

    def view(self, name):
        if name != "ball":
            return Copies.view(self, name)
        boards = Copies.view(self, "student").reshape(self.n, Catch.rows, Catch.columns)
        return boards.any(-1)[:, :-1].argmax(-1).astype(np.float32)[:, None] + 1


@pytest.mark.parametrize("teacher", [Recounting, Viewing])
@pytest.mark.parametrize("config", [DQN(**SMALL), ROLLOUTS], ids=["stacked", "apart"])
def test_a_teacher_that_watches_sees_every_episode_of_every_seed_from_its_start(teacher, config):
    # 1 2 3 4 …, not 1 1 1 1: what it says of each step, for each seed
    seen = []

    class Kept(Apart):
        def add(self, trainings, experience, obs):
            seen.extend((t.predictions["teacher"].x[:, 0].tolist(), t.step.terminated) for t in experience)
            Apart.add(self, trainings, experience, obs)

    method = Kickstart(temperature=1.0, wean=Weaning(by="fixed"))
    phases = [replace(phase, evaluations=1) for phase in method.phases(64)]
    trainings = [on_catch(config, phases, seed, 2, teacher()) for seed in range(SEEDS)]
    env = TwoViews(Catch.spec, Catch, SEEDS * 2, None)
    Loop(trainings, {"student": Kept(trainings)}, env).run([lambda line: None] * SEEDS, [lambda: None] * SEEDS, print)
    count = np.zeros(SEEDS * 2)
    for said, ended in seen[: Catch.rows * 2]:
        count += 1
        assert said == count.tolist()
        count[ended] = 0
    for training in trainings if not config.on_rollouts else ():
        rows = training.memory.rows
        n, columns = int(rows.added[0]), rows.columns
        live = (columns["flags"][:n] & 4) == 0
        assert np.array_equal(columns["teacher"][:n][live, 0], columns["age"][:n][live] + np.float32(1))


RUN = Run(
    "CartPole-v1",
    Kickstart(),
    DQN(**SMALL),
    teacher="py:rule.py:lean",
    env_steps=300,
    evaluations=3,
    eval_episodes=2,
    final_episodes=3,
    reference_episodes=3,
)
RULE = """
import torch
def lean(obs):
    push = (obs[:, 2] + obs[:, 3] > 0).float()
    return torch.stack([1 - push, push], 1) * 4
"""

COUNTING = """
import torch
class Counting:
    def __init__(self, a): pass
    def initial_state(self, n): return torch.zeros(n, 1)
    def __call__(self, obs, state): return (state + 1) * torch.ones(1, 2), state + 1
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rule.py").write_text(RULE)
    return tmp_path


def test_each_seed_leaves_the_directory_it_would_leave_alone(here):
    runs = [replace(RUN, seed=seed) for seed in (3, 4)]
    results = execute_together(runs, [here / "a", here / "b"])
    for one, folder, result in zip(runs, ("a", "b"), results, strict=True):
        expected = execute(one, here / f"{folder}-alone")
        differ = {key for key in expected if result[key] != expected[key]} - {"seconds"}
        assert differ == {"together"} and result["together"] == 2
        files = [sorted(p.name for p in (here / name).iterdir()) for name in (folder, f"{folder}-alone")]
        assert files[0] == files[1]


def test_seeds_that_were_stopped_go_on_together_or_alone_to_the_same_end(here, monkeypatch):
    runs = [replace(RUN, seed=seed) for seed in (0, 1)]
    whole = execute_together(runs, [here / "a", here / "b"])

    def stop_at(barrier, which):
        save = RunDirectory.checkpoint

        def stopping(directory, training):
            save(directory, training)
            if training.at.barrier == barrier and training.seed == which:
                raise KeyboardInterrupt

        return stopping

    for which in (1, 0):  # both at the same checkpoint; one a checkpoint ahead of the other
        outs = [here / f"c{which}", here / f"d{which}"]
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(RunDirectory, "checkpoint", stop_at(2, which))
            execute_together(runs, outs)
        again = execute_together(runs, outs, [True, True])
        for one, other in zip(whole, again, strict=True):
            assert one["returns"] == other["returns"] and one["updates"] == other["updates"]


def test_seeds_begin_to_learn_when_all_have_a_batch(here):
    config = DQN(hidden=(8,), warmup=0, batch_size=4, update_every=1, n_step=100)  # first rows as episodes end
    short = {"env_steps": 150, "evaluations": 1, "eval_episodes": 1, "final_episodes": 1, "reference_episodes": 1}
    runs = [Run("CartPole-v1", Scratch(), config, seed=seed, **short) for seed in range(4)]
    results = execute_together(runs, [Path(f"late-s{one.seed}") for one in runs])
    assert len({result["updates"] for result in results}) == 1 and 0 < results[0]["updates"] < 150


def test_runs_that_differ_in_more_than_their_seed_are_refused(here):
    runs = [RUN, replace(RUN, seed=1, env_steps=400)]
    with pytest.raises(UserError, match="differ in their seed alone"):
        execute_together(runs, [here / "a", here / "b"])
    assert not (here / "a").exists()


def test_seeds_that_start_from_weights_are_trained_apart(here):
    small = {"env_steps": 60, "evaluations": 1, "eval_episodes": 1, "final_episodes": 1, "reference_episodes": 2}
    execute(Run("CartPole-v1", Scratch(), DQN(**SMALL), **small), here / "agent-of")
    tuned = Run("CartPole-v1", FineTune(), DQN(**SMALL), weights="store:agent-of", **small)
    runs = [replace(tuned, seed=seed) for seed in (0, 1)]
    with pytest.raises(UserError, match="start from weights are trained one seed at a time"):
        execute_together(runs, [here / "a", here / "b"])
    assert not (here / "a").exists()
    cells = [Cell(Path(f"t-s{one.seed}"), one) for one in runs]
    assert [len(unit) for unit in groups(cells, prepare_all(runs))] == [1, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"method": JSRL(horizon=20)},
        {"method": Rehearsal(share=0.5), "data_env_steps": 200},
        {"method": QDagger(offline_updates=20, wean=LINEAR), "data_env_steps": 200},
        {"student": PQN(hidden=(8,), rollout=8, batch_size=16), "envs": 4},
    ],
    ids=["guided", "mixture", "prior data alone", "rollouts"],
)
def test_runs_assembled_together_equal_separate_runs(here, change):
    runs = [replace(RUN, seed=seed, env_steps=160, evaluations=2, **change) for seed in (3, 4)]
    results = execute_together(runs, [here / "a", here / "b"])
    for one, folder, result in zip(runs, ("a", "b"), results, strict=True):
        expected = execute(one, here / f"{folder}-alone")
        assert {key for key in expected if result[key] != expected[key]} - {"seconds"} == {"together"}
        losses = [[line.get("loss_td") for line in metrics(here / f, "train")] for f in (folder, f"{folder}-alone")]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3) and any(losses[0])


def test_the_teacher_in_front_of_seeds_together_counts_from_each_episodes_start(here):
    # from the command line's own path: run.assemble, stacked students, a teacher with a memory
    (here / "counting.py").write_text(COUNTING)
    runs = [
        replace(RUN, seed=seed, env_steps=80, evaluations=1, keep="all", teacher="py:counting.py:Counting?a=1")
        for seed in (0, 1)
    ]
    prepared = [measure_priors(p, lambda *_: None, lambda _: None) for p in prepare_all(runs)]
    trainings, loop, _ = assemble(prepared, lambda _: None)
    loop.run([lambda line: None] * 2, [lambda: None] * 2, lambda phase: None)
    loop.env.close()
    for training in trainings:
        rows, n = training.memory.rows, int(training.memory.rows.added[0])
        live = (rows.columns["flags"][:n] & 4) == 0
        assert np.array_equal(rows.columns["teacher"][:n][live, 0], rows.columns["age"][:n][live] + np.float32(1))


def test_seeds_together_learn_from_a_teacher_that_sees_what_they_do_not(here):
    (here / "left.py").write_text(
        "import torch\ndef left(b):\n    return torch.cat([b, -b], 1)\nleft.tells = 'values'\n"
    )
    run = replace(RUN, env="own_tasks:TwoSights?sees=mine", teacher="view:its:py:left.py:left", env_steps=60)
    results = execute_together([run, replace(run, seed=1)], [here / "a", here / "b"])
    assert [result["together"] for result in results] == [2, 2]


def test_the_command_line_trains_several_seeds_together(here, capsys):
    flags = "--env CartPole-v1 --env-steps 120 --evaluations 2 --eval-episodes 1 --final-episodes 2 --seeds 2"
    small = "--reference-episodes 2 --student.hidden 8 --student.warmup 20"
    main(["train", "scratch", *flags.split(), *small.split(), "--out", "many"])
    assert (here / "many/s0/done").exists() and (here / "many/s1/done").exists()
    assert '"together": 2' in (here / "many/s0/result.json").read_text()
    main(["train", "scratch", *flags.split(), *small.split(), "--together", "off"])
    assert (here / "runs/CartPole-v1-scratch-s1/done").exists()
    assert '"together": 1' in (here / "runs/CartPole-v1-scratch-s1/result.json").read_text()


def test_a_dry_run_of_seeds_that_cannot_go_together_is_refused_as_the_run_would_be(here, capsys):
    small = {"env_steps": 60, "evaluations": 1, "eval_episodes": 1, "final_episodes": 1, "reference_episodes": 2}
    execute(Run("CartPole-v1", Scratch(), DQN(**SMALL), **small), here / "agent-of")
    words = "train finetune --env CartPole-v1 --weights store:agent-of --seeds 2 --together on --dry-run"
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2 and "one seed at a time" in capsys.readouterr().err


def test_resume_takes_up_every_unfinished_seed_in_a_folder(here, monkeypatch):
    runs = [replace(RUN, seed=seed) for seed in (0, 1)]
    save = RunDirectory.checkpoint

    def stopping(directory, training):
        save(directory, training)
        if training.at.barrier == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunDirectory, "checkpoint", stopping)
        execute_together(runs, [here / "many/s0", here / "many/s1"])
    main(["resume", "many"])
    assert (here / "many/s0/done").exists() and (here / "many/s1/done").exists()


def test_a_study_trains_the_seeds_of_small_networks_together_and_one_that_fails_does_not_stop_the_others(here):
    cells = [Cell(Path(f"x-s{seed}"), replace(RUN, seed=seed)) for seed in (0, 1)]
    other = Cell(Path("y"), replace(RUN, method=Scratch()))
    assert [len(unit) for unit in groups([*cells, other], prepare_all([cell.run for cell in (*cells, other)]))] == [
        2,
        1,
    ]
    (here / "out/x-s1").mkdir(parents=True)  # no run, and in the way
    failed = work(cells, here / "out", lambda name, part: None)
    assert list(failed) == ["x-s1"] and (here / "out/x-s0/done").exists()


LEAN = """
import torch
class Lean(torch.nn.Module):
    def forward(self, obs):
        return torch.stack([-obs[:, 2] - obs[:, 3], obs[:, 2] + obs[:, 3]], -1)
LEAN = Lean()
"""


def test_seeds_that_are_run_together_learn_from_the_teachers_data_as_they_would_alone(tmp_path, monkeypatch):
    """Once each had opened the data for itself, and offline updates drew from the replay that was still empty."""
    monkeypatch.chdir(tmp_path)
    Path("lean.py").write_text(LEAN)
    few = {"evaluations": 1, "eval_episodes": 1, "final_episodes": 1, "reference_episodes": 2, "data_env_steps": 200}
    student = DQN(hidden=(8,), warmup=16, batch_size=8, replay_size=400, lr=1e-2)
    method = QDagger(offline_updates=30, temperature=1.0)
    runs = [
        Run("CartPole-v1", method, student, "py:lean.py:LEAN", seed=s, env_steps=40, compile="off", **few)
        for s in (0, 1)
    ]
    execute_together(runs, [Path("t0"), Path("t1")])
    execute(runs[1], Path("alone"))
    ours, theirs = (open_agent(Path(where)).network().state_dict() for where in ("t1", "alone"))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-4)
