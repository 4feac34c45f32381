"""Value distributions against numbers worked by hand and a loop over atoms."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx

from reincarnate.losses import distributions

ATOMS = distributions.support(-1.0, 1.0, 5)  # -1, -0.5, 0, 0.5, 1


def by_loop(probabilities, reward, discount, support):
    """Algorithm 1 of Bellemare et al., with the mass of an atom that lands on the grid kept."""
    low, high, last = support[0], support[-1], len(support) - 1
    projected = [0.0] * len(support)
    for p, z in zip(probabilities, support, strict=True):
        b = (min(max(reward + discount * z, low), high) - low) / ((high - low) / last)
        lower, upper = max(math.floor(b), 0), min(math.ceil(b), last)
        if lower >= upper:
            projected[min(lower, last)] += p
        else:
            projected[lower] += p * (upper - b)
            projected[upper] += p * (b - lower)
    return projected


def on(*probabilities):
    return torch.tensor([probabilities])


# ---- on a fixed grid of atoms ---------------------------------------------------------------------


def test_the_support_holds_both_ends():
    torch.testing.assert_close(ATOMS, torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]), rtol=0, atol=0)


def test_the_categorical_mean_by_hand():
    # softmax(ln 3, 0) = (3/4, 1/4) on atoms -1, 1: -1/2; uniform: 0
    logits = torch.tensor([[[math.log(3), 0.0], [5.0, 5.0]]])
    torch.testing.assert_close(distributions.categorical_mean(logits, torch.tensor([-1.0, 1.0])), on(-0.5, 0.0))


@given(
    low=st.floats(-20, 20),
    width=st.floats(0.5, 40),
    atoms=st.integers(2, 60),
    reward=st.lists(st.floats(-30, 30), min_size=3, max_size=3),
    discount=st.lists(st.sampled_from([0.0, 1.0]) | st.floats(0, 1), min_size=3, max_size=3),
    seed=st.integers(0, 1000),
)
def test_the_projection_is_that_of_a_loop_over_atoms(low, width, atoms, reward, discount, seed):
    support = torch.linspace(low, low + width, atoms, dtype=torch.float64)
    p = torch.randn(3, atoms, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)
    r, g = torch.tensor(reward, dtype=torch.float64), torch.tensor(discount, dtype=torch.float64)
    projected = distributions.project(p, r, g, support)
    expected = [by_loop(p[i].tolist(), reward[i], discount[i], support.tolist()) for i in range(3)]
    torch.testing.assert_close(projected, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)
    position = torch.rand(3, atoms, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * (atoms - 1)
    by_sums = distributions._by_sums(p, position, atoms)  # as on a GPU
    torch.testing.assert_close(distributions._by_scattering(p, position, atoms), by_sums, rtol=0, atol=1e-12)
    single = distributions.project(p.float(), r.float(), g.float(), support.float())
    torch.testing.assert_close(single.sum(-1), torch.ones(3), rtol=0, atol=1e-5)
    assert single.min() >= 0


def test_the_projection_keeps_the_mass_of_atoms_that_land_on_the_grid():
    p = on(0.1, 0.2, 0.3, 0.4, 0.0)
    same = distributions.project(p, torch.zeros(1), torch.ones(1), ATOMS)
    torch.testing.assert_close(same, p, rtol=0, atol=0)
    up = distributions.project(p, torch.tensor([0.5]), torch.ones(1), ATOMS)
    torch.testing.assert_close(up, on(0.0, 0.1, 0.2, 0.3, 0.4), rtol=0, atol=0)


def test_the_projection_shares_an_atom_between_its_neighbours_by_hand():
    # z = 0 moves to 0.125: three quarters stay, a quarter goes to 0.5
    moved = distributions.project(on(0.0, 0.0, 1.0, 0.0, 0.0), torch.tensor([0.125]), torch.ones(1), ATOMS)
    torch.testing.assert_close(moved, on(0.0, 0.0, 0.75, 0.25, 0.0))


@pytest.mark.parametrize(("reward", "end"), [(100.0, 4), (-100.0, 0)])
@pytest.mark.parametrize("discount", [0.0, 0.9])
def test_the_projection_puts_on_the_end_what_lies_beyond_it(reward, end, discount):
    p = torch.full((1, 5), 0.2)
    projected = distributions.project(p, torch.tensor([reward]), torch.tensor([discount]), ATOMS)
    torch.testing.assert_close(projected, torch.eye(5)[None, end])


def test_after_a_termination_the_projection_is_the_reward_alone():
    p = torch.tensor([[0.5, 0.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.0, 0.0]])
    reward = torch.tensor([0.75, 0.75])
    projected = distributions.project(p, reward, torch.zeros(2), ATOMS)
    torch.testing.assert_close(projected, on(0.0, 0.0, 0.0, 0.5, 0.5).expand(2, -1))
    torch.testing.assert_close(projected, distributions.two_hot(reward, ATOMS))


def test_two_hot_has_the_value_for_its_mean_within_the_support_and_its_end_beyond():
    value = torch.cat([torch.linspace(-1, 1, 101), torch.tensor([-3.0, 7.0])])
    target = distributions.two_hot(value, ATOMS)
    torch.testing.assert_close((target * ATOMS).sum(-1), value.clamp(-1, 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(target.sum(-1), torch.ones(103), rtol=0, atol=1e-6)
    assert ((target > 0).sum(-1) <= 2).all()


def test_two_hot_by_hand():
    torch.testing.assert_close(distributions.two_hot(torch.tensor([-0.6]), ATOMS), on(0.2, 0.8, 0.0, 0.0, 0.0))


def test_hl_gauss_by_hand():
    # edges -1.25, -0.75, -0.25, 0.25, 0.75, 1.25
    value, sigma = 0.3, 0.4
    cdf = [
        0.5 * (1 + math.erf((edge - value) / (sigma * math.sqrt(2))))
        for edge in (-1.25, -0.75, -0.25, 0.25, 0.75, 1.25)
    ]
    expected = [(b - a) / (cdf[-1] - cdf[0]) for a, b in itertools.pairwise(cdf)]
    torch.testing.assert_close(distributions.hl_gauss(torch.tensor([value]), ATOMS, sigma), torch.tensor([expected]))


def test_hl_gauss_puts_the_probability_within_half_a_step_on_the_middle_bin():
    # σ = Δ = 0.5: P(|x| < 1/2 σ) over P(|x| < 5/2 σ)
    middle = math.erf(0.5 / math.sqrt(2)) / math.erf(2.5 / math.sqrt(2))
    assert distributions.hl_gauss(torch.zeros(1), ATOMS, 0.5)[0, 2].item() == pytest.approx(middle, rel=1e-5)


def test_the_mean_of_hl_gauss_is_the_value_in_the_interior():
    support = distributions.support(-10.0, 10.0, 51)
    value = torch.linspace(-8, 8, 200)
    target = distributions.hl_gauss(value, support, 0.75 * 0.4)
    torch.testing.assert_close((target * support).sum(-1), value, rtol=0, atol=1e-3)


def test_hl_gauss_sums_to_one_and_clips_values_to_the_support():
    value = torch.tensor([-1e6, -1.0, 0.1, 1.0, 1e6])
    target = distributions.hl_gauss(value, ATOMS, 0.05)
    torch.testing.assert_close(target.sum(-1), torch.ones(5))
    torch.testing.assert_close(target[[0, 4]], target[[1, 3]], rtol=0, atol=0)
    torch.testing.assert_close(target[4], target[0].flip(0))


def test_the_cross_entropy_by_hand():
    # softmax (3/4, 1/4): -(1/2 ln 3/4 + 1/2 ln 1/4)
    loss = distributions.categorical_cross_entropy(on(math.log(3), 0.0), on(0.5, 0.5))
    torch.testing.assert_close(loss, torch.tensor([-0.5 * math.log(0.75) - 0.5 * math.log(0.25)]))


# ---- by quantiles ---------------------------------------------------------------------------------


def test_midpoints_by_hand():
    torch.testing.assert_close(distributions.midpoints(4), torch.tensor([0.125, 0.375, 0.625, 0.875]))


def test_the_cosine_embedding_by_hand():
    # τ = 1/2: cos 0, cos π/2, cos π; τ = 1/3: cos 0, cos π/3, cos 2π/3
    embedding = distributions.cosine_embedding(torch.tensor([[1 / 2, 1 / 3]]), 3)
    torch.testing.assert_close(embedding, torch.tensor([[[1.0, 0.0, -1.0], [1.0, 0.5, -0.5]]]))


PREDICTIONS, FRACTIONS, TARGETS = on(0.0, 2.0), on(0.25, 0.75), on(0.5, 3.0, -1.0)


@pytest.mark.parametrize(
    ("kappa", "expected"),
    [
        # u of prediction 0 (τ 1/4): 0.5, 3, -1; weights 1/4, 1/4, 3/4. Of prediction 2 (τ 3/4): -1.5, 1, -3; weights 1/4, 3/4, 1/4
        # Huber, κ 1: 0.125, 2.5, 0.5 and 1, 0.5, 2.5
        (1.0, (0.25 * 0.125 + 0.25 * 2.5 + 0.75 * 0.5) / 3 + (0.25 * 1 + 0.75 * 0.5 + 0.25 * 2.5) / 3),
        # |u|
        (0.0, (0.25 * 0.5 + 0.25 * 3 + 0.75 * 1) / 3 + (0.25 * 1.5 + 0.75 * 1 + 0.25 * 3) / 3),
        # Huber over κ, κ 2: (0.125, 4, 0.5)/2 and (1.125, 0.5, 4)/2
        (2.0, (0.25 * 0.125 + 0.25 * 4 + 0.75 * 0.5) / 6 + (0.25 * 1.125 + 0.75 * 0.5 + 0.25 * 4) / 6),
    ],
)
def test_quantile_huber_by_hand(kappa, expected):
    loss = distributions.quantile_huber(PREDICTIONS, FRACTIONS, TARGETS, kappa)
    torch.testing.assert_close(loss, torch.tensor([expected]))


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
def test_the_gradient_of_quantile_huber_is_that_of_its_formula(kappa):
    random = torch.Generator().manual_seed(0)
    predictions, fractions, targets = (torch.rand(4, n, generator=random, dtype=torch.float64) for n in (5, 5, 6))
    predictions = (4 * predictions - 2).requires_grad_()

    def formula(x):
        error = targets[:, None, :] - x[:, :, None]
        huber = torch.where(error.abs() <= kappa, error**2 / 2, kappa * (error.abs() - kappa / 2)) / (kappa or 1)
        weight = (fractions[:, :, None] - (error < 0).double()).abs()
        return (weight * (huber if kappa else error.abs())).mean(2).sum(1)

    def ours(x):
        return distributions.quantile_huber(x, fractions, targets, kappa)

    torch.testing.assert_close(ours(predictions), formula(predictions))
    weights = torch.arange(4.0)
    gradients = [torch.autograd.grad((weights * loss(predictions)).sum(), predictions)[0] for loss in (ours, formula)]
    torch.testing.assert_close(*gradients)


def test_quantile_huber_at_a_small_kappa_nears_the_plain_quantile_loss():
    near = distributions.quantile_huber(PREDICTIONS, FRACTIONS, TARGETS, 1e-5)
    torch.testing.assert_close(
        near, distributions.quantile_huber(PREDICTIONS, FRACTIONS, TARGETS, 0.0), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("kappa", [0.0, 1.0])
def test_a_high_quantile_pays_more_for_being_too_low(kappa):
    fraction, prediction = on(0.9), on(0.0)
    too_low = distributions.quantile_huber(prediction, fraction, on(2.0), kappa)
    too_high = distributions.quantile_huber(prediction, fraction, on(-2.0), kappa)
    torch.testing.assert_close(too_low, 9 * too_high)


def test_quantile_huber_sums_over_predictions_and_averages_over_targets():
    one = distributions.quantile_huber(PREDICTIONS, FRACTIONS, TARGETS, 1.0)
    wide = distributions.quantile_huber(PREDICTIONS.repeat(1, 3), FRACTIONS.repeat(1, 3), TARGETS.repeat(1, 5), 1.0)
    torch.testing.assert_close(wide, 3 * one)


def test_the_minimum_of_the_quantile_loss_is_the_quantiles_of_the_targets():
    targets = torch.arange(100.0)[None]
    predictions = torch.zeros(1, 4, requires_grad=True)
    optimiser = torch.optim.SGD([predictions], lr=2.0)
    for _ in range(500):
        optimiser.zero_grad()
        distributions.quantile_huber(predictions, distributions.midpoints(4)[None], targets, 0.0).sum().backward()
        optimiser.step()
    torch.testing.assert_close(predictions.detach(), on(12.0, 37.0, 62.0, 87.0), rtol=0, atol=2.0)


# ---- gradients and tracing ------------------------------------------------------------------------


def test_the_targets_carry_no_gradient():
    value = torch.tensor([0.2], requires_grad=True)
    p = torch.full((1, 5), 0.2, requires_grad=True)
    assert not distributions.project(p, value, value, ATOMS).requires_grad
    assert not distributions.two_hot(value, ATOMS).requires_grad
    assert not distributions.hl_gauss(value, ATOMS, 0.3).requires_grad


@pytest.mark.parametrize("kappa", [0.0, 1.0])
def test_no_gradient_flows_into_the_targets_of_a_loss(kappa):
    logits, target = torch.zeros(1, 5, requires_grad=True), torch.full((1, 5), 0.2, requires_grad=True)
    distributions.categorical_cross_entropy(logits, target).sum().backward()
    assert target.grad is None and logits.grad is not None
    predictions, fractions, targets = (x.clone().requires_grad_() for x in (PREDICTIONS, FRACTIONS, TARGETS))
    distributions.quantile_huber(predictions, fractions, targets, kappa).sum().backward()
    assert targets.grad is None and fractions.grad is None and predictions.grad is not None


def test_the_gradient_of_the_cross_entropy_is_the_difference_of_distributions():
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = distributions.two_hot(torch.tensor([-1.0, 0.1, 0.6, 2.0]), ATOMS)
    distributions.categorical_cross_entropy(logits, target).sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - target)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: distributions.categorical_mean(x[:, None], ATOMS),
        lambda x: distributions.project(x.softmax(-1), x[:, 0], x[:, 1].sigmoid(), ATOMS),
        lambda x: distributions.two_hot(x[:, 0], ATOMS),
        lambda x: distributions.hl_gauss(x[:, 0], ATOMS, 0.3),
        lambda x: distributions.categorical_cross_entropy(x, x.softmax(-1)),
        lambda x: distributions.cosine_embedding(x, 3),
        lambda x: distributions.quantile_huber(x, x.sigmoid(), x[:, :3], 1.0),
        lambda x: distributions.quantile_huber(x, x.sigmoid(), x[:, :3], 0.0),
    ],
)
def test_a_trace_holds_for_other_inputs(f):
    first, second = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    untouched = second.clone()
    torch.testing.assert_close(make_fx(f)(first)(second), f(second))
    torch.testing.assert_close(second, untouched, rtol=0, atol=0)
