"""Compiled kernels are the functions that they stand for, refuse what they cannot read, and do without a compiler."""

import copy
import itertools
import os
import pickle
import stat
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reincarnate.losses.terms import Distil
from reincarnate.native import build, kernels
from reincarnate.native.kernels import Kernels
from reincarnate.nets import Flat
from reincarnate.nets import build as build_network
from reincarnate.nets.compiled import CompiledConvolution, CompiledNorm, CompiledTower
from reincarnate.nets.fused import FusedMLP
from reincarnate.nets.fused_cnn import FusedCNN
from reincarnate.nets.fused_stack import FusedStack
from reincarnate.nets.optimizers import Adam, Frozen, clip_norm
from reincarnate.nets.towers import Tower
from reincarnate.students import DQN, PPO, PQN
from reincarnate.students.critics import Expected
from reincarnate.students.stacked import StackedStudent
from reincarnate.types import Batch, Prediction, TaskSpec, TimeStep, Weighing

pytestmark = pytest.mark.skipif(kernels() is None, reason="needs a C++ compiler")
POINT = TaskSpec("Point", (5,), "float32", 3, 1, None, {})
GRID = TaskSpec("Grid", (10, 10, 4), "bool", 3, 1, None, {})
ARM = replace(POINT, actions=2, bounds=((-1.0, -1.0), (1.0, 1.0)))
NEAR = {"rtol": 2e-4, "atol": 2e-6}
TEACHER = Distil(0.7, 0.3)


@pytest.fixture(scope="module")
def compiled() -> Kernels:
    found = kernels()
    assert found is not None
    return found


def layers(sizes, seed=0):
    torch.manual_seed(seed)
    made = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    for layer in made:
        layer.weight.grad, layer.bias.grad = torch.zeros_like(layer.weight), torch.zeros_like(layer.bias)
    return made


def gradients(made):
    return [p.grad.clone() for layer in made for p in (layer.weight, layer.bias)]


# ---- passes ------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 70), min_size=2, max_size=4), st.integers(1, 23), st.booleans())
def test_a_towers_passes_are_torchs_whatever_the_sizes(sizes, rows, tanh):
    made, compiled = layers(sizes), kernels()
    assert compiled is not None
    plain = Tower.of(made, tanh)
    tower = CompiledTower(compiled, plain)
    x, slope = torch.randn(rows, sizes[0]), torch.randn(rows, sizes[-1])
    with torch.no_grad():
        *kept, out = plain.forward(x)
        plain.backward(kept, slope)
        expected = gradients(made)
        *steps, found = tower.forward(x)
        torch.testing.assert_close(found, out, **NEAR)
        tower.backward(steps, slope)
    for one, other in zip(gradients(made), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=1e-5 * rows)


def test_tanh_is_right_to_half_a_millionth_near_nothing_in_between_and_far_out(compiled):
    made = layers([1, 16, 16])
    with torch.no_grad():
        for layer, weight in zip(made, (torch.ones(16, 1), torch.eye(16)), strict=True):
            layer.weight.copy_(weight)
            layer.bias.zero_()
        x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([1e-30, -1e-7, 1e-4, 0.29999, 0.30001, 90, -1e30])])
        found = CompiledTower(compiled, Tower.of(made, True)).forward(x[:, None])[-1][:, 0]
    expected = x.double().tanh()
    assert ((found - expected).abs() <= 5e-7 * expected.abs().clamp(min=1e-37)).all()


def test_what_is_no_number_passes_a_relu_and_a_tanh(compiled):
    for tanh in (False, True):
        tower = CompiledTower(compiled, Tower.of(layers([3, 20, 2]), tanh))
        assert tower.forward(torch.tensor([[0.0, float("nan"), 1.0], [0.0, 1.0, 1.0]]))[-1].isnan().tolist() == [
            [True, True],
            [False, False],
        ]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
@pytest.mark.parametrize(("size", "channels", "filters"), [((10, 10), 4, 16), ((5, 7), 3, 5), ((3, 3), 1, 33)])
def test_the_convolution_is_torchs(compiled, dtype, size, channels, filters):
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, filters, 3)
    layer.weight.grad, layer.bias.grad = torch.zeros_like(layer.weight), torch.zeros_like(layer.bias)
    obs = ((torch.rand(6, *size, channels) < 0.2) * torch.randint(1, 255, (6, *size, channels))).to(dtype)
    as_floats = obs.float() / 255 if dtype == torch.uint8 else obs.float()
    expected = layer(as_floats.permute(0, 3, 1, 2))
    slope = torch.randn_like(expected)
    expected_grads = torch.autograd.grad(expected, [layer.weight, layer.bias], slope)
    convolution = CompiledConvolution(compiled, layer)
    kept, found = convolution.forward(obs)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-4)
    convolution.backward(kept, slope)
    for one, other in zip((layer.weight.grad, layer.bias.grad), expected_grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-2 if dtype == torch.float32 else 1e-3)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_minatars_network_has_the_same_outputs_and_gradients(compiled, layer_norm):
    network = build_network(GRID, DQN(hidden=(32,), layer_norm=layer_norm), Expected(), 0)
    flat, obs = Flat(network), torch.rand(7, 10, 10, 4) < 0.2
    slope = torch.randn(7, 3)
    found = []
    for quick in (FusedCNN(network), FusedCNN(network, compiled)):  # pyright: ignore
        flat.grad.zero_()
        quick.descend(obs, lambda out: (found.append(out.clone()), slope.clone()))
        found.append(flat.grad.clone())
    for one, other in zip(found[:2], found[2:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 9))
def test_a_norm_and_its_relu_are_torchs(size, rows):
    torch.manual_seed(size)
    norm, x, slope = nn.LayerNorm(size), 3 * torch.randn(rows, size) + 1, torch.randn(rows, size)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    x.requires_grad_()
    expected = norm(x).relu()
    grads = torch.autograd.grad(expected, [x, norm.weight, norm.bias], slope)
    norm.weight.grad, norm.bias.grad = torch.zeros(size), torch.zeros(size)
    ours = CompiledNorm(kernels(), norm)
    kept, out = ours.forward(x.detach())
    torch.testing.assert_close(out, expected.detach(), rtol=1e-4, atol=1e-5)
    found = ours.backward(kept, out, slope.clone()), norm.weight.grad, norm.bias.grad
    for one, other in zip(found, grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


# ---- steps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("rate", [1e-2, [1e-2, 3e-3, 1e-2]])
def test_adam_is_pytorchs(compiled, decay, rate):
    torch.manual_seed(0)
    shape = (3, 37)
    ours, theirs = Adam(37, 1e-8, decay), Adam(37, 1e-8, decay)
    for adam in (ours, theirs):
        adam.state = {"mean": torch.zeros(shape), "square": torch.zeros(shape), "steps": torch.zeros(3)}
    ours.kernels = compiled
    data = torch.randn(shape)
    other = data.clone()
    for _ in range(5):
        grad = torch.randn(shape)
        ours.step(data, grad, rate)
        theirs.step(other, grad, rate)
    torch.testing.assert_close(data, other, **NEAR)
    for name in ours.state:
        torch.testing.assert_close(ours.state[name], theirs.state[name], **NEAR)


def test_moments_of_gradients_that_are_nothing_end_as_nothing(compiled):
    adam = Adam(4, 1e-8)
    adam.kernels = compiled
    adam.state["mean"].fill_(1e-37)
    for _ in range(200):
        adam.step(torch.zeros(4), torch.zeros(4), 0.1)
    assert adam.state["mean"].eq(0).all() and float(adam.state["steps"]) == 200


def test_gradients_are_clipped_row_by_row_and_what_is_frozen_has_no_part(compiled):
    grad = torch.randn(3, 150)
    grad[1] *= 1e-3  # short already
    adam = Adam(150, 1e-8)
    expected, found = grad.clone(), grad.clone()
    clip_norm(expected, 0.5)
    adam.kernels = compiled
    clip_norm(found, 0.5, adam)
    torch.testing.assert_close(found, expected, **NEAR)
    mask = torch.arange(150) < 100
    clip_norm(found, 0.5, Frozen(adam, mask))
    assert found[:, :100].eq(0).all()


# ---- whole updates -----------------------------------------------------------------------------------


def batch_of(n=24, seed=0, spec=POINT):
    g = torch.Generator().manual_seed(seed)
    obs, after = (torch.randn(n, 5, generator=g) for _ in range(2))
    reward, discount = torch.randn(n, generator=g), torch.rand(n, generator=g)
    said = torch.randn(n, 3, generator=g)
    said[::5, 1] = -torch.inf  # an action that the teacher does not know
    action = torch.randint(0, 3, (n,), generator=g)
    return Batch(obs, action, reward, discount, after, {"teacher": Prediction("logits", said)})


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("terms", [[], [(0.5, TEACHER)]])
def test_a_dqns_update_is_the_plain_one(double, terms):
    config = DQN(hidden=(16, 8), double=double, max_grad_norm=1.0)
    plain, ours = (config.newborn(POINT, 0) for _ in range(2))
    assert ours.fits_kernels()
    ours.compile()
    for k in range(6):
        batch = batch_of(seed=k)
        found, expected = (s.update(batch, Weighing(2.0, terms), np.random.default_rng(0)) for s in (ours, plain))
        assert found.means.keys() == expected.means.keys()
        for name, mean in found.means.items():
            assert float(mean) == pytest.approx(float(expected.means[name]), rel=1e-4)
        torch.testing.assert_close(found.each, expected.each, **NEAR)
        torch.testing.assert_close(ours.online.grad, plain.online.grad, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(ours.online.data, plain.online.data, rtol=1e-3, atol=1e-5)


def test_batches_that_the_whole_update_is_not_for_are_learnt_from_as_ever():
    config, batch = DQN(hidden=(16,)), batch_of()
    mask = torch.ones(24, 3, dtype=torch.bool)
    mask[:, 2] = False
    for odd in (batch._replace(weight=torch.rand(24)), batch._replace(next_mask=mask), batch._replace(next_obs=None)):
        plain, ours = (config.newborn(POINT, 0) for _ in range(2))
        ours.compile(program=False)
        found, expected = (s.update(odd, Weighing(), np.random.default_rng(0)) for s in (ours, plain))
        torch.testing.assert_close(found.each, expected.each, **NEAR)
        torch.testing.assert_close(ours.online.grad, plain.online.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("terms", [[], [(0.5, TEACHER)]])
def test_seeds_together_learn_as_each_alone(terms):
    config = DQN(hidden=(16, 8))
    alone = [config.newborn(POINT, seed) for seed in range(3)]
    stack = StackedStudent([config.newborn(POINT, seed) for seed in range(3)], True)
    batches, weighings = [batch_of(seed=k) for k in range(3)], [Weighing(w, terms) for w in (1.0, 0.5, 2.0)]
    rngs = [np.random.default_rng(0) for _ in range(3)]
    for _ in range(4):
        join = lambda name: torch.cat([getattr(batch, name) for batch in batches])
        said = torch.cat([batch.predictions["teacher"].x for batch in batches])
        names = ("obs", "action", "reward", "discount", "next_obs")
        both = Batch(*[join(name) for name in names], {"teacher": Prediction("logits", said)})
        found = stack.update(both, weighings, rngs)
        expected = [s.update(b, w, r) for s, b, w, r in zip(alone, batches, weighings, rngs, strict=True)]
        for name, means in found.means.items():
            torch.testing.assert_close(means, torch.stack([e.means[name] for e in expected]), **NEAR)
    for one, other in zip(stack.students, alone, strict=True):
        torch.testing.assert_close(one.online.data, other.online.data, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "more", [{}, {"clip_value": 0.2, "entropy": 0.01}, {"norm_advantage": False, "activation": "relu"}]
)
@pytest.mark.parametrize("terms", [[], [(0.5, TEACHER), (0.1, Distil(1.0, 1.0, of="best"))]])
def test_a_ppos_update_is_the_plain_one(more, terms):
    config = PPO(hidden=(16, 8), **more)
    plain, ours = (config.newborn(POINT, 0) for _ in range(2))
    assert ours.fits_kernels()
    ours.compile()
    g = torch.Generator().manual_seed(0)
    for k in range(6):
        batch = batch_of(seed=k)
        notes = {name: torch.randn(24, generator=g) for name in ("advantage", "value")}
        notes["log_prob"] = torch.rand(24, generator=g).log()
        said = {**batch.predictions, "best": Prediction("logits", torch.randn(24, 3, generator=g))}
        batch = batch._replace(next_obs=None, notes=notes, predictions=said)
        found, expected = (s.update(batch, Weighing(terms=terms), np.random.default_rng(0)) for s in (ours, plain))
        assert found.means.keys() == expected.means.keys()
        for name, mean in found.means.items():
            assert float(mean) == pytest.approx(float(expected.means[name]), rel=1e-3, abs=1e-6), name
        torch.testing.assert_close(found.each, expected.each, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(ours.online.grad, plain.online.grad, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(ours.online.data, plain.online.data, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("more", [{}, {"clip_value": 0.2, "entropy": 0.01, "activation": "relu"}])
@pytest.mark.parametrize("terms", [[], [(0.5, Distil(1.0, 1.0))]])
def test_a_ppos_update_of_continuous_actions_is_the_plain_one(more, terms):
    plain, ours = (PPO(hidden=(16, 8), **more).newborn(ARM, 0) for _ in range(2))
    assert ours.fits_kernels()
    ours.compile(program=False)
    g = torch.Generator().manual_seed(0)
    for k in range(6):
        notes = {name: torch.randn(24, generator=g) for name in ("advantage", "value")}
        notes["log_prob"] = -torch.rand(24, generator=g) - 2
        said = {"teacher": Prediction("gaussian", torch.randn(24, 4, generator=g))}
        action = torch.randn(24, 2, generator=g)
        batch = batch_of(seed=k)._replace(next_obs=None, notes=notes, action=action, predictions=said)
        found, expected = (s.update(batch, Weighing(terms=terms), np.random.default_rng(0)) for s in (ours, plain))
        for name, mean in found.means.items():
            assert float(mean) == pytest.approx(float(expected.means[name]), rel=1e-3, abs=1e-6), name
        torch.testing.assert_close(found.each, expected.each, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(ours.online.grad, plain.online.grad, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(ours.online.data, plain.online.data, rtol=1e-3, atol=1e-5)


def test_who_fits():
    assert PQN(hidden=(8,)).newborn(GRID, 0).fits_kernels() and not PQN(hidden=(8,)).newborn(GRID, 0).fits_kernels(2)
    assert DQN(hidden=(8,)).newborn(POINT, 0).fits_kernels(2)
    for other in (DQN(dueling=True), DQN(decorrelate=0.1), PPO(shared="on"), PPO(decorrelate=0.1)):
        assert not replace(other, hidden=(8,)).newborn(POINT, 0).fits_kernels()
    assert PPO(hidden=(8,)).newborn(ARM, 0).fits_kernels()


@pytest.mark.parametrize("settings", [DQN(hidden=(8,)), PQN(hidden=(8,)), PPO(hidden=(8,))])
def test_a_copied_student_reads_its_own_parameters(settings):
    spec = GRID if isinstance(settings, PQN) else POINT
    student = settings.newborn(spec, 0)
    student.compile(program=False)
    obs = torch.rand(4, *spec.obs_shape) < 0.3 if spec is GRID else torch.randn(4, 5)
    step = TimeStep(obs, torch.ones(4, dtype=torch.bool))
    before = student.predict(step, student.initial(4))[0].x
    for other in (copy.deepcopy(student), pickle.loads(pickle.dumps(student))):
        student.acting.data.zero_()
        assert torch.equal(other.predict(step, other.initial(4))[0].x, before)
        student.publish()
        assert torch.equal(student.predict(step, student.initial(4))[0].x, before)


# ---- what cannot be read -----------------------------------------------------------------------------


def test_an_action_that_there_is_not_is_refused_and_nothing_else_is_written():
    student = DQN(hidden=(8,)).newborn(POINT, 0)
    student.compile()
    before = student.online.grad.clone()
    for wrong in (3, -1):
        action = torch.full((24,), wrong)
        with pytest.raises(IndexError, match=f"{wrong} to {wrong}"):
            student.update(batch_of()._replace(action=action), Weighing(), np.random.default_rng(0))
    assert torch.equal(student.online.grad, before)


def test_gradients_that_do_not_lie_as_a_kernel_writes_them_are_refused(compiled):
    for grad in (torch.zeros(4, dtype=torch.float64), torch.ones(4, 4)[:, :2]):
        with pytest.raises(TypeError, match="is needed"):
            compiled.clip(grad, 1.0)


def test_tensors_of_other_sizes_are_refused_before_they_are_read(compiled):
    batch = batch_of()
    other = torch.randn(24, 2)
    wrong = [
        batch._replace(predictions={"teacher": Prediction("logits", other)}),
        batch._replace(obs=torch.randn(24, 3)),
        batch._replace(next_obs=torch.randn(2, 5)),
        batch._replace(reward=torch.randn(3)),
        batch._replace(action=torch.zeros(3, dtype=torch.int64)),
    ]
    student = DQN(hidden=(8,)).newborn(POINT, 0)
    student.compile()
    for odd in wrong:
        with pytest.raises(ValueError, match="of shape"):
            student.update(odd, Weighing(terms=[(0.5, TEACHER)]), np.random.default_rng(0))
    with pytest.raises(ValueError, match="of shape"):
        FusedMLP(student.network, compiled)(torch.zeros(4, 3))
    adam = Adam(4, 1e-8)
    adam.kernels = compiled
    with pytest.raises(TypeError, match="is needed"):
        adam.step(torch.zeros(4), torch.zeros(4, dtype=torch.float64), 0.1)


def test_tensors_that_lie_otherwise_are_copied_first():
    batch = batch_of()
    odd = batch._replace(
        obs=torch.stack([batch.obs, batch.obs], 1)[:, 0],
        reward=torch.stack([batch.reward, batch.reward], 1)[:, 0],
        predictions={"teacher": Prediction("logits", batch.predictions["teacher"].x.double())},
    )
    found = []
    for told in (batch, odd):
        student = DQN(hidden=(8,)).newborn(POINT, 0)
        student.compile()
        student.update(told, Weighing(terms=[(0.5, TEACHER)]), np.random.default_rng(0))
        found.append(student.online.data)
    assert torch.equal(*found)


def test_what_is_no_number_shows_in_the_losses():
    said = torch.zeros(24, 3)
    for wrong in (torch.nan, torch.inf, -torch.inf):
        said[7] = wrong
        student = DQN(hidden=(8,)).newborn(POINT, 0)
        student.compile()
        batch = batch_of()._replace(predictions={"teacher": Prediction("logits", said)})
        means = student.update(batch, Weighing(terms=[(0.5, TEACHER)]), np.random.default_rng(0)).means
        assert np.isnan(means["distil"])
    student = PPO(hidden=(8,), clip_value=0.2).newborn(POINT, 0)
    student.compile()
    notes = {name: torch.zeros(24) for name in ("advantage", "value", "log_prob")}
    notes["value"][3] = torch.nan
    batch = batch_of()._replace(next_obs=None, notes=notes)
    assert np.isnan(student.update(batch, Weighing(), np.random.default_rng(0)).means["value"])


# ---- how they are built ------------------------------------------------------------------------------


@pytest.fixture
def anew(tmp_path, monkeypatch):
    """Builds as on a machine that has not built them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.library.cache_clear()
    yield tmp_path / "cache" / "reincarnate"
    build.library.cache_clear()


def count_compilations(monkeypatch):
    calls, real = [], build._built
    monkeypatch.setattr(build, "_built", lambda *told: calls.append(told) or real(*told))
    return calls


def test_kernels_are_built_once_for_a_machine_and_kept_where_nobody_else_writes(anew, monkeypatch):
    calls = count_compilations(monkeypatch)
    for _ in range(2):
        build.library.cache_clear()
        assert build.library() is not None
    (kept,) = anew.iterdir()
    assert len(calls) == 1 and kept.suffix == ".so" and stat.S_IMODE(anew.stat().st_mode) == 0o700


def test_another_processor_or_other_sources_are_built_for_anew(anew, monkeypatch):
    assert build.library() is not None
    monkeypatch.setattr(build, "_processor", lambda command: b"another")
    build.library.cache_clear()
    assert build.library() is not None and len(list(anew.iterdir())) == 2


def test_a_folder_that_others_may_write_to_is_not_trusted(anew, monkeypatch):
    anew.mkdir(parents=True)
    anew.chmod(0o777)
    calls = count_compilations(monkeypatch)
    for _ in range(2):
        build.library.cache_clear()
        assert build.library() is not None
    assert len(calls) == 2 and not list(anew.iterdir())


def test_a_link_for_a_folder_is_not_followed(anew, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    anew.parent.mkdir()
    anew.symlink_to(tmp_path / "elsewhere")
    assert build.library() is not None and not list((tmp_path / "elsewhere").iterdir())


def test_without_a_compiler_or_with_one_that_fails_there_are_none(anew, monkeypatch, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    for named in ("no-such-compiler", str(broken)):
        monkeypatch.setenv("CXX", named)
        build.library.cache_clear()
        assert build.library() is None


@pytest.mark.parametrize("spoil", [lambda b: b[:20000], lambda b: b[:60000] + bytes(len(b) - 60000), lambda b: b""])
def test_a_damaged_library_is_not_loaded_but_built_again(anew, spoil):
    assert build.library() is not None
    (kept,) = anew.iterdir()
    whole = kept.read_bytes()
    kept.chmod(0o700)
    kept.write_bytes(spoil(whole))
    build.library.cache_clear()
    assert build.library() is not None
    assert any(path.read_bytes() == whole or path.name != kept.name for path in anew.iterdir())


def test_a_library_that_others_may_change_is_not_loaded(anew, monkeypatch):
    assert build.library() is not None
    (kept,) = anew.iterdir()
    kept.chmod(0o722)
    calls = count_compilations(monkeypatch)
    build.library.cache_clear()
    assert build.library() is not None and len(calls) == 1


def test_a_cache_that_cannot_be_written_to_costs_the_time_and_no_more(anew, monkeypatch):
    real = build._built

    def full(command, folder, key):
        if folder == anew:
            raise OSError("no space left on device")
        return real(command, folder, key)

    monkeypatch.setattr(build, "_built", full)
    assert build.library() is not None


def test_a_home_that_is_nowhere_is_no_failure(anew, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(build.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert build.library() is not None


def test_a_compiler_may_be_named_with_arguments(monkeypatch):
    for told, command in (("g++ -fno-plt", ["g++", "-fno-plt"]), ("", ["g++"]), (" ", ["g++"])):
        monkeypatch.setenv("CXX", told)
        assert build.compiler() == command


def test_two_processes_that_build_at_once_both_have_them(anew):
    code = "from reincarnate.native import kernels; assert kernels() is not None"
    told = {**os.environ, "XDG_CACHE_HOME": str(anew.parent)}
    both = [subprocess.Popen([sys.executable, "-c", code], env=told) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0] and len(list(anew.iterdir())) == 1


def test_a_stack_is_read_where_it_lies(compiled):
    flats = [Flat(build_network(POINT, DQN(hidden=(8,)), Expected(), seed)) for seed in range(2)]
    alone = [FusedMLP(copy.deepcopy(flat.module)) for flat in flats]  # pyright: ignore
    stack, obs = FusedStack(Flat.stack(flats), compiled), torch.randn(6, 5)
    with torch.no_grad():
        expected = torch.cat([net(part) for net, part in zip(alone, obs.chunk(2), strict=True)])
    torch.testing.assert_close(stack(obs), expected, **NEAR)
