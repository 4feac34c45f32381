"""Running normalisation: the parallel-variance formula, parity with SB3's VecNormalize, statistics as weights."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from reincarnate.nets.normalise import FIRST_COUNT, Moments, ObservationNorm, RewardNorm


def test_moments_by_hand():
    # 1, 2, 3 beside a newborn's 0 ± 1 of weight 1e-4
    moments = Moments(())
    moments.update(torch.tensor([1.0, 2.0, 3.0]))
    total = 3 + FIRST_COUNT
    mean = 6 / total
    square = (1 + 4 + 9 + FIRST_COUNT) / total  # of the newborn 0² + 1
    assert moments.count.item() == pytest.approx(total)
    assert moments.mean.item() == pytest.approx(mean)
    assert moments.var.item() == pytest.approx(square - mean**2)


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(1, 39), max_size=5), seed=st.integers(0, 1000))
def test_moments_do_not_depend_on_how_a_stream_is_cut(cuts, seed):
    x = torch.tensor(np.random.default_rng(seed).normal(5, 3, size=(40, 2)))
    whole, parts = Moments((2,)), Moments((2,))
    whole.update(x)
    edges = [0, *sorted(set(cuts)), 40]
    for low, high in itertools.pairwise(edges):
        parts.update(x[low:high])
    for one, other in zip(whole.buffers(), parts.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_merging_two_streams_is_seeing_both():
    x, y = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)).double().split([12, 18])
    one, both = Moments((2,)), Moments((2,))
    one.update(x)
    one.merge(y.mean(0), y.var(0, correction=0), torch.tensor(18.0, dtype=torch.float64))
    both.update(torch.cat([x, y]))
    torch.testing.assert_close(one.var, both.var)


def test_a_mean_far_from_zero_loses_no_digits():
    moments, weight = Moments(()), torch.tensor(1e15, dtype=torch.float64)  # the newborn's 0 weighs nothing here
    for part in torch.tensor([1e8, 1e8 + 1, 1e8 + 2, 1e8 + 3], dtype=torch.float64).split(1):
        moments.merge(part[0], torch.zeros((), dtype=torch.float64), weight)
    assert moments.var.item() == pytest.approx(1.25, rel=0.01)  # a sum of squares less a square would say 0 or 2


class Noise(gym.Env):
    """Observations and rewards of very different sizes; episodes end by termination and by time limit."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._obs(), {}

    def step(self, action):
        self.steps += 1
        ended = self.np_random.random() < 0.1
        return self._obs(), float(self.np_random.normal(3, 40)), bool(ended), self.steps == 15, {}

    def _obs(self):
        return self.np_random.normal([0, 100, -3], [1, 20, 0.01])


def test_observations_and_rewards_are_those_of_sb3s_vecnormalize():
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    theirs = vec_env.VecNormalize(vec_env.DummyVecEnv([Noise] * 3), gamma=0.9)
    theirs.seed(0)
    observations, rewards = ObservationNorm((3,)), RewardNorm(3, gamma=0.9)
    obs = theirs.reset()
    for _ in range(60):
        raw = torch.from_numpy(theirs.get_original_obs())
        observations.update(raw)
        np.testing.assert_allclose(observations(raw), obs, rtol=1e-5, atol=1e-6)
        obs, reward, ends, _ = theirs.step(np.zeros(3, np.int64))
        scaled = rewards.update(torch.from_numpy(theirs.get_original_reward()), torch.from_numpy(ends))
        np.testing.assert_allclose(scaled, reward, rtol=1e-5, atol=1e-6)
    assert np.abs(reward).max() < 10
    np.testing.assert_allclose(rewards.moments.var, theirs.ret_rms.var, rtol=1e-12)


def test_a_rollout_is_scaled_step_by_step():
    generator = torch.Generator().manual_seed(0)
    reward, ends = 100 + torch.randn(2, 9, generator=generator), torch.rand(2, 9, generator=generator) < 0.3
    whole, steps = RewardNorm(2, 0.9), RewardNorm(2, 0.9)
    scaled = whole.over(reward, ends)
    for t in range(9):
        torch.testing.assert_close(scaled[:, t], steps.update(reward[:, t], ends[:, t]))
    for one, other in zip(whole.buffers(), steps.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_normalised_numbers_are_clipped():
    norm = ObservationNorm((1,))
    norm.update(torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(norm(torch.tensor([[1e6], [-1e6]])), torch.tensor([[10.0], [-10.0]]))


def test_looking_does_not_change_the_statistics():
    norm = ObservationNorm((2,))
    norm.update(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    before = {name: x.clone() for name, x in norm.state_dict().items()}
    norm(torch.randn(100, 2))
    assert all(torch.equal(before[name], x) for name, x in norm.state_dict().items())


def test_statistics_are_weights_in_double_precision_and_the_running_return_is_not():
    norm, reward = ObservationNorm((2,)), RewardNorm(4, 0.99)
    norm.update(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    other = ObservationNorm((2,))
    other.load_state_dict(load(save(norm.state_dict())))
    assert torch.equal(other.moments.mean, norm.moments.mean)
    assert other.moments.mean.dtype == torch.float64
    assert set(reward.state_dict()) == {"moments.mean", "moments.var", "moments.count"}
