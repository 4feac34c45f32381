"""Off-policy students of continuous actions, and PQN, with a memory: what they learn from is what they lived."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from interrupting import check_it_goes_on
from probes import Bare
from test_recurrent_students import QUICK, Points, lines_of, lived
from thinning import slow, thinned

from reincarnate.agents.agent import open_agent, save_agent
from reincarnate.data.memory import Memory, Storage, memory_for
from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.losses.returns import lambda_returns
from reincarnate.methods import METHODS, Kickstart, QDagger, Scratch
from reincarnate.nets.qnet import recall
from reincarnate.run.execute import execute
from reincarnate.run.prepare import prepare
from reincarnate.run.settings import Run
from reincarnate.students import PQN, SAC, STUDENTS, TD3, ContinuousSettings
from reincarnate.students.exploration import best_of
from reincarnate.training.evaluate import play_episodes
from reincarnate.training.players import Greedy, Stage
from reincarnate.types import Step, TaskSpec, TimeStep, Weighing

SPEC = TaskSpec("Sign", (2,), "float32", 1, 1, None, {"env": "Sign"}, ((-2.0,), (2.0,)))
TINY = {"memory": "gru", "memory_size": 6, "hidden": (5,)}
CUT = {"unroll": 4, "burn_in": 2, "overlap": 2, "batch_size": 12, "warmup": 20, "replay_size": 400, "update_every": 6}
OFF = {"sac": SAC(**TINY, **CUT, n_step=2), "td3": TD3(**TINY, **CUT, n_step=2)}
ROLLED = PQN(**TINY, rollout=8, segment=4, batch_size=16, n_step=2)


class Sign(gym.Env):
    """A number is shown as an episode begins and asked for as it ends, `steps` later: −|a − shown|² of the last step."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-2, 2, (1,), np.float32)
    steps = 3

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.shown = 0, float(self.np_random.choice([-0.7, 0.7]))
        return np.array([self.shown, 0], np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t == self.steps
        reward = -((float(action[0]) / 2 - self.shown) ** 2) if over else 0.0
        return np.array([0, self.t / self.steps], np.float32), reward, over, False, {}


class Drawn(Points):
    """Random observations and rewards, continuous actions."""

    spec = SPEC

    def step(self, actions) -> Step:
        return Points.step(self, actions)


@pytest.fixture(scope="module", autouse=True)
def _registered():
    gym.register("Sign-v0", entry_point=Sign, max_episode_steps=10)
    yield
    del gym.registry["Sign-v0"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return str(tmp_path_factory.mktemp("store"))


def played(settings, steps=60):
    """A student, and its memory after so many random steps."""
    student, env = settings.newborn(SPEC, 0), Drawn()
    memory = memory_for(SPEC, settings.layout(), Storage(3 * 400), env.n)
    stage, rng = Stage(env, student, env.reset(np.random.default_rng(0))), np.random.default_rng(1)
    for _ in range(steps):
        stage.play(0.1, rng).store(memory.rows)
    return student, memory


def run_of(method, student, store, **changes):
    return Run("Sign-v0", method, student, store=store, **{**QUICK, "env_steps": 150, **changes})


# ---- what is learnt --------------------------------------------------------------------------------------


def one_by_one(remembered, batch, b, carry):
    """What a part remembers at the rows of a sequence and at its successor, read one at a time: [T + 1, F]."""
    found = []
    rows = torch.cat([batch.obs[b], batch.next_obs[b : b + 1]])
    for row, begin in zip(rows, [*batch.begins[b].tolist(), False], strict=True):
        features, carry = recall(remembered, row[None], torch.tensor([begin]), carry)
        found.append(features[0])
    return torch.stack(found), rows


@pytest.mark.parametrize("memory", ["lstm", "gru", "gtrxl"])
def test_the_critics_loss_is_that_of_rows_read_one_by_one(memory):
    settings = replace(OFF["td3"], memory=memory, memory_size=8, memory_length=3, target_noise=0.0)
    student, rows = played(settings)
    generator = torch.Generator().manual_seed(1)
    for target in student.targets.values():
        target.data.add_(0.1 * torch.randn(target.data.shape, generator=generator))
    batch = rows.sample(8, np.random.default_rng(0))
    assert batch.carry.shape == (8, student.initial(1).shape[1]) and batch.carry.any()
    actor, lagging = student.targets["actor"].module, student.targets["critic"].module
    total, count = 0.0, 0
    with torch.no_grad():
        for b in range(8):
            empty = student.network.critic.remembered.memory.initial(1)
            acts, obs = one_by_one(actor.torso, batch, b, batch.carry[b : b + 1])
            behind, now = (one_by_one(net.remembered, batch, b, empty)[0] for net in (lagging, student.network.critic))
            for t in range(2, 6):
                if not batch.weight[b, t]:
                    continue
                reward, factor, at = 0.0, 1.0, t
                for _ in range(2):
                    reward, factor = reward + factor * batch.reward[b, at], factor * batch.discount[b, at]
                    at += 1
                    if batch.ended[b, at - 1] or at == 6:
                        break
                seen = torch.cat([behind[at], obs[at]])[None]
                least = lagging.heads(seen, actor.head(acts[at][None])).amin(0)
                q = student.network.critic.heads(torch.cat([now[t], obs[t]])[None], batch.action[b, t][None])
                total, count = total + (q - reward - factor * least).square().sum(), count + 1
    means = student.update(batch, Weighing(), np.random.default_rng(0)).means
    assert 0 < count < 32 and float(means["td"]) == pytest.approx(float(total) / count, rel=1e-4)


@pytest.mark.parametrize("name", list(OFF))
def test_acting_step_by_step_is_reading_segments_and_random_steps_are_remembered(name):
    student = OFF[name].newborn(SPEC, 0)
    obs, begins = torch.randn(3, 9, 2), torch.rand(3, 9) < 0.2
    whole, last = student.predict(TimeStep(obs, begins), student.initial(3))
    carry, said = student.initial(3), []
    for t in range(9):
        step, before = TimeStep(obs[:, t], begins[:, t]), carry
        x, carry = student.predict(step, before)
        said.append(x.x)
        acted = student.act(step, before, 1.0, np.random.default_rng(t))  # at random
        assert torch.equal(acted.carry, carry) and acted.action.shape == (3, 1) and (abs(acted.action) <= 2).all()
    assert torch.allclose(torch.stack(said, 1), whole.x, atol=1e-6) and torch.allclose(carry, last, atol=1e-6)


CONTINUOUS = [name for name, kind in STUDENTS.items() if issubclass(kind, ContinuousSettings)]


@pytest.mark.parametrize("name", thinned(CONTINUOUS, lambda name: name == "tqc"))
def test_every_such_student_learns_with_a_memory_and_rows_without_a_step_count_for_nothing(name):
    more = {"low": -9.0, "high": 9.0} if name == "d4pg" else {}
    settings = STUDENTS[name](**{**TINY, "memory": "gtrxl", "memory_size": 8}, **CUT, **more)
    settings = replace(settings, n_step=2, actor_every=1, update_every=1)
    losses = []
    for poison in (False, True):
        student, memory = played(settings)
        batch = memory.sample(3, np.random.default_rng(0))
        tails = batch.weight == 0
        assert tails.any() and student.cost(1).online > student.cost(1).act > 0
        if poison:
            batch = batch._replace(reward=torch.where(tails, 100.0, batch.reward))
            if settings.predicts == "means":  # its action there is nobody's
                batch = batch._replace(action=torch.where(tails[..., None], 0.9, batch.action))
        before = {name: part.data.clone() for name, part in student.online.items()}
        means = student.update(batch, Weighing(), np.random.default_rng(0)).means
        assert all(not torch.equal(before[name], part.data) for name, part in student.online.items())
        losses.append({name: float(loss) for name, loss in means.items()})
    if name != "modern_sac":  # which scales by the largest reward that it sees
        assert losses[0] == losses[1]


def test_state_values_and_ensembles_have_a_memory_too():
    settings = replace(OFF["sac"], expectile=0.7, critics=4, asked=2, normalise=True, decorrelate=0.1)
    student, memory = played(settings)
    learnt = student.update(memory.sample(3, np.random.default_rng(0)), Weighing(), np.random.default_rng(0))
    assert {"td", "value", "decorrelation", "actor"} <= learnt.means.keys()
    assert student.network.value.torso.memory is not student.network.actor.torso.memory


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sac", "td3"])
def test_a_number_that_was_shown_once_is_remembered(name):
    """Without a memory −0.49 is the best that can be had."""
    kind = {"sac": SAC, "td3": TD3}[name]
    more = {"alpha": 0.02, "learn_alpha": False} if name == "sac" else {"noise": 0.3}
    cut = {"unroll": 6, "burn_in": 0, "overlap": 3, "batch_size": 48, "warmup": 200, "replay_size": 4000}
    settings = kind(memory="gru", memory_size=16, hidden=(16,), lr=1e-2, gamma=0.9, tau=0.1, **cut, **more)
    env = Copies(SPEC, lambda: Bare(Sign()), 4, None)
    student, rng = settings.newborn(SPEC, 0), np.random.default_rng(0)
    memory = memory_for(SPEC, settings.layout(), settings.storage(SPEC, 4), 4)
    stage = Stage(env, student, env.reset(rng))
    for step in range(400 if name == "sac" else 700):
        explore = settings.exploration(4 * step, True, 200)
        stage.play(explore, rng).store(memory.rows)
        if step > 50 and step % 2:
            student.update(memory.sample(8, rng), Weighing(), rng)
            student.publish()
    found = play_episodes(Copies(SPEC, lambda: Bare(Sign()), 4, None), Greedy(student, SPEC, 0.0), 20, rng)
    assert found.mean > -0.15


# ---- pqn ---------------------------------------------------------------------------------------------------


def test_a_rollout_of_values_is_read_as_it_was_played_and_its_returns_are_those_of_rows():
    student, memory, carries = lived(ROLLED, 8)
    rollout = memory.layout.gather(memory.rows, [])
    limit = rollout.ended & (rollout.discount > 0)
    assert limit[:, :-1].any()
    net, carry, after = student.acting.module, student.initial(3), []
    with torch.no_grad():
        for t in range(8):
            carry = recall(net, rollout.obs[:, t], rollout.begins[:, t], carry)[1]
            features = recall(net, rollout.next_obs[:, t], torch.zeros(3, dtype=torch.bool), carry)[0]
            after.append(net.read(features).amax(-1))
    expected = lambda_returns(rollout.reward, rollout.discount, torch.stack(after, 1), rollout.ended, ROLLED.lam)
    memory.begin(student)
    prepared = memory.prepared
    back = prepared.reward.unflatten(0, (2, 3)).transpose(0, 1).flatten(1)
    assert torch.allclose(back, expected, atol=1e-5)
    second, began = prepared.carry[3:], memory.layout._positions(memory.rows, np.zeros(3, np.int64))[:, 4]
    assert all(torch.allclose(second[s], carries[s, int(began[s])], atol=1e-6) for s in range(3))
    before = student.online.data.clone()
    learnt = student.update(memory.sample(24, np.random.default_rng(0)), Weighing(), np.random.default_rng(0))
    with torch.no_grad():
        q = net.read(recall(net, prepared.obs, prepared.begins, prepared.carry)[0].flatten(0, 1))
    taken = q.gather(1, prepared.action.flatten()[:, None])[:, 0]
    wrong = torch.nn.functional.huber_loss(taken, prepared.reward.flatten())
    assert float(learnt.means["td"]) == pytest.approx(float(wrong), rel=1e-4)
    assert not torch.equal(before, student.online.data) and student.cost(1).online > 0


def test_rows_that_fill_a_short_rollout_of_values_up_change_nothing():
    student, memory, _ = lived(replace(ROLLED, batch_size=24), 6)
    memory.begin(student)
    whole = memory.prepared
    poisoned = whole._replace(obs=torch.where(whole.weight[..., None] > 0, whole.obs, 1e3))
    losses = [
        float(ROLLED.newborn(student.spec, 0).update(b, Weighing(), np.random.default_rng(0)).means["td"])
        for b in (whole, poisoned)
    ]
    assert whole.weight.sum() == 18 and losses[0] == pytest.approx(losses[1], rel=1e-5)


# ---- runs --------------------------------------------------------------------------------------------------


SEVERAL = {
    "sac": (QDagger(offline_updates=8), OFF["sac"]),
    "td3": (Scratch(), replace(OFF["td3"], memory="lstm", normalise=True)),
    "pqn": (QDagger(offline_updates=4), ROLLED),
}
RULE = """
import torch
def east(obs):
    return torch.stack([-obs[:, 1], obs[:, 0], 0 * obs[:, 0], obs[:, 1]], 1) * 4
"""


@pytest.fixture(scope="module")
def elder(store, tmp_path_factory):
    """An agent with a memory, as a teacher."""
    out = tmp_path_factory.mktemp("elder") / "run"
    execute(run_of(Scratch(), OFF["sac"], store, env_steps=60), out)
    return f"store:{out}"


@pytest.mark.slow
@pytest.mark.parametrize("name", SEVERAL)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(name, elder, store, tmp_path):
    (tmp_path / "rule.py").write_text(RULE)
    method, student = SEVERAL[name]
    teacher = {"sac": elder, "td3": None, "pqn": f"py:{tmp_path}/rule.py:east"}[name]
    env = "Memory/TMaze-v0?length=2" if name == "pqn" else "Sign-v0"
    run = replace(run_of(method, student, store, teacher=teacher, env_steps=220), env=env, envs=4)
    result = execute(run, tmp_path / "whole")
    assert result["updates"] > 0
    check_it_goes_on(run, tmp_path / "whole", 2)


@pytest.mark.parametrize("pupil", ["none", "lstm", slow("gtrxl")])
def test_an_agent_with_a_memory_teaches_those_with_one_and_those_without(pupil, elder, store, tmp_path):
    settings = replace(OFF["td3"], memory=pupil, memory_size=8, memory_length=3)
    execute(run_of(Kickstart(), settings, store, teacher=elder, env_steps=80), tmp_path / "pupil")
    taught = [line["loss_distil"] for line in lines_of(tmp_path / "pupil") if "loss_distil" in line]
    assert taught and np.isfinite(taught).all()


# ---- files and refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["onnx", "safetensors"])
@pytest.mark.parametrize("name", [*OFF, "pqn"])
def test_an_agent_that_remembers_is_a_graph_with_its_memory_in_and_out(name, kind, tmp_path):
    from reincarnate.sharing.export import export

    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    settings = ROLLED if name == "pqn" else replace(OFF[name], normalise=True)
    spec = Points.spec if name == "pqn" else SPEC
    save_agent(tmp_path / "agent", settings.newborn(spec, 0), {"method": "scratch", "env": spec.id, "prior": {}}, "")
    exported = export(open_agent(tmp_path / "agent"), kind, tmp_path / "out")
    assert exported.difference is not None and exported.difference < 1e-5
    with pytest.raises(UserError, match="has no memories"):
        export(open_agent(tmp_path / "agent"), "sb3", tmp_path / "out.zip")


@pytest.mark.parametrize(
    "method, student, told",
    [
        (Scratch(), replace(OFF["sac"], overlap=4), "must be below --student.unroll"),
        (Scratch(), replace(OFF["td3"], batch_size=3), "holds no sequence"),
        (Scratch(), replace(OFF["sac"], burn_in=-1), "--student.burn-in -1 is too small"),
        (Scratch(), replace(OFF["sac"], replay_size=20), "--student.replay-size 20 is too small"),
        (Scratch(), replace(OFF["td3"], memory="gtrxl", memory_size=8, memory_length=0), "memory_length is 0"),
        (Scratch(), replace(ROLLED, segment=3), "does not divide --student.rollout 8"),
        (Scratch(), replace(ROLLED, batch_size=18), "holds no whole number of segments"),
        (METHODS["calql"](), OFF["sac"], "with a memory has none"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(method, student, told, elder, store):
    run = run_of(method, student, store, teacher=elder if "data" in method.needs else None)
    if isinstance(student, PQN):
        run = replace(run, env="Memory/TMaze-v0?length=2")
    with pytest.raises(UserError, match=told) as refused:
        prepare(run)
    assert "\n" not in str(refused.value)


def test_best_actions_are_of_the_values_that_are_told():
    student, memory, _ = lived(ROLLED, 4)
    assert isinstance(memory, Memory)
    step = TimeStep(torch.zeros(2, 2), torch.ones(2, dtype=torch.bool))
    said = student.predict(step, student.initial(2))[0].x
    assert (student.act(step, student.initial(2), 0.0, np.random.default_rng(0)).action == best_of(said, None)).all()
