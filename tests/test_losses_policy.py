"""Log-probabilities, entropies and the losses of on-policy learners, against numbers worked by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from reincarnate.losses import log_probs, policy, policy_slopes, primal_dual

LOG_2PI = math.log(2 * math.pi)


def row(*numbers):
    return torch.tensor([numbers])


def each(*numbers):
    return torch.tensor(numbers)


# ---- log-probabilities and entropies ----------------------------------------------------------------


def test_the_categorical_log_probability_and_entropy_by_hand():
    logits = row(math.log(3), 0.0)  # 3/4, 1/4
    torch.testing.assert_close(log_probs.categorical_log_prob(logits, torch.tensor([1])), each(math.log(0.25)))
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    torch.testing.assert_close(log_probs.categorical_entropy(logits), each(expected))


def test_a_masked_action_adds_no_entropy_and_no_nan_to_the_gradient():
    logits = torch.tensor([[0.0, 0.0, -math.inf]], requires_grad=True)
    entropy = log_probs.categorical_entropy(logits)
    torch.testing.assert_close(entropy, each(math.log(2)))
    entropy.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_gaussian_log_probability_and_entropy_by_hand():
    # σ 1 and 2, one and two σ away: -1/2 - 2 - ln 2 - ln 2π
    mean, log_std, action = row(0.0, 1.0), row(0.0, math.log(2)), row(1.0, 5.0)
    expected = -0.5 - 2.0 - math.log(2) - LOG_2PI
    torch.testing.assert_close(log_probs.gaussian_log_prob(mean, log_std, action), each(expected))
    torch.testing.assert_close(log_probs.gaussian_entropy(log_std), each(math.log(2) + LOG_2PI + 1))


def test_the_gaussian_entropy_agrees_with_monte_carlo():
    mean, log_std = row(0.3, -0.5), row(-0.2, -1.0)
    action = mean + log_std.exp() * torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0))
    log_prob = log_probs.gaussian_log_prob(mean.expand_as(action), log_std.expand_as(action), action)
    assert log_probs.gaussian_entropy(log_std).item() == pytest.approx(-log_prob.mean().item(), abs=0.02)


def test_a_clipped_action_at_a_bound_has_the_whole_mass_beyond_it():
    # mean 1: half of the mass lies above 1; inside the box it is the plain density
    mean, log_std = row(1.0), row(0.0)
    at_bound = log_probs.clipped_gaussian_log_prob(mean, log_std, row(1.0))
    torch.testing.assert_close(at_bound, each(math.log(0.5)))
    inside = log_probs.clipped_gaussian_log_prob(mean, log_std, row(0.5))
    torch.testing.assert_close(inside, log_probs.gaussian_log_prob(mean, log_std, row(0.5)))
    low = log_probs.clipped_gaussian_log_prob(row(-3.0), row(0.0), row(-1.0))
    torch.testing.assert_close(low, each(math.log(0.5 * math.erfc(-2 / math.sqrt(2)))))


def test_the_probability_of_clipped_actions_adds_up_to_one():
    mean, log_std = torch.tensor(0.4), torch.tensor(-0.3)
    inside = torch.linspace(-1 + 1e-4, 1 - 1e-4, 20_001)[:, None]
    density = log_probs.clipped_gaussian_log_prob(mean.expand_as(inside), log_std.expand_as(inside), inside).exp()
    ends = each(-1.0, 1.0)[:, None]
    mass = log_probs.clipped_gaussian_log_prob(mean.expand_as(ends), log_std.expand_as(ends), ends).exp()
    assert torch.trapezoid(density, inside[:, 0]).item() + mass.sum().item() == pytest.approx(1, abs=1e-3)


def test_the_gradient_does_not_pull_a_clipped_mean_back_to_the_bound():
    mean = torch.tensor([[1.5]], requires_grad=True)
    log_probs.clipped_gaussian_log_prob(mean, row(0.0), row(1.0)).sum().backward()
    assert mean.grad is not None
    assert mean.grad.item() > 0  # further out is likelier still; the plain density would say -0.5


def test_the_squashed_log_probability_is_that_of_torchs_distributions():
    generator = torch.Generator().manual_seed(0)
    mean, log_std, base = (torch.randn(5, 3, generator=generator).double() for _ in range(3))
    squashed = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform(cache_size=1)])
    expected = squashed.log_prob(base.tanh()).sum(-1)
    torch.testing.assert_close(log_probs.squashed_log_prob(mean, log_std, base), expected)


def test_the_squashed_log_probability_by_hand():
    # u = 0: tanh's slope is 1; the standard normal's density remains
    torch.testing.assert_close(log_probs.squashed_log_prob(row(0.0), row(0.0), row(0.0)), each(-0.5 * LOG_2PI))
    # tanh u = 1/2: slope 3/4
    u = math.atanh(0.5)
    expected = -0.5 * u * u - 0.5 * LOG_2PI - math.log(0.75)
    torch.testing.assert_close(log_probs.squashed_log_prob(row(0.0), row(0.0), row(u)), each(expected))


def test_the_tanh_correction_stays_exact_far_out():
    # 1 - tanh²(20) = 4/(e²⁰ + e⁻²⁰)² is 0 in float32 if computed so
    base = torch.tensor([[20.0], [-20.0], [50.0]], requires_grad=True)
    slope = log_probs.log_tanh_slope(base)
    torch.testing.assert_close(slope.detach()[:, 0], each(*(math.log(4) - 2 * u for u in (20.0, 20.0, 50.0))))
    slope.sum().backward()
    torch.testing.assert_close(base.grad, torch.tensor([[-2.0], [2.0], [-2.0]]))


def test_unsquash_inverts_tanh_and_is_finite_at_the_bounds():
    torch.testing.assert_close(log_probs.unsquash(row(0.5, -0.5)), row(math.atanh(0.5), -math.atanh(0.5)))
    assert log_probs.unsquash(row(1.0, -1.0)).isfinite().all()


# ---- PPO and its kin --------------------------------------------------------------------------------


def test_the_clipped_surrogate_by_hand():
    # ρ 1.5 and 0.5 with ε 0.2: A > 0: min(1.5, 1.2) and min(.5, .8); A = -2: min(-3, -2.4) and min(-1, -1.6)
    log_prob = each(1.5, 0.5, 1.5, 0.5).log()
    loss = policy.clipped_surrogate(log_prob, torch.zeros(4), each(1.0, 1.0, -2.0, -2.0), 0.2)
    torch.testing.assert_close(loss, each(-1.2, -0.5, 3.0, 1.6))


def test_a_clipped_ratio_has_no_gradient():
    log_prob = each(1.5, 0.5, 1.5).log().requires_grad_()
    policy.clipped_surrogate(log_prob, torch.zeros(3), each(1.0, 1.0, -2.0), 0.2).sum().backward()
    torch.testing.assert_close(log_prob.grad, each(0.0, -0.5, 3.0))


def test_the_first_epochs_surrogate_has_the_gradient_of_the_policy_gradient():
    old, advantage = each(-1.0, -2.0), each(0.7, -1.3)
    one, other = old.clone().requires_grad_(), old.clone().requires_grad_()
    policy.clipped_surrogate(one, old, advantage, 0.2).sum().backward()
    policy.policy_gradient(other, advantage).sum().backward()
    torch.testing.assert_close(one.grad, other.grad)


def test_the_value_losses_by_hand():
    value, old, target = each(2.0, 2.0), each(1.0, 1.0), each(0.0, 3.0)
    torch.testing.assert_close(policy.value_error(value, target), each(2.0, 0.5))
    # clipped to 1.2: 0.72 and 1.62; the larger one counts
    torch.testing.assert_close(policy.clipped_value_error(value, old, target, 0.2), each(2.0, 1.62))


@given(
    kind=st.sampled_from(["logits", "gaussian"]),
    seed=st.integers(0, 10**6),
    clip_value=st.sampled_from([0.0, 0.3]),
    entropy=st.sampled_from([0.0, -0.02]),
)
def test_ppos_losses_and_slopes_at_once_are_those_of_autograd(kind, seed, clip_value, entropy):
    rng = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)
    n, numbers = 7, 3
    x, value = draw(n, numbers * (2 if kind == "gaussian" else 1)), draw(n)
    action = draw(n, numbers) if kind == "gaussian" else torch.randint(numbers, (n,), generator=rng)
    old = log_probs.log_prob_of(kind, x, action) + 0.3 * draw(n)
    taken = policy_slopes.Taken(action, old, draw(n), value + 0.5 * draw(n), draw(n))
    weights = policy_slopes.Weights(0.7, 0.5, entropy)
    found = policy_slopes.ppo_at_once(kind, x, value, taken, 0.2, clip_value, weights)

    x, value = x.requires_grad_(), value.requires_grad_()
    log_prob = log_probs.log_prob_of(kind, x, action)
    error = (
        policy.clipped_value_error(value, taken.value, taken.target, clip_value)
        if clip_value
        else policy.value_error(value, taken.target)
    )
    rows = {
        "policy": policy.clipped_surrogate(log_prob, old, taken.advantage, 0.2),
        "value": error,
        "entropy": log_probs.entropy_of(kind, x),
        "kl": policy.approximate_kl(log_prob, old),
    }
    assert tuple(rows) == policy_slopes.NAMES
    total = sum(weight * loss.mean() for weight, loss in zip((*weights, 0.0), rows.values(), strict=True))
    of_x, of_value = torch.autograd.grad(total, (x, value))
    assert torch.allclose(found.rows, torch.stack(list(rows.values())))
    assert torch.allclose(found.of_x, of_x) and torch.allclose(found.of_value, of_value)


def test_the_slope_of_the_surrogate_by_hand():
    # ratios e^0.5 and e^-0.5 with ε 0.2: a gain beyond the clip has no slope, a loss beyond it has its own
    log_prob, old, advantage = each(0.5, 0.5, -0.5, -0.5), each(0.0, 0.0, 0.0, 0.0), each(1.0, -1.0, 1.0, -1.0)
    found = policy_slopes.surrogate_of(log_prob, old, advantage, 0.2)
    assert torch.allclose(found.slope, each(0.0, math.exp(0.5), -math.exp(-0.5), 0.0))
    assert torch.allclose(found.loss, each(-1.2, math.exp(0.5), -math.exp(-0.5), 0.8))


def test_the_approximate_kl_by_hand_and_never_negative():
    # ρ 2 and ½: 2 - 1 - ln 2, ½ - 1 + ln 2
    kl = policy.approximate_kl(each(2.0, 0.5, 1.0).log(), torch.zeros(3))
    torch.testing.assert_close(kl, each(1 - math.log(2), math.log(2) - 0.5, 0.0))


def test_proximal_distillation_by_hand():
    # ρ 1.5 stays (the upper clip never binds), ρ 0.5 counts 0.8
    kl = each(2.0, 2.0)
    loss = policy.proximal_distillation(kl, each(1.5, 0.5).log(), torch.zeros(2), 0.2)
    torch.testing.assert_close(loss, each(3.0, 1.6))


# ---- primal-dual ------------------------------------------------------------------------------------


def test_the_primal_dual_value_loss_by_hand():
    # δ = 1 + 0.9 · 2 - 3 = -0.2; 0.1 · 4 - 0.2 + 0.04
    delta = primal_dual.advantage(each(1.0), each(0.9), each(3.0), each(2.0))
    torch.testing.assert_close(primal_dual.value_loss(delta, each(4.0), 0.9), each(0.24))
    torch.testing.assert_close(primal_dual.value_loss(delta, each(4.0), 0.9, linear=0.0), each(0.04))
    torch.testing.assert_close(primal_dual.value_loss(delta, each(4.0), 0.9, penalty=0.0), each(0.2))


def test_the_primal_dual_gradient_goes_through_the_successors_value():
    value, after = each(3.0).requires_grad_(), each(2.0).requires_grad_()
    delta = primal_dual.advantage(each(1.0), each(0.9), value, after)
    primal_dual.value_loss(delta, value, 0.9).sum().backward()
    # d/dv: 0.1 - 1 - 2δ = -0.5; d/dv': 0.9(1 + 2δ) = 0.54
    torch.testing.assert_close(value.grad, each(-0.5))
    torch.testing.assert_close(after.grad, each(0.54))


def test_the_linear_parts_cancel_under_the_exact_occupancy():
    # a chain of three states that ends: (1-γ)v(s0) + Σ_t (1-γ)γ^t (γ v(s_{t+1}) - v(s_t)) = 0 for any v
    v, gamma = each(0.3, -1.2, 2.0), 0.9
    after, discount = each(-1.2, 2.0, 0.0), each(0.9, 0.9, 0.0)
    delta = primal_dual.advantage(torch.zeros(3), discount, v, after)
    occupancy = (1 - gamma) * each(1.0, gamma, gamma**2)
    total = (occupancy * delta).sum() + (1 - gamma) * v[0]
    assert total.item() == pytest.approx(0, abs=1e-6)


def test_the_primal_dual_policy_loss_carries_no_gradient_into_the_values():
    delta = each(2.0).requires_grad_()
    log_prob = each(-0.5).requires_grad_()
    loss = primal_dual.policy_loss(log_prob, delta)
    torch.testing.assert_close(loss.detach(), each(1.0))
    loss.sum().backward()
    assert delta.grad is None
