"""Recorded updates: the bookkeeping around CUDA graphs, with a double of the recorder that needs no GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_continuous_students import NAMES, SPEC, batch_of, small
from test_students import POINT, random_batch

from reincarnate.losses.terms import Distil
from reincarnate.students import DQN, SAC, Rainbow, captured
from reincarnate.students.captured import KEPT, CapturedGradient, CapturedUpdate
from reincarnate.students.noise import HeldNoise, Noise
from reincarnate.students.stacked import StackedStudent
from reincarnate.types import MEANS, VALUES, Learnt, Prediction, Weighing

CPU = torch.device("cpu")


class Rerunning:
    """Replays by running the work again, which reads the memory of the recording, as a graph does. Counts both."""

    def __init__(self):
        self.recorded, self.replayed = 0, 0

    def warm(self, work):
        return work()

    def record(self, work):
        self.recorded += 1
        found = Results()

        def replay():
            self.replayed += 1
            found.means, found.each = work()

        return replay, found


class Results:
    """Empty until the first replay, as a graph's results are without meaning before it."""

    means: dict
    each: torch.Tensor


def taught(n, rng):
    return batch_of(n, rng)._replace(predictions={"teacher": Prediction(MEANS, torch.full((n, 2), 0.5))})


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(captured, "PATIENCE", 3)


def pair(settings):
    """The same student twice, the second with recorded updates."""
    plain, recorded = (settings.newborn(SPEC, 0) for _ in range(2))
    recorder = Rerunning()
    recorded._recorded = CapturedUpdate(recorded._update, CPU, recorder)
    return plain, recorded, recorder


@pytest.mark.parametrize("settings", [*map(small, NAMES), small("sac", critics=5, asked=2)])
def test_recorded_updates_end_with_the_bits_of_plain_ones(settings):
    plain, recorded, recorder = pair(settings)
    ours, theirs, data = np.random.default_rng(7), np.random.default_rng(7), np.random.default_rng(1)
    weighing = Weighing(terms=[(0.5, Distil(1.0, 1.0))])
    for _ in range(14):
        batch = taught(32, data)
        expected, found = plain.update(batch, weighing, ours), recorded.update(batch, weighing, theirs)
        assert expected.means.keys() == found.means.keys()
        assert all(torch.equal(expected.means[name], found.means[name]) for name in expected.means)
        assert torch.equal(expected.each, found.each)
    assert recorder.replayed and ours.bit_generator.state == theirs.bit_generator.state
    state = recorded.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.state().items())


def test_a_weight_that_falls_is_read_and_a_rate_that_falls_is_never_recorded():
    for falling, recordings in (("weight", 1), ("rate", 0)):
        plain, recorded, recorder = pair(small("td3", actor_every=1, target_every=1))
        for k in range(40):
            part = 1.0 / (k + 1)
            weighing = Weighing(terms=[(part if falling == "weight" else 1.0, Distil(1.0, 1.0))])
            weighing = weighing._replace(lr_scale=part if falling == "rate" else 1.0)
            for student in (plain, recorded):
                student.update(taught(8, np.random.default_rng(k)), weighing, np.random.default_rng(k))
        assert recorder.recorded == recordings and len(recorded._recorded._made) <= KEPT
        assert torch.equal(plain.online["actor"].data, recorded.online["actor"].data)


def test_other_settings_are_recorded_anew():
    _, recorded, recorder = pair(small("sac"))
    rng = np.random.default_rng(0)
    for lr in (1e-2, 1e-3):  # as population based training changes them
        recorded.settings = replace(recorded.settings, lr=lr)
        for _ in range(6):
            recorded.update(batch_of(8, rng), Weighing(), rng)
    assert recorder.recorded == 2


def test_a_term_without_a_hash_is_learnt_plainly():
    class Own(Distil):
        __hash__ = None

    _, recorded, recorder = pair(small("sac"))
    rng = np.random.default_rng(0)
    for _ in range(6):
        recorded.update(taught(8, rng), Weighing(terms=[(1.0, Own(1.0, 1.0))]), rng)
    assert recorder.recorded == 0


def test_a_batch_of_another_size_is_recorded_apart():
    _, recorded, recorder = pair(small("sac"))
    rng = np.random.default_rng(0)
    for n in (8, 16):
        for _ in range(5):
            recorded.update(batch_of(n, rng), Weighing(), rng)
    assert recorder.recorded == 2


def test_frozen_parts_stay_as_they_are_in_recorded_updates_too():
    plain, recorded, _ = pair(small("sac"))
    for student in (plain, recorded):
        student.freeze(["actor.torso"])
    rngs, data = [np.random.default_rng(3) for _ in range(2)], np.random.default_rng(1)
    for _ in range(8):
        batch = batch_of(16, data)
        for student, rng in zip((plain, recorded), rngs, strict=True):
            student.update(batch, Weighing(), rng)
    assert torch.equal(plain.online["actor"].data, recorded.online["actor"].data)


def test_held_noise_is_drawn_in_the_order_in_which_it_was_asked_for():
    asking = Noise(np.random.default_rng(5), CPU)
    first = [asking.normal(2, 3), asking.members(10, 2), asking.uniform(4)]
    held = HeldNoise(asking.asked, CPU)
    held.fill(np.random.default_rng(5))
    again = [held.normal(2, 3), held.members(10, 2), held.uniform(4)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    held.fill(np.random.default_rng(6))
    assert not torch.equal(first[0], again[0]) and again[0] is held.normal(2, 3)
    with pytest.raises(AssertionError, match="asked for"):
        held.normal(9)


@pytest.mark.parametrize("settings", [DQN(hidden=(5,)), Rainbow(hidden=(5,), atoms=7, noisy=True)])
def test_recorded_gradients_equal_plain_ones(settings):
    plain, recorded = (settings.newborn(POINT, 0) for _ in range(2))
    recorded._program = CapturedGradient(recorded._gradient, CPU, Rerunning())
    for k in range(4):
        batch = random_batch(POINT, seed=k, predictions={"teacher": Prediction(VALUES, torch.randn(6, POINT.actions))})
        for student in (plain, recorded):
            student.update(batch, Weighing(terms=[(0.5, Distil(1.0, 1.0))]), np.random.default_rng(k))
    assert torch.equal(plain.online.data, recorded.online.data)


def test_stacked_seeds_are_recorded_together():
    stacks = [StackedStudent([DQN(hidden=(5,)).newborn(POINT, seed) for seed in (0, 1)]) for _ in range(2)]
    recorder = Rerunning()
    stacks[1]._program = CapturedGradient(stacks[1]._gradient, CPU, recorder)
    for k in range(4):
        batch = random_batch(POINT, 12, seed=k)
        for stack in stacks:
            rngs = [np.random.default_rng(seed) for seed in (0, 1)]
            learnt: Learnt = stack.update(batch, [Weighing(), Weighing()], rngs)
            assert learnt.means["td"].shape == (2,)
    assert recorder.replayed == 4 and torch.equal(stacks[0].online.data, stacks[1].online.data)


def test_stacked_seeds_learn_without_autograd_what_they_learn_with_it():
    stacks = [StackedStudent([DQN(hidden=(5, 4)).newborn(POINT, seed) for seed in (0, 1)]) for _ in range(2)]
    stacks[1]._quick = None
    weighings = [Weighing(own=0.5), Weighing(own=2.0)]
    for k in range(3):
        batch, rngs = random_batch(POINT, 12, seed=k), [np.random.default_rng(seed) for seed in (0, 1)]
        ours, theirs = (stack.update(batch, weighings, rngs) for stack in stacks)
        torch.testing.assert_close(ours.means, theirs.means)
        torch.testing.assert_close(ours.each, theirs.each)
        torch.testing.assert_close(stacks[0].online.grad, stacks[1].online.grad)


def test_who_can_be_compiled_where():
    from reincarnate.students import PPO, PrimalDual, compilable

    assert compilable(SAC(), cuda=True) and not compilable(SAC(), cuda=False)
    assert compilable(PPO(), cuda=False) and not compilable(PPO(), cuda=True)
    assert compilable(DQN(), cuda=True) and compilable(DQN(), cuda=False)
    assert not any(compilable(kind(memory="gru"), cuda) for kind in (SAC, PPO, DQN) for cuda in (True, False))
    assert not compilable(PrimalDual(), cuda=False)
