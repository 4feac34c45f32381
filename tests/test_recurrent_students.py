"""Students with a memory: what they learn from is what they lived, row by row; files, teachers and killed runs too."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from interrupting import check_it_goes_on
from probes import on_catch
from thinning import slow, thinned

from reincarnate.data.layouts import Sequences
from reincarnate.data.memory import Storage, memory_for
from reincarnate.errors import UserError
from reincarnate.losses.returns import n_step_sums
from reincarnate.losses.terms import Conservative, Distil, LargeMargin
from reincarnate.losses.values import q_learning, rescale, unrescale
from reincarnate.methods import METHODS, Kickstart, QDagger, Scratch
from reincarnate.nets.qnet import recall
from reincarnate.run.assemble import assemble
from reincarnate.run.execute import execute, execute_together
from reincarnate.run.prepare import measure_priors, prepare
from reincarnate.run.settings import Run
from reincarnate.students import DQN, PPO, PQN, R2D2, STUDENTS, stacker
from reincarnate.students.rescaled import Rescaled
from reincarnate.students.sequences import warmed
from reincarnate.training.players import Stage
from reincarnate.training.population import Alone
from reincarnate.types import VALUES, Batch, Prediction, Step, TaskSpec, TimeStep, VectorEnv, Weighing

POINT = TaskSpec("Point", (2,), "float32", 3, 1, None, {})
CORRIDOR = "Memory/TMaze-v0?length=2"
TINY = {"memory": "lstm", "memory_size": 6, "hidden": (5,)}
VALUE = DQN(**TINY, unroll=4, burn_in=2, overlap=2, batch_size=12, n_step=2, warmup=20, replay_size=400)
POLICY = PPO(**TINY, rollout=8, segment=4, batch_size=16, epochs=2, gamma=0.9)
QUICK = {"eval_episodes": 1, "final_episodes": 1, "reference_episodes": 1, "data_env_steps": 60, "evaluations": 2}
LEARNER = {"learner_size": 8, "learner_layers": 1, "learner_heads": 2, "learner_length": 4}


class Points:
    """Random observations; episodes of a few steps that end both ways."""

    spec, n = POINT, 3

    def __init__(self):
        self.rng = np.random.default_rng(5)

    def reset(self, rng):
        return self._obs()

    def _obs(self):
        return self.rng.normal(size=(self.n, 2)).astype(np.float32)

    def step(self, actions):
        true_next, fresh = self._obs(), self._obs()
        over, limit = self.rng.random(self.n) < 0.15, self.rng.random(self.n) < 0.15
        obs = np.where((over | limit)[:, None], fresh, true_next)
        return Step(obs, true_next, self.rng.normal(size=self.n).astype(np.float32), over, limit & ~over)

    def view(self, name): ...
    def close(self): ...


def lived(settings, steps=40):
    """A student, its memory after so many steps, and the carries it acted with, by stream and position."""
    student = settings.newborn(POINT, 0)
    env: VectorEnv = Points()
    memory = memory_for(POINT, settings.layout(), Storage(3 * 400), env.n)
    stage, carries = Stage(env, student, env.reset(np.random.default_rng(0))), {}
    for _ in range(steps):
        positions = memory.rows.added.copy()
        before = stage.carry
        stage.play(0.5, np.random.default_rng(1)).store(memory.rows)
        carries |= {(s, int(p)): before[s] for s, p in enumerate(positions)}
    memory.rows.foresee(stage.obs)
    return student, memory, carries


def run_of(method, student, store, **changes):
    return Run(CORRIDOR, method, student, store=store, **{**QUICK, "env_steps": 150, **changes})


def lines_of(run: Path):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return str(tmp_path_factory.mktemp("store"))


# ---- what is drawn -------------------------------------------------------------------------------------


def test_sequences_begin_at_every_stride_with_the_memory_that_acted_there():
    _, memory, carries = lived(VALUE, 60)
    rng = np.random.default_rng(0)
    stream, position, _, _ = memory.draw(200, rng)
    assert set(position % 2) == {0} and len(np.unique(position)) > 20
    assert (position + 6 < memory.rows.added[stream]).all()  # the last row's successor is there too
    batch = memory.layout.gather(memory.rows, stream, position, [])
    carry = memory.rows.carries.get(stream, position)
    for s, p, found in zip(stream, position, carry, strict=True):
        assert torch.equal(found, carries.get((s, p), torch.zeros_like(found)))  # a tail has none, and needs none
    assert batch.obs.shape == (200, 6, 2) and (batch.weight.sum(1) < 6).any()
    assert len(memory) == sum(-(-(int(a) - 6) // 2) for a in memory.rows.added)


def test_a_ring_that_has_gone_round_keeps_the_memories_of_the_rows_it_still_has():
    settings = replace(VALUE, overlap=1)
    student, env = settings.newborn(POINT, 0), Points()
    memory = memory_for(POINT, settings.layout(), Storage(3 * 24), env.n)
    stage, carries = Stage(env, student, env.reset(np.random.default_rng(0))), {}
    for _ in range(100):
        carries |= {(s, int(p)): stage.carry[s] for s, p in enumerate(memory.rows.added)}
        stage.play(0.5, np.random.default_rng(1)).store(memory.rows)
    stream, position, _, _ = memory.draw(100, np.random.default_rng(0))
    found = memory.rows.carries.get(stream, position)
    pairs = zip(stream, position, strict=True)
    known = torch.stack([carries.get((s, int(p)), torch.zeros(found.shape[1])) for s, p in pairs])
    assert (position % 3 == 0).all() and torch.equal(found, known)


def test_prioritised_sequences_are_drawn_where_sequences_begin_and_a_checkpoint_holds_their_memories():
    settings = replace(VALUE, priority=0.9)
    _, memory, _ = lived(settings)
    memory = memory_for(POINT, settings.layout(), Storage(1200, 0.9, 0.6), 3)
    student, env = settings.newborn(POINT, 0), Points()
    stage = Stage(env, student, env.reset(np.random.default_rng(0)))
    for _ in range(40):
        stage.play(0.5, np.random.default_rng(1)).store(memory.rows)
    batch = memory.sample(16, np.random.default_rng(0))
    learnt = student.update(batch, Weighing(), np.random.default_rng(0))
    memory.learnt(batch, learnt.each)
    assert learnt.each.shape == (16,) and (batch.rows % memory.rows.rows % 2 == 0).all()
    kept = memory.tensors()
    memory.rows.carries.values[:] = 0  # as training goes on while a checkpoint is written
    memory.restore_tensors(kept)
    assert memory.rows.carries.values.any()


# ---- what a value student learns -------------------------------------------------------------------------


def test_sums_of_n_steps_stop_at_ends_and_at_the_row_s_end():
    reward = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]])
    discount = torch.tensor([[0.5, 0.5, 0.0, 0.5, 0.5]])
    ends = torch.tensor([[False, True, True, False, False]])  # a limit, then a termination
    total, factor, row = n_step_sums(reward, discount, ends, 3)
    assert total.tolist() == [[1 + 0.5 * 2, 2.0, 4.0, 8 + 0.5 * 16, 16.0]]
    assert factor.tolist() == [[0.25, 0.5, 0.0, 0.25, 0.5]] and row.tolist() == [[1, 1, 2, 4, 4]]


@given(st.floats(-1e4, 1e4))
def test_the_squeezed_scale_has_an_inverse(x):
    there = rescale(torch.tensor(x, dtype=torch.float64), 1e-3)
    assert abs(float(unrescale(there, 1e-3)) - x) <= 1e-6 * max(1, abs(x))
    assert abs(float(there)) <= abs(x) + 1e-9


@pytest.mark.parametrize("eps, scale", [(0.0, 1), (0.01, 3)])
def test_the_loss_is_that_of_rows_read_one_by_one(eps, scale):
    squeezed = {"rescale_eps": eps, "reward_scale": scale}
    settings = R2D2(**{**TINY, "memory": "gru"}, unroll=4, burn_in=2, overlap=2, batch_size=12, n_step=2, **squeezed)
    settings = settings if eps else replace(VALUE, double=True)
    student, memory, _ = lived(settings)
    memory = replace_sampler(memory)
    with torch.no_grad():
        student.target.data.add_(
            0.05 * torch.randn(student.target.data.shape, generator=torch.Generator().manual_seed(1))
        )
    batch = memory.sample(16, np.random.default_rng(0))
    expected, count = 0.0, 0
    h, back = (lambda x: rescale(x, eps), lambda x: unrescale(x, eps)) if eps else (lambda x: x, lambda x: x)
    for b in range(16):
        online, behind = (outputs(net.module, batch, b) for net in (student.online, student.target))
        for t in range(2, 6):
            if not batch.weight[b, t]:
                continue
            total, factor, at = 0.0, 1.0, t
            for _ in range(2):
                total, factor = total + factor * batch.reward[b, at], factor * batch.discount[b, at]
                at += 1
                if batch.ended[b, at - 1] or at == 6:
                    break
            target = h(scale * total + factor * back(behind[at, online[at].argmax()]))
            expected += q_learning(online[t][None], batch.action[b, t][None], target[None])[0]
            count += 1
    means = student.update(batch, Weighing(), np.random.default_rng(0)).means
    assert float(means["td"]) == pytest.approx(float(expected) / count, rel=1e-5)


def test_others_are_told_returns_whatever_their_scale_inside():
    told = Rescaled(1e-3, 50.0).values(rescale(torch.tensor([[0.5 * 50, -0.02 * 50]]), 1e-3))
    assert told.tolist() == [[pytest.approx(0.5, rel=1e-4), pytest.approx(-0.02, rel=1e-4)]]


def replace_sampler(memory):
    from reincarnate.data.memory import Memory

    return Memory(memory.rows, memory.layout)


@torch.no_grad()
def outputs(net, batch, b):
    """The network's outputs of a sequence and its successor, read one row at a time from the stored memory."""
    carry, found = batch.carry[b : b + 1], []
    obs, begins = torch.cat([batch.obs[b], batch.next_obs[b : b + 1]]), [*batch.begins[b].tolist(), False]
    for row, begin in zip(obs, begins, strict=True):
        features, carry = recall(net, row[None], torch.tensor([begin]), carry)
        found.append(net.read(features)[0])
    return torch.stack(found)


def test_a_sequence_s_priority_is_mostly_its_largest_error():
    student, memory, _ = lived(VALUE)
    batch = memory.sample(4, np.random.default_rng(0))
    rows = warmed(batch, 2)
    loss = torch.zeros(4, 4)
    loss[:, 1], loss[:, 2] = 0.02, 1.5  # Huber's of |δ| = 0.2 and 2
    rows = rows._replace(weight=torch.ones(4, 4))
    expected = 0.9 * 2 + 0.1 * (0.2 + 2) / 4
    assert student._errors(loss.flatten(), rows).tolist() == pytest.approx([expected] * 4)


@pytest.mark.parametrize(
    "name", [n for n, kind in STUDENTS.items() if {"unroll", "noisy"} <= kind.__dataclass_fields__.keys()]
)
@pytest.mark.parametrize("memory", ["gru", "gtrxl"])
def test_every_value_student_learns_with_every_memory(name, memory):
    more = {"reset_every": 1} if name == "modern" else {}
    settings = STUDENTS[name](
        **{**TINY, "memory": memory, "memory_size": 8},
        unroll=4,
        burn_in=2,
        overlap=2,
        batch_size=12,
        noisy=True,
        **more,
    )
    student, memory_, _ = lived(settings)
    before = student.online.data.clone()
    learnt = student.update(memory_.sample(3, np.random.default_rng(0)), Weighing(), np.random.default_rng(0))
    assert torch.isfinite(learnt.each).all() and not torch.equal(before, student.online.data)
    assert stacker(settings) is None and student.cost(1).online > student.cost(1).act > 0


# ---- what an on-policy student learns -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "shared, memory, critic", [("on", "lstm", "same"), ("off", "gtrxl", "same"), ("off", "lstm", "gru")]
)
def test_a_rollout_is_read_as_it_was_played(shared, memory, critic):
    settings = replace(POLICY, shared=shared, memory=memory, memory_size=8, memory_length=3, critic_memory=critic)
    student, env = settings.newborn(POINT, 0), Points()
    memory = memory_for(POINT, settings.layout(), Storage(600), env.n)
    stage = Stage(env, student, env.reset(np.random.default_rng(0)))
    for _ in range(2):  # the second goes on where the first ended
        said, carries = [], []
        for _ in range(8):
            now, carry = stage.now(), stage.carry
            carries.append(carry)
            said.append(student.predict(now, carry)[0].x.log_softmax(-1))
            played = stage.play(0.0, np.random.default_rng(3))
            played.store(memory.rows)
            said[-1] = said[-1].gather(1, torch.from_numpy(played.action)[:, None])[:, 0]
        memory.rows.foresee(stage.obs)
        memory.begin(student)
        prepared = memory.prepared
        assert prepared.reward.shape == (6, 4) and prepared.carry.shape[1] == student._net.initial(1).shape[1]
        width = stage.carry.shape[1]
        assert torch.allclose(prepared.carry[:3, :width], carries[0] * ~stage_begins(prepared, 0), atol=1e-6)
        log_prob = prepared.notes["log_prob"].unflatten(0, (2, 3)).transpose(0, 1).flatten(1)
        assert torch.allclose(log_prob, torch.stack(said, 1), atol=1e-5)
    each = student.losses(prepared, Weighing())
    assert float(each["kl"].detach().abs().max()) < 1e-5  # nothing has been learnt yet: the ratio is 1


def stage_begins(prepared, at):
    """Where an episode begins in the first rows the carry is forgotten either way."""
    return torch.zeros(3, 1, dtype=torch.bool)


def test_a_time_limit_bootstraps_from_its_true_successor_and_its_memory():
    student, memory, _ = lived(POLICY, 8)
    rollout = memory.layout.gather(memory.rows, [])
    limit = rollout.ended & (rollout.discount > 0)
    assert limit[:, :-1].any()
    net, begins, carry = student._net, rollout.begins, student._net.initial(3)
    with torch.no_grad():
        _, value, after, _, _ = student._read(net, rollout, carry)
        for t in range(8):
            _, now, carry = net.recall(rollout.obs[:, t], begins[:, t], carry)
            true = net.recall(rollout.next_obs[:, t], torch.zeros(3, dtype=torch.bool), carry)[1]
            assert torch.allclose(value[:, t], now, atol=1e-6)
            counts = rollout.discount[:, t] > 0
            assert torch.allclose(after[counts, t], true[counts], atol=1e-6)


def test_rows_that_fill_a_short_rollout_up_change_nothing():
    student, memory, _ = lived(POLICY, 6)
    memory.begin(student)
    whole = memory.prepared
    assert whole.weight.sum() == 18 and whole.reward.shape == (6, 4)
    each = student.losses(whole, Weighing())
    assert all(len(loss) == 18 for loss in each.values())
    poisoned = whole._replace(obs=torch.where(whole.weight[..., None] > 0, whole.obs, 1e3))
    again = student.losses(poisoned, Weighing())
    assert all(torch.allclose(each[name], again[name], atol=1e-6) for name in each)


def test_a_rollout_of_the_warm_up_is_read_so_that_the_next_begins_with_the_memory_it_was_acted_with():
    student = PQN(**TINY, rollout=8, segment=4, batch_size=16).newborn(POINT, 0)
    env: VectorEnv = Points()
    memory = memory_for(POINT, student.settings.layout(), Storage(3 * 400), env.n)
    stage = Stage(env, student, env.reset(np.random.default_rng(0)))
    memory.pass_over(student)  # nothing was played yet
    for _ in range(2):
        for _ in range(8):
            stage.play(0.5, np.random.default_rng(1)).store(memory.rows)
        memory.rows.foresee(stage.obs)
        memory.pass_over(student)
        assert torch.allclose(student._carry, stage.carry, atol=1e-6) and not memory.ready


def test_what_is_allowed_in_rows_that_fill_a_segment_up_is_nothing_to_learn_from():
    settings = PQN(**TINY, rollout=16, segment=16, batch_size=16)
    g, terms = torch.Generator().manual_seed(0), [Distil(1.0, 1.0), LargeMargin(1.0, True), Conservative(1.0)]
    shape = 3, 10  # a rollout that a barrier cut
    allowed = torch.ones(*shape, 3, dtype=torch.bool)
    rollout = Batch(
        obs=torch.randn(*shape, 2, generator=g),
        action=torch.randint(0, 3, shape, generator=g),
        reward=torch.ones(shape),
        discount=torch.full(shape, 0.9),
        next_obs=torch.randn(*shape, 2, generator=g),
        predictions={"teacher": Prediction(VALUES, torch.randn(*shape, 3, generator=g))},
        begins=torch.zeros(shape, dtype=torch.bool),
        ended=torch.zeros(shape, dtype=torch.bool),
        mask=allowed,
        next_mask=allowed,
    )
    found = []
    for given_ in (rollout, rollout._replace(mask=None, next_mask=None)):
        student = settings.newborn(POINT, 0)
        weighing = Weighing(terms=[(1.0, term) for term in terms])
        learnt = student.update(student.prepare(given_), weighing, np.random.default_rng(0))
        found.append({name: float(mean) for name, mean in learnt.means.items()})
    assert found[0] == pytest.approx(found[1]) and np.isfinite(list(found[0].values())).all()


# ---- runs -----------------------------------------------------------------------------------------------------


RUNS = {
    "dqn": (QDagger(offline_updates=8), replace(VALUE, memory="gru")),
    "r2d2": (Scratch(), R2D2(**TINY, unroll=4, burn_in=2, overlap=2, batch_size=12, warmup=20, update_every=6)),
    "ppo": (Kickstart(), replace(POLICY, memory="gtrxl", memory_size=8, memory_length=4, norm_obs=True)),
    "ald": (METHODS["ald"](**LEARNER, distil_steps=2, replayed=2), POLICY),
}
RULE = """
import torch
def east(obs):
    return torch.stack([-obs[:, 1], obs[:, 0], 0 * obs[:, 0], obs[:, 1]], 1) * 4
class Recalls:
    tells = "logits"
    def initial_state(self, n):
        return torch.zeros(n, 1)
    def __call__(self, obs, state):
        return east(obs) + state, state + 1
"""


@pytest.fixture(scope="module")
def rule(tmp_path_factory):
    file = tmp_path_factory.mktemp("rule") / "rule.py"
    file.write_text(RULE)
    return f"py:{file}:east"


@pytest.mark.parametrize("name", thinned(RUNS, lambda name: name == "ald"))
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(name, rule, store, tmp_path):
    method, student = RUNS[name]
    run = run_of(method, student, store, teacher=rule if "teacher" in method.needs else None, env_steps=220)
    result = execute(run, tmp_path / "whole")
    assert result["updates"] > 0 and set(result.get("acting", {})) == (
        {"student", "learner"} if name == "ald" else set()
    )
    check_it_goes_on(run, tmp_path / "whole", 2)


@pytest.mark.parametrize("student", [slow(VALUE), POLICY], ids=["dqn", "ppo"])
def test_seeds_together_equal_seeds_apart(student, store, tmp_path):
    runs = [run_of(Scratch(), student, store, seed=seed) for seed in range(2)]
    execute_together(runs, [tmp_path / f"t{seed}" for seed in range(2)])
    execute(runs[1], tmp_path / "a1")
    assert lines_of(tmp_path / "a1") == lines_of(tmp_path / "t1")


@pytest.mark.slow
def test_a_transformer_teaches_an_lstm(store, tmp_path):
    elder = replace(POLICY, memory="gtrxl", memory_size=8, memory_length=4)
    execute(run_of(Scratch(), elder, store), tmp_path / "gtrxl")
    run = run_of(Kickstart(), POLICY, store, teacher=f"store:{tmp_path / 'gtrxl'}")
    assert execute(run, tmp_path / "lstm")["updates"] > 0
    taught = [line["loss_distil"] for line in lines_of(tmp_path / "lstm") if "loss_distil" in line]
    assert taught and np.isfinite(taught).all()


@pytest.mark.slow
def test_an_agent_that_remembers_teaches_those_who_do_and_those_who_do_not(store, tmp_path):
    execute(run_of(Scratch(), POLICY, store), tmp_path / "lstm")
    teacher = f"store:{tmp_path / 'lstm'}"
    pupils = [DQN(hidden=(5,), warmup=20), replace(VALUE, memory="gtrxl", memory_size=8), PPO(hidden=(5,), rollout=8)]
    for i, pupil in enumerate([*pupils, replace(POLICY, memory="gru")]):
        method = QDagger(offline_updates=5) if i < 2 else Kickstart()
        result = execute(run_of(method, pupil, store, teacher=teacher), tmp_path / f"pupil{i}")
        assert result["updates"] > 0
        taught = [line["loss_distil"] for line in lines_of(tmp_path / f"pupil{i}") if "loss_distil" in line]
        assert taught and np.isfinite(taught).all()
    with pytest.raises(UserError, match=r"has a memory|with a memory"):
        execute(run_of(QDagger(), pupils[1], store, teacher=teacher, data=teacher), tmp_path / "none")


@pytest.mark.slow
@pytest.mark.parametrize("pupil", [DQN(hidden=(5,), warmup=20), VALUE, POLICY], ids=["dqn", "dqn, lstm", "ppo, lstm"])
def test_a_teacher_of_one_s_own_that_remembers_teaches_both(pupil, rule, store, tmp_path):
    run = run_of(Kickstart(), pupil, store, teacher=rule.replace("east", "Recalls"))
    assert execute(run, tmp_path / "run")["updates"] > 0
    taught = [line["loss_distil"] for line in lines_of(tmp_path / "run") if "loss_distil" in line]
    assert taught and np.isfinite(taught).all()


def test_a_feed_forward_teacher_s_word_of_a_sequence_is_its_word_of_each_row(rule, store, tmp_path):
    run = run_of(Kickstart(), VALUE, store, teacher=rule)
    assert execute(run, tmp_path / "run")["updates"] > 0


# ---- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "student, told",
    [
        (replace(VALUE, overlap=4), "must be below --student.unroll"),
        (replace(VALUE, batch_size=3), "holds no sequence"),
        (replace(VALUE, burn_in=-1), "--student.burn-in -1 is too small"),
        (replace(VALUE, replay_size=20), "--student.replay-size 20 is too small"),
        (replace(VALUE, augment="shift"), "--student.augment"),
        (PQN(memory="gru", augment="shift"), "--student.augment"),
        (replace(VALUE, memory="gtrxl", memory_length=0), "memory_length is 0"),
        (replace(VALUE, memory="gtrxl", memory_heads=4), "cannot have 4 heads"),
        (R2D2(memory="none"), "without one: dqn"),
        (R2D2(rescale_eps=0.0), "--student.rescale-eps must be a number above 0"),
        (R2D2(reward_scale=-1.0), "--student.reward-scale must be a number above 0, not -1"),
        (replace(POLICY, segment=3), "does not divide --student.rollout 8"),
        (replace(POLICY, batch_size=18), "holds no whole number of segments"),
        (replace(POLICY, critic_memory="gru"), "needs --student.shared off"),
        (PPO(critic_memory="gru"), "is for an actor with a --student.memory"),
        (replace(VALUE, unroll=0, overlap=0), "--student.unroll 0 is too small"),  # nothing after the burn-in
    ],
)
def test_memories_that_cannot_be_are_refused_in_a_line(student, told, store):
    with pytest.raises(UserError, match=told) as refused:
        prepare(run_of(Scratch(), student, store))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "method, student, told",
    [
        ({}, DQN(), "an on-policy student with a memory"),
        ({}, PPO(), "an on-policy student with a memory"),
        ({"learner_memory": "none"}, POLICY, "--learner-memory none"),
        ({"learner_length": 0}, POLICY, "--learner-memory gtrxl: memory_length is 0"),
        ({"learner_size": 30}, POLICY, "--learner-memory gtrxl: a gtrxl of size 30 cannot have 4 heads"),
        ({"learner_lr": -1.0}, POLICY, "--learner-lr must not be negative"),
        ({"replayed": 0}, POLICY, "--replayed must be at least 1"),
        ({"regular": -1.0}, POLICY, "must not be negative"),
    ],
)
def test_a_learner_that_cannot_be_is_refused_in_a_line(method, student, told, store):
    with pytest.raises(UserError, match=told) as refused:
        prepare(run_of(METHODS["ald"](**method), student, store))
    assert "\n" not in str(refused.value)


def test_data_that_holds_no_sequence_is_refused_before_anything_is_written(rule, store, tmp_path):
    long = replace(VALUE, unroll=40, burn_in=40, overlap=0, batch_size=40)
    run = run_of(QDagger(offline_updates=8), long, store, teacher=rule, data_env_steps=60)
    with pytest.raises(UserError, match=r"the data holds 60 steps, and no lesson of 80 rows"):
        execute(run, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_frozen_scale_of_observations_stays_and_a_critic_s_own_memory_learns_while_the_actor_stands_still():
    settings = replace(POLICY, norm_obs=True, freeze_norm=True, shared="off", critic_memory="gru", critic_updates=9)
    student, memory, _ = lived(settings, 8)
    before = {name: value.clone() for name, value in student.network.state_dict().items()}
    memory.begin(student)
    student.update(memory.sample(16, np.random.default_rng(0)), Weighing(), np.random.default_rng(0))
    moved = {
        name.split(".")[0] for name, value in student.network.state_dict().items() if (value != before[name]).any()
    }
    assert moved == {"critic_torso", "critic_memory", "value"}


def test_a_carry_of_another_network_is_refused_in_a_line():
    student = VALUE.newborn(POINT, 0)
    step = TimeStep(torch.zeros(1, 2), torch.zeros(1, dtype=torch.bool))
    with pytest.raises(UserError, match="a carry of width 5 met LSTM"):
        student.predict(step, torch.zeros(1, 5))


def test_sequences_do_not_cross_what_has_not_been_played():
    assert Sequences(6, 2, stride=2).ahead == 6
    _, memory, _ = lived(VALUE, 3)
    assert len(memory) == 0
    with pytest.raises(ValueError, match="nothing to sample"):
        memory.sample(1, np.random.default_rng(0))


@pytest.mark.parametrize("memory", ["lstm", "gru", "gtrxl"])
@pytest.mark.parametrize("kind", ["onnx", "torchscript", "safetensors"])
def test_an_agent_that_remembers_is_a_graph_with_its_memory_in_and_out(memory, kind, tmp_path):
    from reincarnate.agents.agent import open_agent, save_agent
    from reincarnate.sharing.export import export

    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    changes = {"memory": memory, "memory_size": 8, "memory_length": 3}
    settings = replace(POLICY if memory == "gru" else VALUE, **changes)
    save_agent(tmp_path / "agent", settings.newborn(POINT, 0), {"method": "scratch", "env": POINT.id, "prior": {}}, "")
    exported = export(open_agent(tmp_path / "agent"), kind, tmp_path / "out")
    assert exported.difference is not None and exported.difference < 1e-5


@pytest.mark.slow
def test_r2d2_remembers_the_sign_to_the_end_of_a_corridor(store, tmp_path):
    small = R2D2(memory_size=32, hidden=(32,), unroll=16, burn_in=0, overlap=8, batch_size=512, warmup=1000, gamma=0.98)
    student = replace(small, lr=1e-3, adam_eps=1e-5, target_every=50, epsilon_steps=8000, epsilon=0.05, update_every=16)
    told = {"eval_epsilon": 0.0, "evaluations": 1, "eval_episodes": 2, "final_episodes": 20, "seed": 100, "envs": 8}
    run = Run("Memory/TMaze-v0?length=3", Scratch(), student, env_steps=12_288, **told)
    assert execute(run, tmp_path / "run")["score"] == 4.0  # without a memory 1.95 at best


class Restless(Points):
    """Copies that go on where they are told to rest, as environments do that step all at once."""

    def step(self, actions):
        shown = np.full((self.n, 2), 9.0, np.float32)
        return Step(shown, shown, np.ones(self.n, np.float32), np.ones(self.n, bool), np.zeros(self.n, bool))


def test_a_copy_that_is_left_alone_has_neither_moved_nor_earned_nor_ended():
    student, env = POLICY.newborn(POINT, 0), Restless()
    began = env.reset(np.random.default_rng(0))
    stage, memory = Stage(env, student, began), memory_for(POINT, POLICY.layout(), POLICY.storage(POINT, 3), 3)
    rests = np.array([False, True, False])
    played = stage.play(0.0, np.random.default_rng(1), rests)
    assert played.which.tolist() == [0, 2] and stage.totals.tolist() == [1.0, 0.0, 1.0]
    assert stage.begins.tolist() == [True, False, True] and [i for i, _ in stage.ended()] == [0, 2]
    training = on_catch(DQN(hidden=(4,)), Scratch().phases(40), 0)
    training.memories["student"] = memory
    Alone(training).add([training], [played], stage.obs)
    shown = memory.rows.columns["frame"].reshape(3, -1, 2)
    np.testing.assert_array_equal(shown[1, 0], began[1])  # what comes after its newest row is what it shows


def with_a_teacher(method, student, tmp_path) -> Run:
    (tmp_path / "rule.py").write_text(
        "import torch\ndef lean(obs):\n    return torch.zeros(len(obs), 2)\nlean.tells = 'values'\n"
    )
    quick = {**QUICK, "data_env_steps": 600, "store": str(tmp_path / "store"), "log": ""}
    return Run("CartPole-v1", method, student, f"py:{tmp_path / 'rule.py'}:lean", env_steps=3_000, **quick)


@pytest.mark.parametrize("settings", [PQN(**TINY), PPO(**TINY)])
def test_a_batch_of_prior_data_holds_the_steps_that_were_asked_for(settings, tmp_path):
    run = with_a_teacher(METHODS["qdagger"](offline_updates=1), settings, tmp_path)
    prepared = measure_priors(prepare(run), lambda *_: None, lambda _: None)
    (training,), loop, _ = assemble([prepared], lambda _: None)
    loop.close()
    assert training.prior is not None
    batch = training.prior.sample(settings.pace(settings.copies).batch, np.random.default_rng(0))
    assert batch.reward.numel() == settings.batch_size and batch.reward.shape[1] == settings.segment


def test_prior_data_is_not_mixed_into_the_rollouts_of_a_student_with_a_memory(tmp_path):
    with pytest.raises(UserError, match="no prior data can be mixed into those"):
        prepare(with_a_teacher(METHODS["rehearsal"](), PQN(**TINY), tmp_path))
