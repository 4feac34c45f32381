"""Students of continuous actions: targets and losses by hand, probe tasks, every method, exact resume, real teachers."""

import json
import shutil
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from pairs import trains_or_refuses
from probes import Bare
from thinning import slow, thinned

from reincarnate.agents.agent import open_agent, save_agent
from reincarnate.data.memory import Storage, memory_for
from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.losses.terms import Distil
from reincarnate.methods import METHODS, Kickstart, QDagger, Scratch, WarmCritic
from reincarnate.nets.normalise import ObservationNorm
from reincarnate.priors.weights import differences, fit
from reincarnate.run.checkpoints import Checkpoints
from reincarnate.run.execute import execute
from reincarnate.run.prepare import prepare
from reincarnate.run.settings import Run
from reincarnate.students import (
    D4PG,
    SAC,
    STUDENTS,
    TD3,
    TQC,
    ContinuousSettings,
    ModernSAC,
    PPOContinuous,
    exploration,
)
from reincarnate.students.qcritics import Atoms, ExpectedReturn, Successor, TruncatedQuantiles
from reincarnate.training.evaluate import play_episodes
from reincarnate.training.players import Greedy
from reincarnate.types import (
    LAGGING,
    MEANS,
    OPTIMIZER,
    SQUASHED,
    Batch,
    Prediction,
    Progress,
    TaskSpec,
    TimeStep,
    Weighing,
)

NAMES = [name for name, kind in STUDENTS.items() if issubclass(kind, ContinuousSettings)]
SPEC = TaskSpec("Aim", (2,), "float32", 2, 1, None, {"env": "Aim"}, ((-1.0, 0.0), (3.0, 1.0)))


class Aim(gym.Env):
    """Actions shall be what is shown, in the middle of an episode of `steps`: −|a − shown|² a step, by a limit's end."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([3.0, 1.0], np.float32))
    steps = 4

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.shown = self.np_random.uniform(-0.8, 0.8, 2).astype(np.float32)
        return self.shown, {}

    def step(self, action):
        unit = (action - np.array([1.0, 0.5])) / np.array([2.0, 0.5])
        reward = -float(((unit - self.shown) ** 2).sum())
        self.t += 1
        self.shown = self.np_random.uniform(-0.8, 0.8, 2).astype(np.float32)
        return self.shown, reward, False, self.t == self.steps, {}


@pytest.fixture(scope="module", autouse=True)
def _registered():
    gym.register("Aim-v0", entry_point=Aim, max_episode_steps=10)
    yield
    del gym.registry["Aim-v0"]


def small(name, **changes):
    """A student that learns Aim in seconds."""
    kind = STUDENTS[name]
    common = {
        "hidden": (32,),
        "lr": 1e-2,
        "batch_size": 32,
        "warmup": 100,
        "replay_size": 3000,
        "gamma": 0.5,
        "tau": 0.05,
    }
    special = {
        "d4pg": {"low": -4.0, "high": 0.5, "n_step": 1, "update_every": 1, "tau": 1.0, "target_every": 20},
        "tqc": {"quantiles": 7},
        "modern_sac": {"atoms": 31},
        "sac": {"alpha": 0.1},
    }
    return kind(**{**common, **special.get(name, {}), **changes})


def batch_of(n, rng, spec=SPEC):
    """A batch of made-up steps."""

    def some(*shape):
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    return Batch(some(n, 2), some(n, spec.actions).tanh(), some(n), torch.full((n,), 0.5), some(n, 2))


# ---- targets by hand -----------------------------------------------------------------------------------


def test_the_target_of_plain_critics_is_the_least_less_the_entropys_worth():
    out = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    successor = Successor(out, torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.0]), torch.tensor([2.0, 2.0]))
    assert ExpectedReturn().target(successor).tolist() == [1 + 0.5 * (1 - 2), 1.0]


def test_only_the_critics_that_were_drawn_are_asked():
    out = torch.tensor([[1.0], [5.0], [3.0]])
    successor = Successor(out, torch.zeros(1), torch.ones(1), members=torch.tensor([1, 2]))
    assert ExpectedReturn().target(successor).tolist() == [3.0]


def test_the_greatest_quantiles_are_dropped_from_the_target():
    out = torch.tensor([[[1.0, 9.0]], [[4.0, 2.0]]])  # 2 critics, 1 example, 2 quantiles
    successor = Successor(out, torch.ones(1), torch.full((1,), 0.5), torch.ones(1))
    found = TruncatedQuantiles(2, 1).target(successor)
    assert found.tolist() == [[1 + 0.5 * (1 - 1), 1 + 0.5 * (2 - 1)]]


def test_the_target_on_atoms_is_that_of_the_critic_with_the_lower_mean():
    sure = torch.tensor([-100.0, 100.0, -100.0])
    low, high = torch.tensor([100.0, -100.0, -100.0]), sure  # returns -1 and 0
    successor = Successor(torch.stack([high, low])[:, None], torch.full((1,), 0.5), torch.full((1,), 0.5))
    found = Atoms(3, -1.0, 1.0).target(successor)  # 0.5 + 0.5 · -1 = 0
    assert torch.allclose(found, torch.tensor([[0.0, 1.0, 0.0]]), atol=1e-6)
    assert Atoms(3, -1.0, 1.0).values(torch.stack([high, low])[:, None]).tolist() == [[0.0], [-1.0]]


def test_scaled_rewards_keep_every_return_on_the_atoms():
    student = ModernSAC(hidden=(8,), gamma=0.9, high=5.0, low=-5.0).newborn(SPEC, 0)
    batch = batch_of(16, np.random.default_rng(0))
    student.update(batch, Weighing(), np.random.default_rng(0))
    largest = float(batch.reward.abs().max())
    assert float(student.network.largest_reward) == largest
    seen = student._see(batch)
    assert torch.allclose(seen.reward.abs().max() / (1 - 0.9), torch.tensor(5.0))
    smaller = batch._replace(reward=batch.reward / 100)
    student.update(smaller, Weighing(), np.random.default_rng(0))
    assert float(student.network.largest_reward) == largest


def test_a_task_that_has_not_paid_yet_is_learnt_from_all_the_same():
    student = ModernSAC(hidden=(8,)).newborn(SPEC, 0)
    batch = batch_of(16, np.random.default_rng(0))
    unpaid = batch._replace(reward=torch.zeros_like(batch.reward))
    means = student.update(unpaid, Weighing(), np.random.default_rng(0)).means
    assert all(torch.as_tensor(mean).isfinite() for mean in means.values())
    assert student._see(unpaid).reward.tolist() == [0.0] * 16
    assert all(tensor.isfinite().all() for tensor in student.network.state_dict().values())


# ---- one update ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_update_moves_critics_actor_and_targets_when_they_are_due(name):
    student = small(name, target_every=2, actor_every=2).newborn(SPEC, 0)
    rng, before = np.random.default_rng(0), {k: v.clone() for k, v in student.state().items()}
    moved = []
    for _ in range(2):
        student.update(batch_of(64, rng), Weighing(), rng)
        now = {k: v.clone() for k, v in student.state().items()}
        moved.append({k for k in before if not torch.equal(before[k], now[k])})
    assert "critic" in moved[0] and not moved[0] & {"actor", "target.critic", "entropy"}
    wanted = {"actor", "critic", "target.critic"} | ({"entropy"} if STUDENTS[name].predicts == SQUASHED else set())
    assert wanted <= moved[1]


def test_delayed_actor_losses_are_told_as_they_are_and_in_their_own_updates_alone():
    student, rng = small("td3", lr=1e-12).newborn(SPEC, 0), np.random.default_rng(0)
    batch = batch_of(64, rng)
    with torch.no_grad():
        loss = -student.network.critic(batch.obs, student.network.actor(batch.obs))[0].mean()
    first, second = (student.update(batch, Weighing(), rng).means for _ in range(2))
    assert set(first) == {"td"} and set(second) == {"td", "actor"}
    assert torch.allclose(second["actor"], loss, rtol=1e-4)


def test_without_weight_on_the_policy_the_actor_stays_and_the_critics_learn():
    for name in ("td3", "sac"):
        student, rng = small(name).newborn(SPEC, 0), np.random.default_rng(0)
        before = {k: v.clone() for k, v in student.state().items()}
        for _ in range(4):
            student.update(batch_of(64, rng), Weighing(policy=0.0), rng)
        now = student.state()
        assert torch.equal(now["actor"], before["actor"]) and not torch.equal(now["critic"], before["critic"])


def test_an_actor_that_climbs_the_first_critic_asks_it_alone_as_it_learns():
    student, rng = small("td3").newborn(SPEC, 0), np.random.default_rng(0)
    for _ in range(3):
        batch = batch_of(64, rng)
        student.update(batch, Weighing(), rng)
        out = student.network.critic(batch.obs, batch.action)
        torch.testing.assert_close(student.valued(batch.obs, batch.action), out[0])
        assert out.shape == (2, 64) and not torch.allclose(out[0], out[1])
        assert student._judge(batch.obs, batch.action).shape == (1, 64)


def test_without_a_loss_of_its_own_the_terms_alone_move_the_actor():
    student, rng = small("sac").newborn(SPEC, 0), np.random.default_rng(0)
    before = {k: v.clone() for k, v in student.state().items()}
    batch = batch_of(64, rng)
    batch = batch._replace(predictions={"teacher": Prediction(MEANS, torch.full((64, 2), 0.5))})
    learnt = student.update(batch, Weighing(own=0.0, terms=[(1.0, Distil(1.0, 1.0))]), rng)
    now = student.state()
    assert set(learnt.means) == {"distil"} and learnt.each.shape == (64,)
    assert torch.equal(now["critic"], before["critic"]) and not torch.equal(now["actor"], before["actor"])


def test_a_terms_weight_does_not_depend_on_the_size_of_rewards():
    """The same batch in another unit of reward: the balance of both gradients stays, so the direction does."""
    steps = []
    for size in (1.0, 50.0):
        student = TD3(hidden=(16,), actor_every=1, q_floor=0.0, max_grad_norm=1e-6).newborn(SPEC, 0)
        with torch.no_grad():
            for part in (student.network.critic.head, student.targets["critic"].module.head):
                part.weight.mul_(size)
                part.bias.mul_(size)
        batch = batch_of(64, np.random.default_rng(1))
        batch = batch._replace(
            reward=batch.reward * size, predictions={"teacher": Prediction(MEANS, torch.full((64, 2), 0.5))}
        )
        student.settings = replace(student.settings, lr=1e-12, actor_lr=1.0)  # the critics stay
        student.update(batch, Weighing(terms=[(1.0, Distil(1.0, 1.0))]), np.random.default_rng(0))
        steps.append(student.online["actor"].grad.clone())
    assert torch.allclose(steps[0], steps[1], rtol=1e-3, atol=1e-10)


def test_terms_count_by_the_floor_where_values_are_still_nothing():
    lost = []
    for floor in (1.0, 10.0):
        student = TD3(hidden=(16,), actor_every=1, q_floor=floor).newborn(SPEC, 0)
        with torch.no_grad():
            student.network.critic.head.weight.zero_()
            student.network.critic.head.bias.zero_()
        batch = batch_of(64, np.random.default_rng(1))
        batch = batch._replace(predictions={"teacher": Prediction(MEANS, torch.full((64, 2), 0.5))})
        student.settings = replace(student.settings, lr=1e-12)
        student.update(batch, Weighing(terms=[(1.0, Distil(1.0, 1.0))]), np.random.default_rng(0))
        lost.append(student.online["actor"].grad.clone())
    assert torch.allclose(10 * lost[0], lost[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["sac", "d4pg"])
def test_half_precision_says_nearly_the_same_and_learns_with_weights_in_full(name):
    whole, half = (small(name, bfloat16=bfloat16).newborn(SPEC, 0) for bfloat16 in (False, True))
    batch = batch_of(16, np.random.default_rng(0))
    said = [
        student.predict(TimeStep(batch.obs, torch.zeros(16, dtype=torch.bool)), torch.zeros(16, 0))[0].x
        for student in (whole, half)
    ]
    values = [student.network.critic(batch.obs, batch.action) for student in (whole, half)]
    for full, rounded in (said, values):
        assert rounded.dtype == torch.float32 and not torch.equal(full, rounded)
        torch.testing.assert_close(rounded, full, rtol=0.05, atol=0.02)
    learnt = [student.update(batch, Weighing(), np.random.default_rng(1)).means["td"] for student in (whole, half)]
    torch.testing.assert_close(learnt[1], learnt[0], rtol=0.05, atol=0.02)
    assert {parameter.dtype for parameter in half.network.parameters()} == {torch.float32}


# ---- exploring, acting -----------------------------------------------------------------------------------


def step_of(n):
    return TimeStep(torch.zeros(n, 2), torch.zeros(n, dtype=torch.bool))


@pytest.mark.parametrize("name", NAMES)
def test_a_newborn_acts_at_random_while_it_warms_up_and_one_that_goes_on_does_not(name):
    settings = small(name)
    student = settings.newborn(SPEC, 0)
    assert settings.exploration(0, newborn=True, wait=100) == 1.0
    assert settings.exploration(100, newborn=True, wait=100) == settings.noise_std
    assert settings.exploration(0, newborn=False, wait=100) == settings.noise_std
    wild = student.act(step_of(4000), student.initial(4000), 1.0, np.random.default_rng(0)).action
    assert wild.dtype == np.float32 and (wild >= [-1, 0]).all() and (wild <= [3, 1]).all()
    assert np.allclose(wild.mean(0), [1, 0.5], atol=0.1) and np.allclose(
        wild.std(0), [4 / 12**0.5, 1 / 12**0.5], rtol=0.05
    )


def test_the_noise_of_a_deterministic_actor_has_its_spread_in_the_units_of_the_box():
    student = TD3(hidden=(8,)).newborn(SPEC, 0)
    said, _ = student.predict(step_of(1), student.initial(1))
    played = student.act(step_of(4000), student.initial(4000), 0.1, np.random.default_rng(0)).action
    middle = np.array([1.0, 0.5]) + np.array([2.0, 0.5]) * said.x.numpy()[0]
    assert said.kind == MEANS and np.allclose(played.mean(0), middle, atol=0.02)
    assert np.allclose(played.std(0), [0.2, 0.05], rtol=0.1)


def test_sac_plays_draws_of_what_it_predicts_and_is_evaluated_at_the_mean():
    student = SAC(hidden=(8,)).newborn(SPEC, 0)
    said, carry = student.predict(step_of(1), student.initial(1))
    mean, log_std = said.x[0].chunk(2)
    played = student.act(step_of(8000), student.initial(8000), 0.0, np.random.default_rng(0)).action
    base = np.arctanh(np.clip((played - [1, 0.5]) / [2, 0.5], -0.99999, 0.99999))
    assert said.kind == SQUASHED and np.allclose(base.mean(0), mean.numpy(), atol=0.05)
    assert np.allclose(base.std(0), log_std.exp().numpy(), rtol=0.05)
    greedy = Greedy(student, SPEC, 0.5).act(step_of(1), carry, 0.0, np.random.default_rng(0)).action
    assert np.allclose(greedy[0], np.array([1, 0.5]) + np.array([2, 0.5]) * mean.tanh().numpy(), atol=1e-6)


def test_time_limits_bootstrap():
    memory = memory_for(SPEC, TD3(gamma=0.5).layout(), Storage(100), 1)
    zeros, action = np.zeros((1, 2), np.float32), np.array([[3.0, 0.0]], np.float32)
    memory.rows.add(zeros, action, np.ones(1, np.float32), np.array([False]), np.array([True]), zeros + 1)
    memory.rows.add(zeros, action, np.ones(1, np.float32), np.array([True]), np.array([False]), zeros + 1)
    batch = memory.layout.gather(memory.rows, 0, np.array([0, 2]), [])
    assert batch.discount.tolist() == [0.5, 0.0] and batch.action.tolist() == [[1.0, -1.0]] * 2


# ---- learning a task -------------------------------------------------------------------------------------


def trained(name, steps=400, **changes):
    """A student after so many env steps of Aim, by hand: a loop without phases."""
    settings = small(name, **changes)
    student, rng = settings.newborn(SPEC, 0), np.random.default_rng(0)
    memory = memory_for(SPEC, settings.layout(), settings.storage(SPEC, 1), 1)
    env = Copies(SPEC, lambda: Bare(Aim()), 1, None)
    obs, begins = env.reset(rng), np.ones(1, bool)
    for t in range(steps):
        explore = settings.exploration(t, True, settings.warmup)
        now = TimeStep(torch.from_numpy(obs), torch.from_numpy(begins))
        action = student.act(now, student.initial(1), explore, rng).action
        step = env.step(action)
        memory.rows.add(obs, action, step.reward, step.terminated, step.truncated, step.next_obs)
        obs, begins = step.obs, step.terminated | step.truncated
        if t >= settings.warmup:
            student.update(memory.sample(settings.batch_size, rng), Weighing(), rng)
            student.publish()
    return student


@pytest.mark.parametrize("name", thinned(NAMES, lambda name: name in ("td3", "sac")))
def test_every_student_learns_to_aim(name):
    """Random actions earn −1.1 a step, standing in the middle −0.43, aiming nearly 0."""
    student = trained(name)
    env = Copies(SPEC, lambda: Bare(Aim()), 4, None)
    score = play_episodes(env, Greedy(student, SPEC, 0.0), 20, np.random.default_rng(1)).mean / Aim.steps
    assert score > -0.15, score


# ---- runs ------------------------------------------------------------------------------------------------


def run_of(method, name, folder, **changes):
    """A short run of Aim."""
    fields = {"env_steps": 30, "evaluations": 2, "eval_episodes": 2, "final_episodes": 2, "reference_episodes": 2}
    own = {"hidden": (8,), "batch_size": 8, "warmup": 10, "replay_size": 500}
    student = replace(STUDENTS[name](), **own) if name in NAMES else STUDENTS[name]()
    run = Run(env="Aim-v0", method=method, student=student, data_env_steps=40, store=str(folder / "store"), **fields)
    return replace(run, **changes)


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    """An agent of td3 and one of sac, trained for a moment."""
    folder = tmp_path_factory.mktemp("agents")
    for name in ("td3", "sac"):
        execute(run_of(Scratch(), name, folder), folder / name)
    return folder


SHORT = {
    "offline_updates": 5,
    "warmup_env_steps": 10,
    "critic_env_steps": 10,
    "horizon": 5,
}
REFUSED = dict.fromkeys(("dqfd", "pretrain"), "kickstart and qdagger suit it")  # their terms are of action values
REFUSED |= {"ald": "student with a memory", "actor_mimic": ".", "ppd": "for others: kickstart"}


def settings_for(kind):
    names = kind.__dataclass_fields__
    return kind(**{key: value for key, value in SHORT.items() if key in names})


LOGGED = {"bc", "td3bc", "awac", "iql", "calql"}  # see tests/test_offline.py
PAIRS = [(m, s) for m in METHODS if m not in LOGGED for s in ("td3", "sac")] + [
    ("qdagger", s) for s in NAMES if s not in ("td3", "sac")
]
OFTEN = {("qdagger", "td3"), ("qdagger", "d4pg"), ("finetune", "td3")}
OFTEN |= {(m, "sac") for m in ("qdagger", "kickstart", "bc", "rlpd", "calql", "jsrl", "ald", "actor_mimic", "dqfd")}


@pytest.mark.parametrize("method, student", thinned(PAIRS, lambda *pair: pair in OFTEN))
def test_every_method_trains_every_student_or_says_in_one_line_why_not(method, student, agents, tmp_path):
    chosen = settings_for(METHODS[method])
    other = {"td3": "sac"}.get(student, "td3")  # a teacher of the other kind
    teacher = f"store:{agents / other}"
    weights = f"store:{agents / student}" if "weights" in chosen.needs else None
    run = run_of(chosen, student, agents, teacher=teacher, weights=weights)
    agent = trains_or_refuses(run, REFUSED.get(method), tmp_path / "run")
    if agent is None:
        return
    assert type(agent.student) is STUDENTS[student]
    kind = agent.policy().predict(step_of(3), torch.zeros(3, 0))[0].kind
    assert kind == STUDENTS[student].predicts


def test_what_cannot_teach_is_refused_before_anything_runs(agents, tmp_path):
    rule = tmp_path / "rule.py"
    rule.write_text("import torch\ndef lean(obs):\n    return torch.zeros(len(obs), 2)\n")
    with pytest.raises(UserError, match="discrete actions, Aim-v0 continuous"):
        prepare(run_of(Kickstart(), "td3", tmp_path, teacher=f"py:{rule}:lean"))
    with pytest.raises(UserError, match="continuous actions, CartPole-v1 discrete"):
        prepare(replace(run_of(Kickstart(), "dqn", tmp_path), env="CartPole-v1", teacher=f"store:{agents / 'sac'}"))
    with pytest.raises(UserError, match="continuous actions"):
        prepare(run_of(Scratch(), "dqn", tmp_path))
    with pytest.raises(UserError, match="needs continuous ones"):
        prepare(replace(run_of(Scratch(), "td3", tmp_path), env="CartPole-v1"))
    with pytest.raises(UserError, match="temperature auto"):
        prepare(run_of(Kickstart(temperature="auto"), "td3", tmp_path, teacher=f"store:{agents / 'sac'}"))
    with pytest.raises(UserError, match="--compile on"):
        prepare(run_of(Scratch(), "td3", tmp_path, compile="on"))
    with pytest.raises(UserError, match="flat vectors"):
        TD3().newborn(replace(SPEC, obs_shape=(84, 84, 3), obs_dtype="uint8"), 0)


@pytest.mark.parametrize(
    "settings, said",
    [
        (TD3(noise=1.5), "--student.noise"),
        (TD3(target_clip=-1.0), "--student.target-clip"),
        (D4PG(low=3.0, high=1.0), "--student.low"),
        (D4PG(clip=-1.0), "--student.clip"),
        (TQC(drop=25), "--student.drop"),
        (TQC(quantiles=1, drop=0), "--student.quantiles 1 is too small; at least 2 are needed"),
        (SAC(alpha=0.0), "--student.alpha"),
        (SAC(log_std_high=800.0), "overflows"),
        (SAC(critics=2, asked=3), "--student.asked"),
        (SAC(hidden=()), "hidden"),
        (SAC(simba=2), "SimBa"),
        (ModernSAC(gamma=1.0), "γ below 1"),
        (TD3(tau=0.0), "--student.tau"),
        (TD3(replay_size=100), "--student.replay-size"),
    ],
)
def test_settings_that_cannot_mean_anything_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        settings.check(1)


@pytest.mark.parametrize("name", [slow("td3"), slow("d4pg"), "modern_sac"])
def test_a_run_that_was_interrupted_ends_with_the_same_bits(name, agents, tmp_path, monkeypatch):
    """Killed in the middle of a stretch, as by its barrier's third checkpoint that cannot be written."""
    run = run_of(QDagger(offline_updates=6), name, agents, teacher=f"store:{agents / 'sac'}", keep="all")
    execute(run, tmp_path / "whole")
    save, calls = Checkpoints.save, []

    def failing(self, *args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        save(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", failing)
        with pytest.raises(KeyboardInterrupt):
            execute(run, tmp_path / "parts")
    execute(run, tmp_path / "parts", resume=True)
    for file in ("weights.safetensors", "optimizer.safetensors"):
        assert (tmp_path / "whole/agent" / file).read_bytes() == (tmp_path / "parts/agent" / file).read_bytes()
    lines = []
    for folder in ("whole", "parts"):
        text = (tmp_path / folder / "metrics.jsonl").read_text()
        lines.append([{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text.splitlines()])
    assert lines[0] == lines[1]
    shutil.rmtree(tmp_path / "parts")


# ---- at the switch, going on -------------------------------------------------------------------------------


def test_targets_are_synchronised_when_they_are_asked_to_be():
    student, rng = small("td3").newborn(SPEC, 0), np.random.default_rng(0)
    for _ in range(3):
        student.update(batch_of(64, rng), Weighing(), rng)
    assert not torch.equal(student.targets["critic"].data, student.online["critic"].data)
    student.refresh(frozenset({LAGGING}))
    for name, target in student.targets.items():
        assert torch.equal(target.data, student.online[name].data)


def test_an_agents_optimiser_and_replay_are_taken_up_again(agents, tmp_path):
    notes = []
    first = run_of(Scratch(), "sac", agents, keep="all")
    execute(first, tmp_path / "first")
    method = METHODS["finetune"](reuse="all")
    execute(run_of(method, "sac", agents, weights=f"store:{tmp_path / 'first'}"), tmp_path / "on", note=notes.append)
    assert "optimiser: its state is reused" in notes and any("30 of 30 transitions" in note for note in notes)


@pytest.mark.parametrize(
    "settings",
    [
        SAC(hidden=(5,), normalise=True, expectile=0.7),
        TD3(hidden=(5,), critics=3),
        D4PG(hidden=(5, 4), simba=0, low=-9.0, high=9.0),
        ModernSAC(hidden=(4,), simba=1),
        PPOContinuous(hidden=(5,)),
    ],
)
def test_an_agent_that_is_shown_more_says_the_same_at_first_its_critics_too(settings, tmp_path):
    wide = replace(SPEC, id="Wide", obs_shape=(4,))
    student = settings.newborn(SPEC, 0)
    for module in student.network.modules():
        if isinstance(module, ObservationNorm):
            module.update(3 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) + 1)
    agent = save_agent(
        tmp_path / "agent", student, {"method": "scratch", "env": "Aim", "env_steps": 1, "prior": {}}, ""
    )
    grown, old = settings.network(wide), agent.network()
    fitted = fit(agent, (), wide, grown.state_dict(), np.random.default_rng(0))
    grown.load_state_dict(fitted.weights)
    obs = torch.randn(20, 2)
    seen, action = torch.cat([obs, torch.randn(20, 2)], 1), torch.rand(20, 2) * 2 - 1
    tell = lambda network: network.tell if hasattr(network, "tell") else network
    torch.testing.assert_close(tell(grown)(seen), tell(old)(obs))
    if isinstance(settings, PPOContinuous):
        torch.testing.assert_close(grown.values(seen), old.values(obs))
        return
    torch.testing.assert_close(grown.critic(grown.norm(seen), action), old.critic(old.norm(obs), action))
    if settings.expectile:
        torch.testing.assert_close(grown.value(grown.norm(seen)), old.value(old.norm(obs)))


def test_an_agent_whose_actions_are_other_numbers_is_refused_with_both_and_other_bounds_are_said(agents, tmp_path):
    more = replace(SPEC, id="More", actions=3, bounds=((-1.0,) * 3, (1.0,) * 3))
    for name in ("sac", "td3"):
        agent = open_agent(agents / name)
        with pytest.raises(UserError, match="the agent's actions are 2 numbers, those of More 3: it cannot be fitted"):
            fit(agent, (), more, {}, np.random.default_rng(0))
        (said,) = differences(agent, replace(SPEC, protocol={}, bounds=((-1.0, -1.0), (1.0, 1.0))))
        assert "lay within ((-1.0, 0.0), (3.0, 1.0)), those of Aim lie within ((-1.0, -1.0), (1.0, 1.0))" in said


def test_what_is_frozen_does_not_move():
    student, rng = small("sac").newborn(SPEC, 0), np.random.default_rng(0)
    count, of = student.freeze(["actor.torso", "entropy"])
    before = student.weights()
    before = {name: value.clone() for name, value in before.items()}
    for _ in range(3):
        student.update(batch_of(64, rng), Weighing(), rng)
    after = student.weights()
    assert 0 < count < of
    for name in before:
        still = name.startswith(("actor.torso", "entropy")) or name == "largest_reward"
        assert torch.equal(before[name], after[name]) == still, name


def test_the_critic_warms_up_while_an_actor_from_weights_is_left_alone():
    first, second = WarmCritic(start="weights", critic_env_steps=10).phases(100)
    assert first.objective.at(Progress()).policy == 0 and second.objective.at(Progress()).policy == 1
    assert WarmCritic(critic_env_steps=10).phases(100)[0].objective.policy == 1


# ---- on a device ---------------------------------------------------------------------------------------------

DOUBLE = torch.device("meta")  # tensors that have a device and a shape and no numbers; mixed with others they raise


@pytest.mark.parametrize("name", NAMES)
def test_all_its_tensors_live_on_its_device(name, monkeypatch):
    def to_host(tensor):
        assert tensor.device == DOUBLE, f"acting on {tensor.device}"
        return np.zeros(tensor.shape, np.float32)

    def same_device(data, grads, means, squares, *_, **__):
        assert {t.device for group in (data, grads, means, squares) for t in group} == {DOUBLE}

    monkeypatch.setattr(exploration, "to_host", to_host)
    for kernel in ("_fused_adam_", "_fused_adamw_"):
        monkeypatch.setattr(torch, kernel, same_device)
    settings, rng = small(name, asked=1, actor_every=1), np.random.default_rng(0)
    student = settings.newborn(SPEC, 0, DOUBLE)
    memory = memory_for(SPEC, settings.layout(), settings.storage(SPEC, 1), 1, DOUBLE)
    obs, never = np.zeros((1, 2), np.float32), np.zeros(1, bool)
    for _ in range(40):
        action = student.act(step_of(1), student.initial(1), 0.0, rng).action
        memory.rows.add(obs, action, np.zeros(1, np.float32), never, never, obs)
    ask = {"teacher": lambda obs: Prediction(MEANS, torch.zeros(len(obs), 2))}
    learnt = student.update(memory.sample(8, rng, ask), Weighing(1.0, [(1.0, Distil(1.0, 1.0))], 0.5), rng)
    assert {mean.device for mean in learnt.means.values()} == {DOUBLE} and "distil" in learnt.means
    student.refresh(frozenset({LAGGING, OPTIMIZER}))
    student.publish()
    student.load(student.weights())
    assert {tensor.device for key, tensor in student.state().items() if key != "updates"} == {DOUBLE}
    student.restore({key: torch.zeros(value.shape) for key, value in student.state().items()})  # saved on another


# ---- real teachers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "student, teacher, method",
    [
        slow("td3", "sac", Kickstart()),
        ("td3", "ddpg", QDagger(offline_updates=15)),
        ("sac", "ddpg", Kickstart()),
        slow("sac", "sac", QDagger(offline_updates=15)),
    ],
    ids=lambda value: getattr(type(value), "__name__", value) if not isinstance(value, str) else value,
)
def test_agents_of_others_teach(student, teacher, method, teachers, tmp_path):
    path = teachers / "sb3" / f"{teacher}-Pendulum-v1" / "Pendulum-v1.zip"
    run = run_of(method, student, tmp_path, env="Pendulum-v1", teacher=f"sb3:{path}", env_steps=40, data_env_steps=200)
    run = replace(run, evaluations=1, eval_episodes=1, final_episodes=1)
    result = execute(run, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    told = [line["loss_distil"] for line in lines if "loss_distil" in line]
    assert told and min(told) > 0 and np.isfinite(result["score"])


def test_distillation_on_a_teachers_data_brings_the_actor_to_its_actions(teachers, tmp_path):
    path = teachers / "sb3" / "sac-Pendulum-v1" / "Pendulum-v1.zip"
    student = SAC(hidden=(64,), batch_size=64, warmup=10, replay_size=1000, actor_lr=3e-3)
    method = METHODS["dagger"](offline_updates=300)
    run = run_of(method, "sac", tmp_path, env="Pendulum-v1", teacher=f"sb3:{path}", env_steps=1, data_env_steps=600)
    execute(replace(run, student=student, evaluations=6, eval_episodes=1, final_episodes=1), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    reports = [line for line in lines if line["phase"] == "offline" and line["kind"] == "train"]
    errors = [line["loss_distil"] for line in reports if "loss_distil" in line]
    assert len(errors) == 6 and errors[-1] < 0.5 * errors[0], errors


@pytest.mark.slow
@pytest.mark.parametrize("name", ["td3", "sac"])
def test_pendulum_is_solved(name, tmp_path):
    """The zoo's agents end near −150; a policy that never swings up at −1200."""
    student = replace(STUDENTS[name](), hidden=(64, 64), lr=1e-3, warmup=1000)
    run = Run(
        env="Pendulum-v1",
        method=Scratch(),
        student=student,
        env_steps=10_000,
        evaluations=2,
        reference_episodes=10,
        store=str(tmp_path / "store"),
    )
    assert execute(run, tmp_path / "run")["score"] > -250
