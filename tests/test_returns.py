"""Advantages and returns against brute force, with terminations and time limits mixed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reincarnate.losses import returns

GAMMA = 0.9


def rollout(seed, rows=3, steps=12):
    """Random steps: about a quarter end their episode, half of those by termination."""
    rng = np.random.default_rng(seed)
    ends = rng.random((rows, steps)) < 0.25
    terminated = ends & (rng.random((rows, steps)) < 0.5)
    value = rng.normal(size=(rows, steps))
    after = np.concatenate([value[:, 1:], rng.normal(size=(rows, 1))], 1)
    after = np.where(ends, rng.normal(size=(rows, steps)), after)  # the true successor, not the next episode's start
    reward, discount = rng.normal(size=(rows, steps)), np.where(terminated, 0.0, GAMMA)
    return [torch.tensor(x) for x in (reward, discount, value, after, ends)]


def gae_by_definition(reward, discount, value, after, ends, lam):
    """Σ_l (Π_{k<l} γ_k λ) δ_{t+l} over the rest of the episode."""
    out = torch.zeros_like(reward)
    for row in range(reward.shape[0]):
        for t in range(reward.shape[1]):
            factor, total = 1.0, 0.0
            for k in range(t, reward.shape[1]):
                total += factor * (reward[row, k] + discount[row, k] * after[row, k] - value[row, k])
                factor *= discount[row, k] * lam
                if ends[row, k]:
                    break
            out[row, t] = total
    return out


def n_step_by_definition(reward, discount, after, ends, n):
    out = torch.zeros_like(reward)
    for row in range(reward.shape[0]):
        for t in range(reward.shape[1]):
            factor, total, k = 1.0, 0.0, t
            while True:
                total += factor * reward[row, k]
                factor *= discount[row, k]
                if ends[row, k] or k + 1 == min(t + n, reward.shape[1]):
                    break
                k += 1
            out[row, t] = total + factor * after[row, k]
    return out


def lambda_by_definition(reward, discount, after, ends, lam):
    """(1-λ) Σ_n λ^{n-1} G^{(n)} with all the rest of the weight on the longest window of the episode."""
    steps = reward.shape[1]
    windows = torch.stack([n_step_by_definition(reward, discount, after, ends, n) for n in range(1, steps + 1)])
    out = torch.zeros_like(reward)
    for row in range(reward.shape[0]):
        for t in range(steps):
            left = next((k - t + 1 for k in range(t, steps) if ends[row, k]), steps - t)
            weights = [(1 - lam) * lam ** (n - 1) for n in range(1, left)] + [lam ** (left - 1)]
            out[row, t] = sum(w * windows[n, row, t] for n, w in enumerate(weights))
    return out


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), lam=st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_generalised_advantages_are_those_of_brute_force(seed, lam):
    reward, discount, value, after, ends = rollout(seed)
    expected = gae_by_definition(reward, discount, value, after, ends, lam)
    torch.testing.assert_close(returns.advantages(reward, discount, value, after, ends, lam), expected)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 14))
def test_n_step_returns_are_those_of_brute_force(seed, n):
    reward, discount, _, after, ends = rollout(seed)
    expected = n_step_by_definition(reward, discount, after, ends, n)
    torch.testing.assert_close(returns.n_step_returns(reward, discount, after, ends, n), expected)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), lam=st.sampled_from([0.0, 0.3, 0.9, 1.0]))
def test_lambda_returns_are_the_weighted_sum_of_n_step_returns(seed, lam):
    reward, discount, _, after, ends = rollout(seed, rows=2, steps=8)
    expected = lambda_by_definition(reward, discount, after, ends, lam)
    torch.testing.assert_close(returns.lambda_returns(reward, discount, after, ends, lam), expected)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), lam=st.sampled_from([0.0, 0.5, 1.0]))
def test_lambda_returns_are_advantages_plus_values(seed, lam):
    reward, discount, value, after, ends = rollout(seed)
    plain = returns.advantages(reward, discount, value, after, ends, lam) + value
    torch.testing.assert_close(returns.lambda_returns(reward, discount, after, ends, lam), plain)


def test_advantages_by_hand_over_a_time_limit_and_a_termination():
    # row 0: a time limit after the first step bootstraps from 10: δ_0 = 1 + 5 - 0; nothing flows back from step 1
    # row 1: a termination: δ_0 = 1, its successor's 10 does not count
    reward, value = torch.ones(2, 2), torch.zeros(2, 2)
    discount = torch.tensor([[0.5, 0.5], [0.0, 0.5]])
    after = torch.tensor([[10.0, 4.0], [10.0, 4.0]])
    ends = torch.tensor([[True, False], [True, False]])
    out = returns.advantages(reward, discount, value, after, ends, 0.9)
    torch.testing.assert_close(out, torch.tensor([[6.0, 3.0], [1.0, 3.0]]))


def test_no_gradient_flows_out_of_a_return():
    reward, discount, value, after, ends = rollout(0)
    out = returns.advantages(reward, discount, value.requires_grad_(), after.requires_grad_(), ends, 0.9)
    assert not out.requires_grad
    assert not returns.lambda_returns(reward, discount, after, ends, 0.9).requires_grad
    assert not returns.n_step_returns(reward, discount, after, ends, 3).requires_grad


def test_a_return_of_no_steps_is_refused():
    reward, discount, _, after, ends = rollout(0)
    with pytest.raises(ValueError, match="one step or more, not 0"):
        returns.n_step_returns(reward, discount, after, ends, 0)


def test_standardised_advantages_by_hand():
    # mean 2, sample standard deviation √2
    out = returns.standardised(torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(out, torch.tensor([-(0.5**0.5), 0.5**0.5]))
    torch.testing.assert_close(returns.standardised(torch.tensor([5.0])), torch.tensor([5.0]))
