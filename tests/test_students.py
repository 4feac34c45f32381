"""The students: every family by hand on tiny networks, with every method, from memory to gradient to stored agent."""

import copy
import json
import threading
import time
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import Catch, CatchTeacher, acts, catch, memory_of, on_catch, plays_of, run, says
from thinning import thinned
from torch.nn import functional as F

from reincarnate.agents.agent import open_agent, save_agent
from reincarnate.cli import main
from reincarnate.config import from_dict, to_dict
from reincarnate.data.layouts import Rollout, Transitions
from reincarnate.data.memory import Memory, Storage, memory_for, rollout_rows
from reincarnate.data.mixture import Mixture
from reincarnate.errors import UserError
from reincarnate.losses import distributions
from reincarnate.losses.terms import Distil
from reincarnate.methods import METHODS, Scratch
from reincarnate.nets import build
from reincarnate.nets.optimizers import Adam, Frozen, RMSProp, clip_norm
from reincarnate.run.directory import RunDirectory
from reincarnate.run.settings import NAMES, Run
from reincarnate.seeds import stream
from reincarnate.students import DQN, IQN, PQN, QRDQN, STUDENTS, Modern, Rainbow
from reincarnate.students.exploration import GREEDY_VALUE
from reincarnate.students.gradient import FunctionalGradient, weigh
from reincarnate.students.settings import ReplaySettings, ValueSettings
from reincarnate.teachers import open_teacher
from reincarnate.training.asking import predictor_of
from reincarnate.training.evaluate import Evaluation, play_episodes
from reincarnate.training.players import Greedy, Stage
from reincarnate.types import (
    BEST,
    NOTHING,
    VALUES,
    Batch,
    Prediction,
    Settings,
    Source,
    Student,
    TaskSpec,
    TimeStep,
    Weighing,
)
from reincarnate.types.leaves import each_tensor

TAIL = 4  # flag of a row that begins no transition
POINT = TaskSpec("Point", (2,), "float32", 3, 1, None, {})
MINATAR = TaskSpec("Grid", (10, 10, 4), "bool", 3, 1, None, {})
SCREEN = TaskSpec("Screen", (4, 84, 84), "uint8", 3, 4, 1.0, {})


def small(name, **changes):
    """A student of a family that fits Catch and learns it in seconds."""
    kind = STUDENTS[name]
    common = {"hidden": (32,), "lr": 3e-3, "batch_size": 32, "n_step": 3, "epsilon_steps": 300}
    replayed = {"warmup": 60, "update_every": 2, "target_every": 50, "replay_size": 3000}
    special = {
        "rainbow": {"atoms": 21, "low": -1.5, "high": 1.5},
        "modern": {"atoms": 21, "low": -1.5, "high": 1.5, "reset_every": 0},
        "qrdqn": {"quantiles": 11},
        "iqn": {"samples": 8, "acting": 8, "hidden": (32, 32)},
        "pqn": {"rollout": 8, "n_step": 1, "lr": 2e-3, "epsilon_steps": 2000},
        "r2d2": {
            "memory_size": 16,
            "unroll": 8,
            "burn_in": 4,
            "overlap": 4,
            "gamma": 0.99,
            "batch_size": 128,
            "adam_eps": 1e-8,
        },
    }
    family = replayed if issubclass(kind, ReplaySettings) else {}
    return kind(**{**common, **family, **special.get(name, {}), **changes})


# One tiny student of each kind of critic, with the settings that change how it is read.
KINDS = {
    "dqn": DQN(hidden=(5,)),
    "dueling": DQN(hidden=(5,), dueling=True),
    "layer-norm": DQN(hidden=(5, 4), layer_norm=True),
    "noisy": Rainbow(hidden=(5,), atoms=7, noisy=True, dueling=True),
    "rainbow": Rainbow(hidden=(5,), atoms=7, low=-2.0, high=2.0),
    "qrdqn": QRDQN(hidden=(5,), quantiles=4),
    "iqn": IQN(hidden=(5,), samples=3, acting=4),
    "noisy-iqn": IQN(hidden=(5,), samples=3, acting=4, noisy=True),
    "modern": Modern(hidden=(5,), atoms=7, low=-2.0, high=2.0),
    "modern-c51": Modern(hidden=(5,), atoms=7, low=-2.0, high=2.0, loss="categorical"),
    "pqn": PQN(hidden=(5,)),
}
kinds = pytest.mark.parametrize("config", KINDS.values(), ids=list(KINDS))
VALUE_STUDENTS = [name for name, kind in STUDENTS.items() if kind.predicts == VALUES]
students = pytest.mark.parametrize("name", VALUE_STUDENTS)


def random_batch(spec, n=6, seed=0, **changes):
    """Any batch a task may give: some rows end."""
    rng = torch.Generator().manual_seed(seed)
    look = lambda: (torch.rand(n, *spec.obs_shape, generator=rng) * 100).to(getattr(torch, spec.obs_dtype))
    batch = Batch(
        obs=look() / 50 if spec.obs_dtype == "float32" else look(),
        action=torch.randint(0, spec.actions, (n,), generator=rng),
        reward=torch.randn(n, generator=rng),
        discount=0.9 * (torch.rand(n, generator=rng) < 0.7),
        next_obs=look() / 50 if spec.obs_dtype == "float32" else look(),
    )
    return batch._replace(**changes)


def apart(config, spec=POINT, seed=0):
    """A student whose target network is not its online network, and not nearly."""
    student = config.newborn(spec, seed)
    state, other = student.state(), config.newborn(spec, seed + 1).state()
    if student.target:
        state["target"] = 2 * other["online"]
    student.restore({name: tensor.clone() for name, tensor in state.items()})
    return student


def twin(student):
    """Another student in the same state."""
    other = student.settings.newborn(student.spec, student.seed)
    other.restore({name: tensor.clone() for name, tensor in student.state().items()})
    return other


# ---- every method with every student ---------------------------------------------------------------


@cache
def prior_data():
    """A rule's play of Catch, with its word."""
    return plays_of(CatchTeacher(), 200)


def training_of(config, phases, envs=None, seed=0, evaluate=None):
    """A training on Catch, ready to run."""
    evaluate = evaluate or (lambda index: Evaluation((-0.5, -0.4), 1))
    return on_catch(config, phases, seed, envs or config.copies, CatchTeacher(), prior_data(), evaluate)


def method_of(name):
    """A method with the temperature that suits the teacher of Catch."""
    method = METHODS[name]().suited(VALUES)
    return method.by_policy_alone() if name == "actor_mimic" else method  # nobody tells features here


def shortened(method, env_steps):
    """A method's phases, each as short as will do."""
    return [
        replace(p, updates=min(p.updates, 4), env_steps=min(p.env_steps, env_steps), evaluations=1)
        for p in method.phases(100_000)
    ]


# every method with some student, and every student with the method that has the most parts
WITH_ACTORS = {"ppd", "bc", "td3bc", "awac", "iql", "calql"}  # methods that students of action values are refused
TAUGHT = [name for name in METHODS if name not in WITH_ACTORS | {"ald"}]
PAIRS = dict.fromkeys([*zip(TAUGHT, cycle(VALUE_STUDENTS), strict=False), *(("qdagger", n) for n in VALUE_STUDENTS)])


@pytest.mark.parametrize("method, name", PAIRS)
def test_every_method_and_every_student_train(method, name):
    config = small(name, hidden=(8,), batch_size=8, warmup=8, **({"rollout": 2} if name == "pqn" else {}))
    training = training_of(config, shortened(method_of(method), 128 if name == "pqn" else 32))
    training.student.load(config.newborn(Catch.spec, 7).weights())  # as for methods that begin with weights
    states, lines = [], []
    run(training, lines.append, lambda: states.append(training.student.state()["online"].clone()))
    assert len(states) == 1 + len(training.phases)
    for phase, before, after in zip(training.phases, states[:-1], states[1:], strict=True):
        assert torch.isfinite(after).all()
        assert torch.equal(before, after) != phase.learns, phase.name
    trained = [line for line in lines if line["kind"] == "train"]
    found = [v for line in trained for key, v in line.items() if key.startswith("loss_")]
    assert found and np.isfinite(found).all()
    assert training.student.updates == training.at.updates > 0


@students
def test_every_student_fulfils_the_protocols(name):
    config = small(name)
    memory = memory_of(config, Catch.spec, 2)
    assert isinstance(config.newborn(Catch.spec, 0), Student)
    assert isinstance(config, ValueSettings) and isinstance(config, Settings)
    assert isinstance(memory, Source) and isinstance(Mixture(memory, memory, 0.5), Source)


@pytest.mark.parametrize("name", thinned(VALUE_STUDENTS, lambda name: name in ("dqn", "pqn")))
def test_every_student_learns_catch_from_scratch(name):
    config, envs = small(name), 16 if name == "pqn" else 4
    steps = 6000 if name == "pqn" else 1300

    def evaluate(index):
        if index == 0:
            return Evaluation((-0.6, -0.6), 1)
        return play_episodes(catch(20), Greedy(training.student.policy, Catch.spec, 0.0), 100, stream(0, "e"))

    phases = [replace(p, evaluations=1) for p in Scratch().phases(steps)]
    training, scores = training_of(config, phases, envs, evaluate=evaluate), []
    run(training, lambda line: scores.append(line.get("score")))
    assert scores[-1] > 0.3  # random play: -0.6


# ---- one gradient, by hand -------------------------------------------------------------------------


def hand_losses(config, online, target, batch, draws):
    """Each example's loss, from `distributions` alone, one example at a time. `target` is a network."""
    out = []
    for b in range(len(batch.action)):
        obs, nxt = batch.obs[b : b + 1], batch.next_obs[b : b + 1]
        action, reward, discount = batch.action[b], batch.reward[b : b + 1], batch.discount[b : b + 1]
        fractions = [d[b : b + 1] for d in draws]
        rest = (torch.tensor([[(2 * i + 1) / 8 for i in range(4)]]),) if fractions else ()  # acting=4 midpoints
        with torch.no_grad():
            ahead = target(nxt, *fractions[1:])[0]
            mine = online(nxt, *rest)[0]
        now = online(obs, *fractions[:1])[0]
        if isinstance(config, Rainbow | Modern):
            z = torch.linspace(config.low, config.high, config.atoms)
            mean = lambda logits, z=z: (logits.softmax(-1) * z).sum(-1)
        else:
            mean = (lambda q: q) if ahead.ndim == 1 else (lambda q: q.mean(-1))
        best = int((mean(mine) if config.double else mean(ahead)).argmax())
        if isinstance(config, Rainbow) or getattr(config, "loss", "") == "categorical":
            goal = distributions.project(ahead[best].softmax(-1)[None], reward, discount, z)
            out.append(distributions.categorical_cross_entropy(now[action][None], goal)[0])
        elif isinstance(config, Modern):
            width = (config.high - config.low) / (config.atoms - 1)
            goal = distributions.hl_gauss(reward + discount * mean(ahead)[best], z, 0.75 * width)
            out.append(distributions.categorical_cross_entropy(now[action][None], goal)[0])
        elif isinstance(config, QRDQN | IQN):
            tau = fractions[0] if fractions else distributions.midpoints(config.quantiles)[None]
            goal = reward[:, None] + discount[:, None] * ahead[best][None]
            out.append(distributions.quantile_huber(now[action][None], tau, goal, 1.0)[0])
        else:
            out.append(F.huber_loss(now[action], (reward + discount * ahead[best])[0]))
    return torch.stack(out)


PLAIN = {name: KINDS[name] for name in ("dqn", "dueling", "rainbow", "qrdqn", "iqn", "modern", "modern-c51", "pqn")}


@pytest.mark.parametrize("targets", [0, 100], ids=["no-target", "target"])
@pytest.mark.parametrize("double", [False, True], ids=["single", "double"])
@pytest.mark.parametrize("config", PLAIN.values(), ids=list(PLAIN))
def test_an_update_follows_the_gradient_worked_by_hand(config, double, targets):
    # double: the online network chooses, the target says its value; no target network: the online one bootstraps;
    # no gradient flows through what is bootstrapped from, because hand_losses computes it without
    config = replace(config, double=double, target_every=targets)
    student, batch = apart(config), random_batch(POINT)
    online, target = copy.deepcopy(student.online.module), (student.target or student.online).module
    shape = (2, len(batch.action), getattr(config, "samples", 0))
    draws = torch.from_numpy(np.random.default_rng(3).random(shape, np.float32)) if isinstance(config, IQN) else ()
    each = hand_losses(config, online, copy.deepcopy(target), batch, draws)
    online.zero_grad()
    each.mean().backward()
    learnt = student.update(batch, Weighing(), np.random.default_rng(3))
    torch.testing.assert_close(learnt.each, each.detach())
    torch.testing.assert_close(learnt.means, {"td": each.detach().mean()})
    found = student.online.windows(student.online.grad)
    for name, p in online.named_parameters():
        torch.testing.assert_close(found[name], p.grad, msg=lambda m, name=name: f"{name}: {m}")


def test_the_online_and_the_target_network_of_those_tests_do_disagree():
    # else "double" would prove nothing
    student = apart(KINDS["dqn"])
    obs = random_batch(POINT).next_obs
    assert (student.online.module(obs).argmax(1) != student.target.module(obs).argmax(1)).any()


@kinds
def test_terms_see_expected_values_and_the_gradient_adds_up(config):
    class Spy:
        name, of = "spy", None

        def __call__(self, out, batch):
            self.q = out.x.detach()
            return out.x.square().sum(-1)

    student, batch, spy = apart(config), random_batch(POINT), Spy()
    before = twin(student)
    student.update(batch, Weighing(terms=[(0.5, spy)]), np.random.default_rng(3))
    assert spy.q.shape == (6, 3)
    if not student.noise_size and not isinstance(config, IQN):
        np.testing.assert_allclose(spy.q, says(before, batch.obs.numpy()), rtol=1e-5, atol=1e-6)
    grads = {}
    for what, terms, td in (("td", [], 1.0), ("spy", [(1.0, spy)], 0.0)):
        other = twin(before)
        other.update(batch, Weighing(td, terms), np.random.default_rng(3))
        grads[what] = other.online.grad
    torch.testing.assert_close(student.online.grad, grads["td"] + 0.5 * grads["spy"], rtol=1e-4, atol=1e-6)


def test_iqns_term_sees_the_mean_over_the_fractions_that_were_drawn():
    class Spy:
        name, of = "spy", None

        def __call__(self, out, batch):
            self.q = out.x.detach()
            return out.x.sum(-1)

    student, batch, spy = KINDS["iqn"].newborn(POINT, 0), random_batch(POINT), Spy()
    tau = torch.from_numpy(np.random.default_rng(3).random((2, 6, 3), np.float32))[0]
    expected = student.online.module(batch.obs, tau).detach().mean(-1)
    student.update(batch, Weighing(terms=[(1.0, spy)]), np.random.default_rng(3))
    torch.testing.assert_close(spy.q, expected)


def test_importance_multiplies_every_loss_and_the_means_are_told_without():
    # td (1 + 3/2)/2 = 1.25; term (2 + 4/2)/2 = 2; 1 · 1.25 + 2 · 2 = 5.25
    each = {"td": torch.tensor([1.0, 3.0]), "distil": torch.tensor([2.0, 4.0])}
    total, learnt = weigh(each, [1.0, 2.0], torch.tensor([1.0, 0.5]))
    assert total.item() == 5.25
    assert {name: mean.item() for name, mean in learnt.means.items()} == {"td": 2.0, "distil": 3.0}
    assert learnt.each.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("config", [KINDS["dqn"], KINDS["rainbow"]], ids=["dqn", "rainbow"])
def test_an_update_weighs_its_examples_by_importance(config):
    weight, term = torch.tensor([1.0, 0.25, 0.5, 0.0, 1.0, 0.125]), Distil(1.0, 1.0)
    said = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    batch = random_batch(POINT, predictions={"teacher": Prediction(VALUES, said)})
    student, parts = apart(config), torch.zeros(config.newborn(POINT, 0).online.data.numel())
    for b in range(6):  # one example at a time, without weights
        one = each_tensor(batch, lambda x, b=b: x[b : b + 1])
        alone = twin(student)
        alone.update(one, Weighing(terms=[(2.0, term)]), np.random.default_rng(0))
        parts += weight[b] * alone.online.grad / 6
    student.update(batch._replace(weight=weight), Weighing(terms=[(2.0, term)]), np.random.default_rng(0))
    torch.testing.assert_close(student.online.grad, parts, rtol=1e-4, atol=1e-6)


def test_a_batch_without_successors_is_learnt_towards_its_rewards():
    student, batch = PQN(hidden=(5,)).newborn(POINT, 0), random_batch(POINT, next_obs=None)
    q = says(student, batch.obs.numpy())[np.arange(6), batch.action.numpy()]
    learnt = student.update(batch, Weighing(), np.random.default_rng(0))
    torch.testing.assert_close(learnt.each, F.huber_loss(torch.from_numpy(q), batch.reward, reduction="none"))


# ---- acting ----------------------------------------------------------------------------------------


def test_iqn_acts_the_same_every_time_and_draws_nothing_for_it():
    student, obs = KINDS["iqn"].newborn(POINT, 0), random_batch(POINT, 50).obs.numpy()
    assert np.array_equal(says(student, obs), says(student, obs))
    a, b = (acts(student, obs, 0.0, np.random.default_rng(seed)) for seed in (0, 1))
    assert np.array_equal(a, b)
    tau = torch.tensor([[0.125, 0.375, 0.625, 0.875]]).expand(50, -1)
    expected = student.online.module(torch.from_numpy(obs), tau).detach().mean(-1)
    np.testing.assert_allclose(says(student, obs), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["noisy", "noisy-iqn"])
def test_a_noisy_student_acts_under_fresh_noise_and_is_judged_without(kind):
    student, obs = KINDS[kind].newborn(POINT, 0), random_batch(POINT, 200).obs.numpy()
    judged, rng = says(student, obs), np.random.default_rng(0)
    played = [acts(student, obs, 0.0, rng) for _ in range(4)]
    assert len({actions.tobytes() for actions in played}) > 1
    assert np.array_equal(says(student, obs), judged)  # noise left behind by acting does not matter
    again = np.random.default_rng(0)
    assert all(np.array_equal(acts(student, obs, 0.0, again), actions) for actions in played)
    assert any("sigma" in name for name in student.weights()) and not any("noise" in n for n in student.weights())


def test_acting_is_with_the_weights_last_published():
    student, batch = DQN(hidden=(5,), lr=0.1).newborn(POINT, 0), random_batch(POINT)
    before = says(student, batch.obs.numpy())
    student.update(batch, Weighing(), np.random.default_rng(0))
    assert np.array_equal(says(student, batch.obs.numpy()), before)
    student.publish()
    assert not np.array_equal(says(student, batch.obs.numpy()), before)


# ---- prioritised replay ----------------------------------------------------------------------------

FRAMES = TaskSpec("Frames", (3, 1, 1), "uint8", 2, 3, None, {})


def experience(replay, rng, steps):
    """Random transitions: some episodes end, some are cut by a time limit, and now and then all are by a barrier."""
    n = replay.streams
    for _ in range(steps):
        obs = rng.integers(0, 255, (2, n, *replay.spec.obs_shape)).astype(replay.spec.obs_dtype)
        ended, limit = rng.random(n) < 0.15, rng.random(n) < 0.1
        replay.add(obs[0], np.zeros(n), rng.normal(size=n), ended, limit & ~ended, obs[1])
        if rng.random() < 0.05:
            replay.cut(obs[1])


def valid_rows(replay, ahead):
    """Rows of the table that begin a transition, found one by one."""
    places = [(s, p) for s in range(replay.streams) for p in range(*replay.span(s, ahead))]
    rows = [int(replay.base[s] + p % replay.rows) for s, p in places]
    return {row for row in rows if not replay.columns["flags"][row] & TAIL}


@given(
    seed=st.integers(0, 10_000),
    streams=st.integers(1, 3),
    n_step=st.integers(1, 4),
    rows=st.integers(9, 30),
    stacked=st.booleans(),
)
@settings(max_examples=40)
def test_only_rows_that_begin_a_transition_are_ever_drawn(seed, streams, n_step, rows, stacked):
    rng = np.random.default_rng(seed)
    spec, layout = FRAMES if stacked else POINT, Transitions(n_step, 0.9)
    memory = memory_for(spec, layout, Storage(rows * streams, 0.6, 0.4), streams)
    replay = memory.rows
    for _ in range(12):
        experience(replay, rng, int(rng.integers(1, 25)))
        valid = valid_rows(replay, n_step)
        if not valid:
            with pytest.raises(ValueError, match="nothing to sample"):
                memory.sample(4, rng)
            continue
        batch = memory.sample(16, rng)
        assert set(batch.rows.tolist()) <= valid
        assert set(np.flatnonzero(memory.tensors()["weights"]).tolist()) == valid
        plain = layout.gather(replay, *_where(replay, batch.rows), [])
        assert all(torch.equal(getattr(plain, name), getattr(batch, name)) for name in Batch._fields[:5])
        memory.learnt(batch, torch.from_numpy(rng.exponential(size=16).astype(np.float32)))


def _where(replay, rows):
    """(streams, positions) of rows: the newest position that lies in each."""
    stream_, slot = np.divmod(rows, replay.rows)
    position = [
        max(p for p in range(int(replay.added[s])) if p % replay.rows == k) for s, k in zip(stream_, slot, strict=True)
    ]
    return stream_, np.array(position)


def learnt_memory(alpha=0.7, beta=0.4, seed=0):
    """A small prioritised memory, all of whose rows have a loss of their own; (memory, valid rows, losses)."""
    rng = np.random.default_rng(seed)
    memory = memory_for(POINT, Transitions(2, 0.9), Storage(60, alpha, beta), 2)
    experience(memory.rows, rng, 50)
    batch = memory.sample(1, rng)
    rows = np.array(sorted(valid_rows(memory.rows, 2)))
    loss = rng.exponential(size=len(rows)).astype(np.float32)
    memory.learnt(batch._replace(rows=rows), torch.from_numpy(loss))
    return memory, rows, loss


def test_rows_are_drawn_as_often_as_their_losses_say_and_weighed_against_it():
    memory, rows, loss = learnt_memory()
    share = loss.astype(np.float64) ** 0.7
    share /= share.sum()
    rng, counts = np.random.default_rng(1), np.zeros(60)
    for _ in range(600):
        batch = memory.sample(50, rng)
        counts += np.bincount(batch.rows, minlength=60)
        drawn = share[np.searchsorted(rows, batch.rows)]
        np.testing.assert_allclose(batch.weight, (drawn.min() / drawn) ** 0.4, rtol=1e-4)
    expected = 30_000 * share
    assert counts.sum() == counts[rows].sum()
    assert ((counts[rows] - expected) ** 2 / expected).sum() < len(rows) + 4 * np.sqrt(2 * len(rows))


def test_a_new_row_is_as_likely_as_the_likeliest_so_far():
    memory, _, loss = learnt_memory(alpha=1.0)
    rng = np.random.default_rng(2)
    before = valid_rows(memory.rows, 2)
    experience(memory.rows, rng, 3)
    weights = memory.tensors()["weights"]
    fresh = sorted(valid_rows(memory.rows, 2) - before)
    assert fresh and (weights[fresh] == max(1.0, float(loss.max()) + 1e-10)).all()


def test_restored_priorities_draw_the_same():
    memory, _, _ = learnt_memory()
    twin = memory_for(POINT, Transitions(2, 0.9), Storage(60, 0.7, 0.4), 2)
    for name, column in memory.rows.columns.items():
        twin.rows.columns[name][:] = column
    tensors = {name: np.array(value) for name, value in memory.tensors().items()}
    twin.restore(json.loads(json.dumps(memory.state())))
    twin.restore_tensors(tensors)
    for seed in range(20):
        pair = [m.sample(16, np.random.default_rng(seed)) for m in (memory, twin)]
        for name in (*Batch._fields[:5], "weight", "rows"):
            assert np.array_equal(getattr(pair[0], name), getattr(pair[1], name)), name
        for m, batch in zip((memory, twin), pair, strict=True):
            m.learnt(batch, torch.linspace(0, seed, 16))
            experience(m.rows, np.random.default_rng(seed), 2)


# ---- a run that is stopped -------------------------------------------------------------------------

STOPPED = {
    "rainbow": small("rainbow", noisy=True, dueling=True, double=True, batch_size=8),
    "iqn": small("iqn", batch_size=8),
    "modern": small("modern", reset_every=15, priority=0.6, batch_size=8, n_step=3),
    "rmsprop": small("qrdqn", optimizer="rmsprop", max_grad_norm=1.0, priority=0.5, batch_size=8),
    "pqn": small("pqn", rollout=4, batch_size=16),
}


class Stop(Exception):
    pass


@pytest.mark.parametrize("name", thinned(STOPPED, lambda name: name in ("rainbow", "pqn")))
def test_a_run_stopped_at_a_barrier_goes_on_to_the_same_bits(name, tmp_path):
    phases = [replace(p, evaluations=5) for p in shortened(method_of("qdagger"), 240)]

    def raise_in(folder, stop=None, resume=False):
        training = training_of(STOPPED[name], phases, envs=4)
        directory = RunDirectory.reopen(folder) if resume else RunDirectory.fresh(folder)
        directory.restore(training) if resume else directory.create({})

        def barrier():
            directory.checkpoint(training)
            if training.at.barrier == stop:
                raise Stop

        run(training, directory.record, barrier)
        return training

    whole = raise_in(tmp_path / "whole")
    for stop in (2, 5, 6):
        with pytest.raises(Stop):
            raise_in(tmp_path / "stopped", stop, resume=stop > 2)
    resumed = raise_in(tmp_path / "stopped", resume=True)
    assert whole.student.updates > 30 and whole.student.updates == resumed.student.updates
    for key, tensor in whole.student.state().items():
        assert torch.equal(tensor, resumed.student.state()[key]), key
    for key, array in whole.memory.tensors().items():
        assert np.array_equal(array, resumed.memory.tensors()[key]), key


@pytest.mark.parametrize("config", thinned(STOPPED.values(), lambda c: isinstance(c, Rainbow)), ids=list(STOPPED))
def test_stepping_beside_the_learner_changes_no_student(config):
    # with an update only every 16 env steps, several steps are taken while a reset happens
    if isinstance(config, ReplaySettings):
        config = replace(config, update_every=16, updates_each=5, reset_every=config.reset_every and 6)
    phases = shortened(Scratch(), 300)
    finals = []
    for overlap in (False, True):
        training = training_of(config, phases, envs=2 if isinstance(config, ReplaySettings) else 4)
        run(training, overlap=overlap)
        finals.append(training.student.state()["online"])
    assert torch.equal(*finals)


def test_who_steps_beside_the_learner_waits_for_what_the_learner_waits_for(monkeypatch):
    passing, stepped = threading.Event(), []
    training = training_of(replace(STOPPED["rainbow"], update_every=4), shortened(Scratch(), 200), envs=1)
    target_of, play = training.student._target_of, Stage.play

    def slow(*arguments):
        passing.set()
        time.sleep(0.01)
        try:
            return target_of(*arguments)
        finally:
            passing.clear()

    def noted(*arguments):
        stepped.append(passing.is_set())
        time.sleep(0.002)
        return play(*arguments)

    monkeypatch.setattr(training.student, "_target_of", slow)
    monkeypatch.setattr(Stage, "play", noted)
    run(training, overlap=True)
    assert training.student.updates > 20 and len(stepped) == 200
    assert sum(stepped) <= training.student.updates  # at most the first step of a cycle has already begun


# ---- resets ----------------------------------------------------------------------------------------


def updated(student, times):
    for _ in range(times):
        batch = random_batch(POINT, seed=student.updates)
        student.update(batch, Weighing(), np.random.default_rng(student.updates))
    return student


def test_a_reset_renews_the_head_keeps_part_of_the_torso_and_forgets_the_moments():
    config = replace(KINDS["modern"], lr=0.05, shrink=0.75, reset_every=3, target_every=1000)
    alike = updated(replace(config, reset_every=0).newborn(POINT, 4), 3).weights()
    student = updated(config.newborn(POINT, 4), 3)
    number = int(stream(4, "reset", 3).integers(2**31))
    fresh = build(POINT, config, config.critic(), number).state_dict()
    for name, tensor in student.weights().items():
        torso = name.startswith("torso")
        torch.testing.assert_close(tensor, 0.75 * alike[name] + 0.25 * fresh[name] if torso else fresh[name])
    state = student.state()
    assert torch.equal(state["target"], state["online"]) and int(state["updates"]) == 3
    assert not any(state[f"adam.{name}"].any() for name in ("mean", "square", "steps"))


def test_a_reset_does_not_touch_the_network_that_acts():
    # which may be acting on another thread; it is published with every other change, at the cycle's end
    config = replace(KINDS["modern"], reset_every=1)
    student, obs = config.newborn(POINT, 0), random_batch(POINT).obs.numpy()
    before = says(student, obs)
    updated(student, 1)
    assert np.array_equal(says(student, obs), before)
    student.publish()
    assert not np.array_equal(says(student, obs), before)


def test_what_a_reset_draws_depends_on_seed_and_updates_alone():
    config = replace(KINDS["modern"], shrink=0.0, reset_every=2)
    a, b = config.newborn(POINT, 0), config.newborn(POINT, 0)
    b.load(config.newborn(POINT, 9).weights())
    heads = [updated(s, 2).weights() for s in (a, b)]
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    later, other = updated(config.newborn(POINT, 0), 4).weights(), updated(config.newborn(POINT, 1), 2).weights()
    for weights in (later, other):
        assert not torch.equal(heads[0]["advantage.weight"], weights["advantage.weight"])


def test_a_student_restored_anywhere_is_reset_to_the_same_weights():
    config = replace(KINDS["modern"], lr=0.05, reset_every=3)
    whole = updated(config.newborn(POINT, 0), 8).state()
    for k in range(8):
        state = {name: t.clone() for name, t in updated(config.newborn(POINT, 0), k).state().items()}
        student = config.newborn(POINT, 0)
        student.restore(state)
        assert all(torch.equal(t, whole[name]) for name, t in updated(student, 8 - k).state().items())


# ---- PQN -------------------------------------------------------------------------------------------


def brute_return(t, reward, best, terminated, truncated, gamma, lam):
    """The λ-return of one copy from step t, as its definition says."""
    if terminated[t]:
        return reward[t]
    if truncated[t] or t == len(reward) - 1:
        return reward[t] + gamma * best[t]
    after = brute_return(t + 1, reward, best, terminated, truncated, gamma, lam)
    return reward[t] + gamma * (lam * after + (1 - lam) * best[t])


def rollouts(streams, length, gamma, spec=POINT):
    """A memory of rollouts."""
    return memory_for(spec, Rollout(length, gamma), rollout_rows(spec, length, streams), streams)


def fill(memory, steps, seed=0, p=0.2, noted=False):
    """Random experience; observations count up, so that each is known by its first number. The largest value of what was
    acted on may be noted."""
    rows, log = memory.rows, []
    rng, n = np.random.default_rng(seed), rows.streams
    look = lambda t: np.stack([np.full(2, t * n + i, np.float32) for i in range(n)])
    for t in range(steps):
        ended, limit = rng.random(n) < p, rng.random(n) < p
        after = np.where((ended | limit)[:, None], look(t) + 0.5, look(t + 1))
        action, reward = rng.integers(3, size=n), rng.normal(size=n).astype(np.float32)
        item = (look(t), action, reward, ended, limit & ~ended, after)
        greedy = lookup(torch.from_numpy(look(t))).amax(1).numpy()
        rows.add(*item, notes={GREEDY_VALUE: greedy} if noted else NOTHING)
        log.append(item)
    rows.foresee(look(steps))
    return [np.stack(column) for column in zip(*log, strict=True)]


def lookup(obs):
    """Some action values [n, 3] of an observation."""
    return torch.stack([obs[:, 0].sin(), obs[:, 0].cos(), obs[:, 0] / 50], 1)


def knowing(values, lam=0.65):
    """A PQN that has these action values."""
    student = PQN(hidden=(5,), lam=lam).newborn(POINT, 0)
    student._values = values
    return student


@pytest.mark.parametrize("lam, noted", [(0.0, True), (0.65, True), (1.0, True), (0.65, False)])
def test_lambda_returns_are_those_of_the_recursion(lam, noted):
    memory, asked = rollouts(3, 12, 0.9), []
    _, action, reward, terminated, truncated, next_obs = fill(memory, 12, noted=noted)
    assert terminated.any() and truncated.any()
    memory.begin(knowing(lambda seen: asked.append(len(seen)) or lookup(seen), lam))
    ends = (terminated | truncated)[:-1].sum() + 3  # and the last step of each copy
    assert asked == [ends if noted else 36]
    batch = memory.sample(36, np.random.default_rng(0))
    assert batch.next_obs is None and not batch.discount.any()
    best = lookup(torch.from_numpy(next_obs.reshape(-1, 2))).amax(1).view(12, 3).numpy()
    for obs, taken, target in zip(batch.obs, batch.action, batch.reward, strict=True):
        t, i = divmod(int(obs[0]), 3)
        column = (reward[:, i], best[:, i], terminated[:, i], truncated[:, i])
        assert target.item() == pytest.approx(brute_return(t, *column, 0.9, lam), rel=1e-5, abs=1e-6)
        assert taken == action[t, i]


def test_a_rollout_notes_the_largest_allowed_value_of_what_was_acted_on():
    student, rng = PQN(hidden=(5,)).newborn(POINT, 0), np.random.default_rng(0)
    mask = torch.tensor([[True, True, False], [False, True, True], [True, False, True], [True, True, True]])
    step = TimeStep(torch.randn(4, 2), torch.zeros(4, dtype=torch.bool), mask=mask)
    q = student.predict(step, student.initial(4))[0].x.masked_fill(~mask, -torch.inf)
    for explore in (0.0, 0.5, 1.0):
        acted = student.act(step, student.initial(4), explore, rng)
        np.testing.assert_array_equal(acted.notes[GREEDY_VALUE], q.amax(1).numpy())
    assert not DQN(hidden=(5,)).newborn(POINT, 0).act(step, student.initial(4), 0.5, rng).notes


def test_lambda_returns_by_hand():
    # γ = λ = 1/2, best next values 4, 8, 6; the second step ends the episode, the third ends the rollout:
    # G3 = 1 + ½·6 = 4; G2 = 2; G1 = 3 + ½·(½·2 + ½·4) = 4.5
    memory = rollouts(1, 3, 0.5)
    obs = np.zeros((1, 2), np.float32)
    for reward, over in ((3, False), (2, True), (1, False)):
        memory.rows.add(obs, np.zeros(1), np.array([reward], np.float32), np.array([over]), np.array([False]), obs)
    memory.rows.foresee(obs)
    memory.begin(knowing(lambda seen: torch.tensor([[4.0], [8.0], [6.0]]), 0.5))
    assert sorted(memory.sample(3, np.random.default_rng(0)).reward.tolist()) == [2.0, 4.0, 4.5]


def test_rewards_are_clipped_where_the_task_says_so():
    memory, obs = rollouts(1, 1, 0.9, replace(POINT, reward_clip=1.0)), np.zeros((1, 2), np.float32)
    memory.rows.add(obs, np.zeros(1), np.array([7.0]), np.array([True]), np.array([False]), obs)
    memory.begin(knowing(lookup, 0.5))
    assert memory.sample(1, np.random.default_rng(0)).reward.tolist() == [1.0]


def test_minibatches_of_one_pass_share_no_example():
    memory, rng = rollouts(4, 8, 0.9), np.random.default_rng(0)
    fill(memory, 8)
    memory.begin(knowing(lookup))
    orders = []
    for _ in range(2):  # two passes, in different orders
        seen = [int(x) for _ in range(4) for x in memory.sample(8, rng).obs[:, 0]]
        assert sorted(seen) == list(range(32))
        orders.append(seen)
    assert orders[0] != orders[1]


def test_on_policy_memory_forgets_at_a_barrier_and_after_learning():
    memory = rollouts(2, 4, 0.9)
    fill(memory, 3)
    memory.rows.cut(np.zeros((2, 2), np.float32))
    memory.cut()
    assert len(memory) == 0 and memory.state() == {} and memory.tensors() == {}
    fill(memory, 4)
    memory.begin(knowing(lookup))
    assert len(memory) == 8
    fill(memory, 2)
    memory.begin(knowing(lookup))
    assert len(memory) == 4
    memory.cut()
    assert len(memory) == 0


def test_rollouts_keep_the_word_of_a_teacher_that_watched_and_ask_others_once():
    memory, rng = rollouts(2, 4, 0.9), np.random.default_rng(0)
    asked = []

    def predict(obs):
        asked.append(len(obs))
        return Prediction(VALUES, obs[:, :1] * torch.tensor([1.0, 2.0, 3.0]))

    fill(memory, 4)
    memory.begin(knowing(lookup), {"teacher": predict})
    for _ in range(3):
        batch = memory.sample(4, rng, {"teacher": predict})
        torch.testing.assert_close(batch.predictions["teacher"].x, batch.obs[:, :1] * torch.tensor([1.0, 2.0, 3.0]))
    assert asked == [8]
    memory = rollouts(2, 4, 0.9)
    obs, flag, said = np.ones((2, 2), np.float32), np.zeros(2, bool), Prediction(VALUES, torch.full((2, 3), 5.0))
    memory.rows.add(obs, np.zeros(2), np.zeros(2, np.float32), flag, flag, obs, {"teacher": said})
    memory.rows.foresee(obs)
    memory.begin(knowing(lookup), {"teacher": predict})
    assert (memory.sample(2, rng, {"teacher": predict}).predictions["teacher"].x == 5).all() and asked == [8]


def test_pqn_learns_every_rollout_in_epochs_of_disjoint_batches():
    config = small("pqn", rollout=4, batch_size=16, epochs=3)
    training = training_of(config, shortened(Scratch(), 64), envs=8)  # two rollouts of 32 examples
    run(training)
    assert training.student.updates == 2 * 3 * 2


def test_a_pqn_whose_rollout_holds_no_batch_is_refused():
    with pytest.raises(UserError, match=r"batch-size 128 .*16 steps of 4 copies"):
        PQN().check(4)
    PQN(batch_size=64).check(4)


# ---- mixtures --------------------------------------------------------------------------------------


class Marked:
    """A source whose observations all carry its mark."""

    def __init__(self, mark, rows, next_obs=True):
        self.mark, self.rows, self.next_obs, self.heard = mark, rows, next_obs, []

    def __len__(self):
        return 99

    def sample(self, n, rng, ask=NOTHING):
        obs = torch.full((n, 2), self.mark)
        zeros, rows = torch.zeros(n), np.arange(n) if self.rows else None
        return Batch(
            obs,
            torch.zeros(n, dtype=torch.int64),
            zeros,
            zeros + 0.5,
            obs if self.next_obs else None,
            {name: predict(obs) for name, predict in ask.items()},
            zeros + 0.25 if self.rows else None,
            rows,
        )

    def learnt(self, batch, losses):
        self.heard.append((batch.rows.tolist(), losses.tolist()))


def test_a_mixture_has_its_share_and_puts_prior_data_first():
    mixture, rng = Mixture(Marked(1.0, rows=False), Marked(2.0, rows=True), 0.25), np.random.default_rng(0)
    counts = []
    for _ in range(2000):
        batch = mixture.sample(8, rng)
        marks = batch.obs[:, 0].tolist()
        assert marks == sorted(marks) and len(marks) == 8
        counts.append(marks.count(1.0))
        if counts[-1] < 8:
            assert batch.weight.tolist() == [1.0] * counts[-1] + [0.25] * (8 - counts[-1])
    assert np.mean(counts) == pytest.approx(2.0, abs=0.1)  # 8 · 1/4; standard error 0.03
    assert np.var(counts) == pytest.approx(1.5, abs=0.2)  # each example by itself: 8 · 1/4 · 3/4


@pytest.mark.parametrize("share, mark", [(0.0, 2.0), (1.0, 1.0)])
def test_a_mixture_may_be_all_of_one(share, mark):
    ask = {"teacher": lambda obs: Prediction(VALUES, torch.zeros(len(obs), 3))}
    batch = Mixture(Marked(1.0, False), Marked(2.0, True), share).sample(8, np.random.default_rng(0), ask)
    assert (batch.obs == mark).all() and batch.predictions["teacher"].x.shape == (8, 3)


def test_only_own_rows_hear_of_their_losses():
    own = Marked(2.0, rows=True)
    mixture, rng = Mixture(Marked(1.0, rows=False), own, 0.5), np.random.default_rng(0)
    for _ in range(20):
        batch = mixture.sample(4, rng)
        mixture.learnt(batch, batch.obs[:, 0] * 10)
    assert own.heard and all(set(heard) == {20.0} and len(heard) == len(rows) for rows, heard in own.heard)


def test_fresh_experience_without_successors_mixes_with_prior_data():
    batch = Mixture(Marked(1.0, False), Marked(2.0, False, next_obs=False), 0.5).sample(8, np.random.default_rng(0))
    own = batch.obs[:, 0] == 2
    assert 0 < own.sum() < 8 and batch.next_obs.shape == batch.obs.shape
    memory = rollouts(4, 4, 0.99, Catch.spec)
    env = catch(4)
    obs = env.reset(np.random.default_rng(0))
    for _ in range(4):
        step = env.step(np.ones(4, np.int64))
        memory.rows.add(obs, np.ones(4), step.reward, step.terminated, step.truncated, step.next_obs)
        obs = step.obs
    student = small("pqn").newborn(Catch.spec, 0)
    memory.rows.foresee(obs)
    memory.begin(student)
    mixed = Mixture(Memory(prior_data(), Transitions(1, 0.99)), memory, 0.5).sample(16, np.random.default_rng(1))
    targets = mixed.reward + mixed.discount * torch.from_numpy(says(student, mixed.next_obs.numpy()).max(1))
    learnt = student.update(mixed, Weighing(), np.random.default_rng(0))
    fresh = says(small("pqn").newborn(Catch.spec, 0), mixed.obs.numpy())[np.arange(16), mixed.action.numpy()]
    torch.testing.assert_close(learnt.each, F.huber_loss(torch.from_numpy(fresh), targets, reduction="none"))


# ---- augmentation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", ["shift", "shift-intensity"])
def test_the_student_sees_moved_screens_and_the_teachers_logits_stay(augment):
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    batch = random_batch(SCREEN, 4, predictions={"teacher": Prediction(VALUES, logits)})
    student = DQN(hidden=(8,), augment=augment).newborn(SCREEN, 0)
    seen = student.augmented(batch, np.random.default_rng(0))
    assert not torch.equal(seen.obs.float(), batch.obs.float()) and seen.obs.shape == batch.obs.shape
    assert not torch.equal(seen.next_obs.float(), batch.next_obs.float())
    assert all(a is b for a, b in zip(seen[1:4], batch[1:4], strict=True)) and seen.predictions["teacher"].x is logits
    assert seen.obs.dtype == (torch.uint8 if augment == "shift" else torch.float32)

    class Spy(Distil):
        def __call__(self, out, seen_batch):
            assert seen_batch.predictions["teacher"].x is logits
            return Distil.__call__(self, out, seen_batch)

    before = student.state()["online"].clone()
    for k in range(2):
        learnt = student.update(batch, Weighing(terms=[(1.0, Spy(1.0, 1.0))]), np.random.default_rng(k))
        assert torch.isfinite(learnt.each).all() and learnt.means["distil"] > 0
    assert not torch.equal(student.state()["online"], before)


def test_augmentation_is_drawn_anew_for_each_example_and_follows_the_generator():
    one = random_batch(SCREEN, 1)
    batch = one._replace(obs=one.obs.expand(16, -1, -1, -1), next_obs=None)
    student = DQN(hidden=(8,), augment="shift").newborn(SCREEN, 0)
    a, b, c = (student.augmented(batch, np.random.default_rng(seed)).obs for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert len({row.numpy().tobytes() for row in a}) > 10


@pytest.mark.parametrize("spec", [POINT, TaskSpec("Grid", (10, 10, 4), "bool", 3, 1, None, {})])
def test_what_is_no_screen_is_not_augmented(spec):
    with pytest.raises(UserError, match="augment"):
        DQN(augment="shift").newborn(spec, 0)


# ---- optimisers ------------------------------------------------------------------------------------


def test_centred_rmsprop_by_hand():
    # keep 0.95, ε = 0.01. g = 2: m = 0.1, v = 0.2, √(0.2 − 0.01 + 0.01) = √0.2, 1 − 0.1·2/√0.2 = 0.5527864
    # g = 1: m = 0.145, v = 0.24, √(0.24 − 0.021025 + 0.01) = √0.228975, less 0.1/√0.228975 = 0.3438058
    data, own = torch.tensor([1.0]), RMSProp(1, eps=0.01)
    for grad, expected in ((2.0, 0.5527864), (1.0, 0.3438058)):
        own.step(data, torch.tensor([grad]), 0.1)
        assert data.item() == pytest.approx(expected, abs=1e-6)


def test_frozen_parameters_have_no_part_in_the_norm_that_is_clipped():
    frozen = Frozen(Adam(3, 1e-8), torch.tensor([True, False, False]))
    grad = torch.tensor([100.0, 3.0, 4.0])
    clip_norm(grad, 1.0, frozen)
    torch.testing.assert_close(grad, torch.tensor([0.0, 0.6, 0.8]))
    for kind in (DQN, PQN):
        student = kind(hidden=(5,), max_grad_norm=0.01).newborn(POINT, 0)
        student.freeze(["torso"])
        student.update(random_batch(POINT), Weighing(), np.random.default_rng(0))
        assert float(student.online.grad.norm()) == pytest.approx(0.01, rel=1e-3)


def test_gradients_are_clipped_by_their_norm():
    grad = torch.tensor([3.0, 4.0])
    clip_norm(grad, 10.0)
    assert grad.tolist() == [3.0, 4.0]
    clip_norm(grad, 1.0)
    torch.testing.assert_close(grad, torch.tensor([0.6, 0.8]))
    student, batch = DQN(hidden=(5,), max_grad_norm=0.01).newborn(POINT, 0), random_batch(POINT)
    free = DQN(hidden=(5,)).newborn(POINT, 0)
    for s in (student, free):
        s.update(batch, Weighing(), np.random.default_rng(0))
    norm = free.online.grad.norm()
    assert norm > 0.01 and student.online.grad.norm() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(student.online.grad, free.online.grad * 0.01 / norm, rtol=1e-3, atol=1e-8)


def test_adam_with_weight_decay_is_adamw():
    data = torch.randn(7, generator=torch.Generator().manual_seed(0))
    parameter = torch.nn.Parameter(data.clone())
    own, other = Adam(7, 1.5e-4, decay=0.1), torch.optim.AdamW([parameter], lr=0.01, eps=1.5e-4, weight_decay=0.1)
    for k in range(6):
        parameter.grad = torch.randn(7, generator=torch.Generator().manual_seed(k))
        own.step(data, parameter.grad, 0.01)
        other.step()
        torch.testing.assert_close(data, parameter.data)


# ---- settings, agents, the command line ------------------------------------------------------------


@kinds
def test_a_stored_agent_teaches_what_the_student_knew(config, tmp_path):
    student = apart(config)
    batch = random_batch(POINT)
    updated(student, 3)
    student.publish()
    agent = save_agent(tmp_path / "agent", student, {"env_steps": 3}, "# A card")
    teacher, obs = open_teacher(f"store:{tmp_path / 'agent'}", POINT.actions), batch.obs
    logits = predictor_of(teacher)(obs).x
    assert (
        teacher.initial(1).shape == (1, 0)
        and teacher.card.tells == "values"
        and teacher.card.algorithm == type(config).__name__
    )
    np.testing.assert_allclose(logits, says(student, obs.numpy()), rtol=1e-6, atol=1e-7)
    assert open_agent(agent.path).student == config


@kinds
def test_settings_survive_json(config):
    value = json.loads(json.dumps(to_dict(config, STUDENTS)))
    assert value["name"] in STUDENTS
    run = from_dict(Run, {"env": "CartPole-v1", "method": {"name": "scratch"}, "student": value}, NAMES)
    assert run.student == config and type(run.student) is type(config)


@students
def test_settings_a_student_does_not_have_are_refused(name):
    foreign = "rollout" if issubclass(STUDENTS[name], ReplaySettings) else "replay_size"
    for key in ("bogus", foreign):
        with pytest.raises(UserError, match=key):
            from_dict(Run, {"env": "", "student": {"name": name, key: 5}}, NAMES)


def test_settings_without_a_name_are_dqns():
    run = from_dict(Run, {"env": "", "method": {"name": "scratch"}, "student": {"lr": 0.001}}, NAMES)
    assert run.student == DQN(lr=0.001)


@pytest.mark.parametrize(
    "config, flag",
    [
        (Rainbow(atoms=1), "atoms"),
        (Rainbow(low=1.0, high=1.0), "low"),
        (Rainbow(priority=-1.0), "priority"),
        (Rainbow(importance=-0.1), "importance"),
        (Modern(sigma=0.0), "sigma"),
        (Modern(shrink=1.5), "shrink"),
        (QRDQN(quantiles=0), "quantiles"),
        (QRDQN(quantiles=1), "quantiles 1 is too small; at least 2 are needed"),
        (QRDQN(kappa=-1.0), "kappa"),
        (IQN(samples=0), "samples"),
        (IQN(acting=0), "acting"),
        (PQN(rollout=0), "rollout"),
        (PQN(lam=1.5), "lam"),
        (DQN(optimizer="rmsprop", weight_decay=0.1), "weight-decay"),
        (DQN(update_every=0), "update-every"),
        (DQN(replay_size=20), "replay-size"),
        (DQN(lr=-1e-4), "lr"),
        (DQN(gamma=1.1), "gamma"),
        (DQN(epsilon=-0.1), "epsilon"),
        (DQN(epsilon_steps=-1), "epsilon-steps"),
        (DQN(adam_eps=0.0), "adam-eps"),
        (DQN(weight_decay=-0.1), "weight-decay"),
        (DQN(max_grad_norm=-1.0), "max-grad-norm"),
        (DQN(hidden=(64, 0)), "hidden"),
    ],
)
def test_settings_that_cannot_mean_anything_are_refused(config, flag):
    with pytest.raises(UserError, match=f"--student.{flag}"):
        config.check(config.copies)


def test_a_replay_larger_than_memory_is_refused_in_one_line():
    with pytest.raises(UserError, match="more than fits into memory"):
        memory_of(DQN(replay_size=10**15), POINT, 1)


def test_compiling_without_a_compiler_is_refused_before_anything_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SystemExit, match="2"):
        main(["train", "scratch", *TINY, "--compile", "on", "--out", str(tmp_path / "run")])
    assert "needs a C++ compiler" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--student.lr nan", "--student.lr must be a finite number"),
        ("--student.high inf", "--student.high must be a finite number"),
        ("--wean.lr-final nan", "--wean.lr-final must be a finite number"),
        ("--seed -1", "--seed must not be negative"),
        ("--seed 99999999999999999999999", "--seed must be below 2^63"),
        ("--threads -1", "--threads must not be negative"),
    ],
)
def test_numbers_that_are_none_are_refused_before_anything_is_written(tmp_path, capsys, flags, told):
    command = ["train", "kickstart", *TINY, "--student", "rainbow", "--out", str(tmp_path / "run"), *flags.split()]
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--teacher", "store:priors/minatar-breakout-dqn"])
    assert told in capsys.readouterr().err and not list(tmp_path.iterdir())


@students
def test_defaults_are_allowed(name):
    STUDENTS[name]().check(STUDENTS[name].copies)


TINY = ["--env", "CartPole-v1", "--env-steps", "60", "--evaluations", "2", "--student.hidden", "8"]
TINY += ["--eval-episodes", "2", "--final-episodes", "2", "--reference-episodes", "2", "--student.batch-size", "8"]
FLAGS = {
    "rainbow": ["--student.warmup", "20", "--student.low", "0", "--student.high", "50", "--student.noisy"],
    "pqn": ["--student.rollout", "2", "--envs", "4"],
}


@pytest.mark.parametrize("name", FLAGS)
def test_the_command_line_trains_a_student_of_this_name(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["train", "scratch", "--student", name, *TINY, *FLAGS[name], "--out", "run"])
    config = json.loads(Path("run/config.json").read_text())
    assert config["student"]["name"] == name and Path("run/done").exists()
    result = json.loads(Path("run/result.json").read_text())
    assert result["env_steps"] == 60 and result["updates"] > 0
    main(["evaluate", "store:run", "--episodes", "2"])
    assert "store:run" in capsys.readouterr().out


def test_a_pqn_of_the_command_line_with_too_few_copies_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["train", "scratch", "--student", "pqn", "--env", "CartPole-v1", "--envs", "2", "--out", "run"])
    assert "batch-size" in capsys.readouterr().err and not Path("run").exists()


@pytest.mark.parametrize("spec", [POINT, MINATAR], ids=["mlp", "cnn"])
@pytest.mark.parametrize("settings", [DQN(hidden=(8,)), PQN(hidden=(8,)), DQN(hidden=(8,), double=True)])
def test_values_learnt_at_once_with_a_teacher_and_an_anchor_move_as_autograd_would_move_them(spec, settings):
    terms = [(0.5, Distil(0.7, 1.3)), (0.25, Distil(0.7, 0.7, of=BEST))]
    n, found = 8, []
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.rand(n, *shape, generator=generator)
    obs = [draw(*spec.obs_shape) < 0.2 if spec is MINATAR else draw(*spec.obs_shape) for _ in range(2)]
    said = {name: Prediction("logits", draw(3)) for name in ("teacher", BEST)}
    successor = None if settings.on_rollouts else obs[1]
    batch = Batch(obs[0], torch.arange(n) % 3, draw(), draw(), successor, said)
    for quick in (True, False):
        student = settings.newborn(spec, 0)
        if not quick:
            student._forward = lambda net: net.module
        learnt = student.update(batch, Weighing(0.5, terms, 1.0), np.random.default_rng(0))
        found.append((learnt, student.online.grad.clone()))
    (mine, gradient), (plain, expected) = found
    torch.testing.assert_close(gradient, expected)
    assert set(mine.means) == {"td", "distil", "anchor"}
    torch.testing.assert_close([*mine.means.values()], [*plain.means.values()])
    torch.testing.assert_close(mine.each, plain.each)


@dataclass(frozen=True)
class ReadsAll:
    """A term that looks at all that a batch may hold beside its steps."""

    name, of = "all", None

    def __call__(self, out, batch):
        allowed = out.x.masked_fill(~batch.mask, 0.0).sum(-1)
        return allowed * batch.notes["return"] + batch.task


def test_a_program_shows_terms_the_same_batch_as_autograd_does(monkeypatch):
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, inputs, options: graph)  # traced, and not compiled
    student = DQN(hidden=(5,)).newborn(POINT, 0)
    n, rng = 6, np.random.default_rng(0)
    batch = Batch(torch.randn(n, 2), torch.arange(n) % 3, torch.randn(n), torch.ones(n), torch.randn(n, 2))
    mask = torch.tensor([[True, True, False]]).expand(n, -1)
    batch = batch._replace(notes={"return": torch.randn(n)}, mask=mask, task=torch.arange(n))
    terms, weights = [ReadsAll()], torch.tensor([1.0, 0.5])
    plain = student._gradient(batch, student.draw(n, rng), terms, (1.0, 0.5))
    found, window = student.online.grad.clone(), student.online.grad
    program = FunctionalGradient(student.online, student.target, student.critic, False)
    traced = program(batch, student.draw(n, rng), terms, weights)
    assert student.online.grad is window  # others write there too
    torch.testing.assert_close(student.online.grad, found)
    torch.testing.assert_close(traced.means["all"], plain.means["all"])
