"""Decorrelation: two forms of one penalty, in every student, and what is told of features."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import Catch, on_catch, run

from reincarnate.errors import UserError
from reincarnate.losses.decorrelation import decorrelation, decorrelation_flops, feature_statistics
from reincarnate.losses.terms import Decorrelation
from reincarnate.methods import Kickstart, Scratch
from reincarnate.nets.qnet import recall
from reincarnate.run.plan import describe
from reincarnate.students import A2C, DQN, IQN, PPO, PQN, QRDQN, R2D2, SAC, Modern, PrimalDual
from reincarnate.students.gradient import can_compile
from reincarnate.students.sequences import warmed
from reincarnate.students.stacked import StackedStudent
from reincarnate.training.diagnostics import diagnose
from reincarnate.training.evaluate import Evaluation
from reincarnate.types import Batch, Objective, Prediction, TaskSpec, Weighing

PENDULUM = TaskSpec("P", (3,), "float32", 2, 1, None, {}, bounds=((-2.0, -2.0), (2.0, 2.0)))
BYS = ("covariance", "correlation", "sums")


def features(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, width))).relu()


@pytest.mark.parametrize("by", BYS)
@settings(max_examples=20)
@given(rows=st.integers(2, 12), width=st.integers(2, 12), seed=st.integers(0, 99))
def test_the_gramian_form_is_the_covariance_form_in_value_and_gradient(by, rows, width, seed):
    told = []
    for form in ("covariance", "gramian", "auto"):
        x = features(rows, width, seed).requires_grad_()
        each = decorrelation(x, by, form)
        told.append((each.detach(), *torch.autograd.grad(each.mean(), x)))
    for one in told[1:]:
        for a, b in zip(told[0], one, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_penalty_is_what_the_papers_write():
    x = features(6, 4)
    c = (x - x.mean(0)).T @ (x - x.mean(0))
    off = c - torch.diag(c.diagonal())
    assert decorrelation(x, "sums").mean().item() == pytest.approx(off.square().sum().item())
    assert decorrelation(x).mean().item() == pytest.approx((off / 5).square().sum().item() / 12)
    r = torch.from_numpy(np.corrcoef(x.numpy().T))
    expected = (r - torch.eye(4)).square().sum().item() / 12
    assert decorrelation(x, "correlation").mean().item() == pytest.approx(expected, rel=1e-6)


def test_by_hand_two_features_that_are_one():
    x = torch.tensor([[0.0, 0.0], [2.0, 2.0]], dtype=torch.float64)  # centred ±1: C is all 2, covariance 2
    assert decorrelation(x, "sums").mean().item() == pytest.approx(8)
    assert decorrelation(x).mean().item() == pytest.approx(4)
    assert decorrelation(x, "correlation").mean().item() == pytest.approx(1)


def test_shrinking_features_lowers_the_covariance_and_not_the_correlation():
    x = features(32, 8)
    assert decorrelation(x / 10).mean().item() == pytest.approx(decorrelation(x).mean().item() / 1e4)
    one, other = (decorrelation(y, "correlation").mean().item() for y in (x, x / 10))
    assert other == pytest.approx(one, rel=1e-5)


def test_features_that_never_vary_have_a_gradient_of_zero():
    x = torch.zeros(4, 3, requires_grad=True)
    for by in BYS:
        (slope,) = torch.autograd.grad(decorrelation(x, by).sum(), x)
        assert torch.equal(slope, torch.zeros(4, 3))


@pytest.mark.parametrize(
    "rows, width, other", [(4, 9, "_by_covariance"), (6, 4, "_by_covariance"), (9, 4, "_by_gramian")]
)
def test_the_cheaper_form_is_chosen_by_shape(rows, width, other, monkeypatch):
    monkeypatch.setattr(f"reincarnate.losses.decorrelation.{other}", pytest.fail)
    assert decorrelation(features(rows, width)).shape == (rows,)


def test_the_penalty_is_paid_for_in_operations():
    assert decorrelation_flops(32, 512) < decorrelation_flops(512, 512)
    assert decorrelation_flops(32, 512) == 3 * 2 * 32 * 32 * 512
    for config, spec in ((DQN(hidden=(8,)), Catch.spec), (PPO(hidden=(8,)), Catch.spec), (SAC(hidden=(8,)), PENDULUM)):
        plain, more = (replace(config, decorrelate=w).newborn(spec, 0).cost(1).online for w in (0.0, 1.0))
        assert more > plain


def test_the_statistics_of_features_by_hand():
    x = torch.tensor([[1.0, 1.0, 0.0], [-1.0, -1.0, 0.0]])
    told = feature_statistics(x)
    assert told["correlation"] == pytest.approx(1) and told["rank"] == pytest.approx(1)
    assert told["norm"] == pytest.approx(2**0.5) and told["dead"] == pytest.approx(1 / 3)
    apart = feature_statistics(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    assert apart["correlation"] == pytest.approx(0) and apart["rank"] == pytest.approx(2)


# ---- in students ---------------------------------------------------------------------------------------


def batch_for(n: int, spec=Catch.spec, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)

    def reals(*shape):
        return torch.from_numpy(rng.standard_normal(shape, np.float32))

    action = reals(n, spec.actions).clamp(-1, 1) if spec.continuous else torch.from_numpy(rng.integers(0, 3, n))
    return Batch(reals(n, *spec.obs_shape), action, reals(n), torch.full((n,), 0.9), reals(n, *spec.obs_shape))


VALUE = [DQN(hidden=(16, 8)), DQN(hidden=(8,), dueling=True), QRDQN(hidden=(8,)), IQN(hidden=(8, 8)), PQN(hidden=(8,))]


@pytest.mark.parametrize("config", VALUE, ids=lambda c: type(c).__name__)
def test_a_value_students_gradient_has_the_penalty_in_it(config):
    batch, rng = batch_for(12), np.random.default_rng
    found = {}
    for weight in (0.0, 0.5):
        student = replace(config, decorrelate=weight, max_grad_norm=0.0).newborn(Catch.spec, 0)
        learnt = student.update(batch, Weighing(), rng(1))
        found[weight] = student.online.grad.clone()
        assert ("decorrelation" in learnt.means) == bool(weight)
    student = replace(config, decorrelate=0.5).newborn(Catch.spec, 0)
    draws = student.draw(12, rng(1))
    out = student.online.module(batch.obs, *draws.online, both=True)[1]
    parameters = list(student.online.module.parameters())
    parts = torch.autograd.grad(0.5 * decorrelation(out).mean(), parameters, allow_unused=True)
    names = [name for name, _ in student.online.module.named_parameters()]
    given_ = {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, parts, strict=True)}
    torch.testing.assert_close(found[0.5] - found[0.0], student.online.join(given_), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("config", [PPO(hidden=(8,)), A2C(hidden=(8,), shared="on")], ids=["two torsos", "one"])
@pytest.mark.parametrize("by", BYS)
def test_an_on_policy_student_decorrelates(config, by):
    notes = {name: torch.zeros(16) for name in ("advantage", "value", "log_prob")}
    batch = batch_for(16)._replace(next_obs=None, notes=notes)
    student = replace(config, decorrelate=1.0, decorrelate_by=by).newborn(Catch.spec, 0)
    learnt = student.update(batch, Weighing(), np.random.default_rng(0))
    expected = sum(decorrelation(layer, by).mean() for layer in student.features(batch).values())
    assert learnt.means["decorrelation"].item() == pytest.approx(float(expected), rel=1e-4)


def test_an_off_policy_actor_critic_decorrelates_critics_and_actor():
    student = SAC(hidden=(8,), decorrelate=1.0, batch_size=16).newborn(PENDULUM, 0)
    batch = batch_for(16, PENDULUM)
    expected = {name: decorrelation(layer).sum(0).mean() for name, layer in student.features(batch).items()}
    before = decorrelation(student.features(batch)["actor"]).mean().item()
    learnt = student.update(batch, Weighing(), np.random.default_rng(0))
    assert learnt.means["decorrelation"].item() == pytest.approx(expected["critic"].item(), rel=1e-4)
    assert learnt.means["actor_decorrelation"].item() == pytest.approx(before, rel=1e-4)


def at_once(index: int) -> Evaluation:
    return Evaluation((0.0, 1.0), 2)


SMALL = {"hidden": (16,), "warmup": 8, "batch_size": 8, "update_every": 2, "replay_size": 3000, "target_every": 20}


@pytest.mark.parametrize("config", [DQN(**SMALL), A2C(hidden=(8,)), PQN(hidden=(8,), rollout=8, batch_size=8)])
def test_without_weight_nothing_changes_to_the_bit(config):
    ends = []
    for by in ("covariance", "correlation"):
        one = replace(config, decorrelate=0.0, decorrelate_by=by)
        training = on_catch(one, [replace(Scratch().phases(80)[0], evaluations=1)], copies=2, evaluate=at_once)
        run(training)
        ends.append(training.student.state()["online"])
    assert torch.equal(*ends)


def test_the_penalty_lowers_the_correlation_of_features():
    told = []
    for weight in (0.0, 3.0):
        student = DQN(hidden=(16,), lr=3e-3, decorrelate=weight, decorrelate_by="correlation").newborn(Catch.spec, 0)
        for seed in range(60):
            student.update(batch_for(32, seed=seed), Weighing(), np.random.default_rng(0))
        student.publish()
        told.append(feature_statistics(student.features(batch_for(128, seed=99))[""])["correlation"])
    assert told[1] < 0.8 * told[0]


def test_a_runs_metrics_tell_of_features():
    training, lines = on_catch(DQN(**SMALL), Scratch().phases(80), copies=2, evaluate=at_once), []
    run(training, lines.append)
    last = [line for line in lines if line["kind"] == "train"][-1]
    assert {"feature_correlation", "feature_rank", "feature_norm", "feature_dead"} <= last.keys()


@pytest.mark.parametrize("config", [DQN(**SMALL), IQN(**SMALL | {"hidden": (16, 8)}), Modern(**SMALL, dueling=True)])
def test_students_that_are_stacked_decorrelate_each_for_itself(config):
    config = replace(config, decorrelate=2.0)
    alone = [config.newborn(Catch.spec, seed) for seed in (0, 1)]
    stack = StackedStudent([config.newborn(Catch.spec, seed) for seed in (0, 1)])
    parts = [batch_for(8, seed=seed) for seed in (3, 4)]
    both = Batch(*(torch.cat([getattr(part, name) for part in parts]) for name in Batch._fields[:5]))
    learnt = stack.update(both, [Weighing(), Weighing()], [np.random.default_rng(s) for s in (5, 6)])
    for i, (student, part) in enumerate(zip(alone, parts, strict=True)):
        own = student.update(part, Weighing(), np.random.default_rng((5, 6)[i]))
        torch.testing.assert_close(learnt.means["decorrelation"][i], own.means["decorrelation"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(stack.online.grad[i], student.online.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch itself, as it is imported
@pytest.mark.skipif(not can_compile(), reason="needs a C++ compiler")
def test_a_compiled_gradient_has_the_penalty_too():
    ends = []
    for compiled in (False, True):
        student = DQN(hidden=(8,), decorrelate=1.0).newborn(Catch.spec, 0)
        if compiled:
            student.compile()
        student.update(batch_for(8), Weighing(), np.random.default_rng(0))
        ends.append(student.online.grad.clone())
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-6)


def test_every_kind_of_student_tells_of_its_features():
    for config, spec in ((DQN(hidden=(8,)), Catch.spec), (PPO(hidden=(8,)), Catch.spec), (SAC(hidden=(8,)), PENDULUM)):
        student, batch = config.newborn(spec, 0), batch_for(16, spec)
        found = diagnose(student, batch, Objective(), Weighing(), np.random.default_rng(0))
        assert any(name.startswith("feature_rank") for name in found)
        assert all(np.isfinite(value) for value in found.values())


def sequences(student, copies: int = 4) -> Batch:
    """Sequences as its layout cuts them, the last rows of which are filling."""
    n, steps = copies, student.settings.layout().length
    rng = np.random.default_rng(0)
    obs = torch.from_numpy(rng.standard_normal((n, steps, *Catch.spec.obs_shape), np.float32))
    begins, weight = torch.zeros(n, steps, dtype=torch.bool), torch.ones(n, steps)
    begins[:, 0], weight[:, -2:] = True, 0.0
    action, zeros = torch.from_numpy(rng.integers(0, 3, (n, steps))), torch.zeros(n, steps)
    more = {"begins": begins, "ended": torch.zeros_like(begins), "weight": weight}
    reward = torch.from_numpy(rng.standard_normal((n, steps), np.float32))
    return Batch(obs, action, reward, zeros + 0.9, obs[:, -1], **more)


@pytest.mark.parametrize("by", BYS)
def test_a_value_student_that_remembers_decorrelates_the_rows_that_are_steps(by):
    small = {
        "hidden": (8,),
        "burn_in": 2,
        "unroll": 6,
        "overlap": 2,
        "batch_size": 4,
        "max_grad_norm": 0.0,
        "decorrelate_by": by,
    }
    grads, rng = {}, np.random.default_rng
    for weight in (0.0, 0.5):
        student = R2D2(**small, decorrelate=weight).newborn(Catch.spec, 0)
        batch = sequences(student)
        rows = student._features(student.online.module, batch)[:, :-1].flatten(0, 1)
        penalty = decorrelation(rows[warmed(batch, student.settings.burn_in).weight.flatten() > 0], by).mean()
        assert student.features(batch)[""].shape == (4 * 4, rows.shape[-1])
        own = torch.autograd.grad(0.5 * penalty, list(student.online.module.parameters()), allow_unused=True)
        learnt = student.update(batch, Weighing(), rng(1))
        grads[weight] = student.online.grad.clone()
    assert learnt.means["decorrelation"].item() == pytest.approx(penalty.item(), rel=1e-5)
    named = zip(student.online.module.named_parameters(), own, strict=True)
    parts = {name: torch.zeros_like(value) if grad is None else grad for (name, value), grad in named}
    torch.testing.assert_close(grads[0.5] - grads[0.0], student.online.join(parts), rtol=1e-2, atol=1e-4)


def test_a_pqn_that_remembers_decorrelates_its_segments():
    config = PQN(hidden=(8,), memory="lstm", rollout=8, segment=4, batch_size=8, max_grad_norm=0.0)
    n, grads = 4, {}
    begins, weight = torch.zeros(n, 4, dtype=torch.bool), torch.ones(n, 4)
    begins[:, 0], weight[:, -1:] = True, 0.0
    rng = np.random.default_rng(0)
    obs = torch.from_numpy(rng.standard_normal((n, 4, *Catch.spec.obs_shape), np.float32))
    action, zeros = torch.from_numpy(rng.integers(0, 3, (n, 4))), torch.zeros(n, 4)
    for strength in (0.0, 0.5):
        student = replace(config, decorrelate=strength).newborn(Catch.spec, 0)
        carry = student.initial(n)
        batch = Batch(obs, action, zeros + 1, zeros, None, begins=begins, weight=weight, carry=carry)
        penalty = decorrelation(recall(student.online.module, obs, begins, carry)[0][:, :3].flatten(0, 1)).mean()
        own = torch.autograd.grad(0.5 * penalty, list(student.online.module.parameters()), allow_unused=True)
        learnt = student.update(batch, Weighing(), np.random.default_rng(1))
        grads[strength] = student.online.grad.clone()
    assert learnt.means["decorrelation"].item() == pytest.approx(penalty.item(), rel=1e-5)
    assert student.features(batch)[""].shape[0] == n * 3
    named = zip(student.online.module.named_parameters(), own, strict=True)
    parts = {name: torch.zeros_like(value) if grad is None else grad for (name, value), grad in named}
    torch.testing.assert_close(grads[0.5] - grads[0.0], student.online.join(parts), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("shared", ["on", "off"])
def test_an_on_policy_student_that_remembers_decorrelates_what_its_memories_say(shared):
    config = PPO(hidden=(8,), memory="lstm", shared=shared, segment=4, decorrelate=1.0, decorrelate_by="correlation")
    student, n = config.newborn(Catch.spec, 0), 3
    begins = torch.zeros(n, 4, dtype=torch.bool)
    obs, zeros = torch.randn(n, 4, *Catch.spec.obs_shape), torch.zeros(n, 4)
    notes = {name: zeros for name in ("advantage", "value", "log_prob")}
    action, carry = torch.zeros(n, 4, dtype=torch.int64), student._net.initial(n)
    batch = Batch(obs, action, zeros, zeros, None, begins=begins, carry=carry, notes=notes)
    read = student._net.recall_all(obs, begins, carry)[3]
    expected = sum(decorrelation(part.detach().flatten(0, 1), "correlation").mean() for part in read)
    assert len(read) == (1 if shared == "on" else 2)
    learnt = student.update(batch, Weighing(), np.random.default_rng(0))
    assert learnt.means["decorrelation"].item() == pytest.approx(float(expected), rel=1e-4)
    assert set(student.features(batch)) == ({""} if shared == "on" else {"actor", "critic"})


@pytest.mark.parametrize(
    "config",
    [
        R2D2(hidden=(8,), warmup=40, batch_size=24, burn_in=2, unroll=6, overlap=2, update_every=8, replay_size=3000),
        PPO(hidden=(8,), memory="lstm", rollout=20, batch_size=20, segment=10),
        PrimalDual(hidden=(8,)),
    ],
    ids=["r2d2", "ppo with a memory", "primal_dual"],
)
def test_metrics_of_students_of_every_kind_tell_of_features(config):
    training, lines = (
        on_catch(config, [replace(Scratch().phases(80)[0], evaluations=1)], copies=2, evaluate=at_once),
        [],
    )
    run(training, lines.append)
    last = [line for line in lines if line["kind"] == "train"][-1]
    assert any(key.startswith("feature_rank") for key in last) and any(key.startswith("feature_norm") for key in last)


def test_a_negative_weight_is_one_line_and_a_plan_says_the_penalty():
    for config in (DQN(decorrelate=-1.0), A2C(decorrelate=-1.0), SAC(decorrelate=-1.0)):
        with pytest.raises(UserError, match=r"--student.decorrelate -1.0 is too small; at least 0 is needed"):
            config.check(1)
    (line,) = describe(Kickstart().suited("values").phases(100), DQN(decorrelate=0.1, decorrelate_by="sums"), 1)
    assert "0.1 × decorrelation of features by sums" in line


def test_a_term_whose_student_told_no_features_is_a_mistake_of_ours():
    with pytest.raises(AssertionError, match="nobody told the features"):
        Decorrelation()(Prediction("values", torch.zeros(2, 3)), batch_for(2))
