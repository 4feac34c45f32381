"""Priorities: rows are drawn as often as their weights say, and the sums never drift."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reincarnate.data.priorities import FAN, Priorities
from reincarnate.native import kernels

SIZES = [1, 2, FAN - 1, FAN, FAN + 1, 3 * FAN + 5, FAN**2, FAN**2 + 1, 2 * FAN**2 + FAN + 7]


@pytest.fixture(autouse=True, params=["numpy", "kernels"])
def way(request, monkeypatch):
    """Every test, by NumPy and by compiled kernels."""
    if request.param == "numpy":
        return
    if (compiled := kernels()) is None:
        pytest.skip("needs a C++ compiler")
    plain = Priorities.__init__

    def quick(self, *told):
        plain(self, *told)
        self.quicken(compiled)

    monkeypatch.setattr(Priorities, "__init__", quick)


def sums(level, quick):
    """Of each node's children, in the order in which they are added."""
    return level.cumsum(1)[:, -1] if quick else level.sum(1)


def make(weights, alpha=0.5, beta=0.5):
    """Priorities of these weights."""
    priorities = Priorities(len(weights), alpha, beta)
    priorities.set(np.arange(len(weights)), np.asarray(weights, np.float64))
    return priorities


def exact(priorities, weights):
    """Whether every sum is the sum of its children, bit for bit, and the leaves are these weights."""
    assert np.array_equal(priorities._weights, weights)
    quick = priorities._kernels is not None
    assert np.array_equal(priorities._blocks, sums(priorities._leaves, quick))
    assert np.array_equal(priorities._top, sums(priorities._middle, quick))
    assert priorities.total == pytest.approx(weights.sum(), rel=1e-13)


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("n", [1, 7, 64])
def test_rows_are_drawn_as_often_as_their_weights_say(rows, n):
    rng = np.random.default_rng(rows)
    weights = rng.random(rows) ** 4 * (rng.random(rows) < 0.7)
    weights[-1] = weights.max() + 0.1
    priorities, drawn, total = make(weights), [], 0
    while total < max(4000, 600 * n):
        drawn.append(priorities.draw(n, rng)[0])
        total += n
    expected = total * weights / weights.sum()
    counts = np.bincount(np.concatenate(drawn), minlength=rows)
    assert counts[weights == 0].sum() == 0
    often = expected >= 5
    free = often.sum()  # the rare ones pooled; slices only make counts more even than independent draws
    chi2 = ((counts - expected)[often] ** 2 / expected[often]).sum()
    rest = expected[~often].sum()
    chi2 += (counts[~often].sum() - rest) ** 2 / max(rest, 1)
    assert chi2 < free + 4 * np.sqrt(2 * free)


def test_draws_are_stratified_ordered_and_carry_their_probability():
    weights = np.random.default_rng(0).random(5000)
    priorities = make(weights)
    row, probability = priorities.draw(50, np.random.default_rng(1))
    assert row.dtype == np.int64 and probability.dtype == np.float64
    np.testing.assert_allclose(probability, weights[row] / weights.sum())
    high = np.cumsum(weights)[row] / weights.sum() * 50
    assert (high >= np.arange(50)).all() and (high - probability * 50 <= np.arange(1, 51)).all()
    even = make(np.ones(100))
    assert even.draw(100, np.random.default_rng(2))[0].tolist() == list(range(100))


class Edge:
    """A generator whose uniforms are all one number, as near the edges of [0, 1) as can be."""

    def __init__(self, value):
        self.value = value

    def random(self, n):
        return np.full(n, self.value)


@pytest.mark.parametrize("edge", [0.0, np.nextafter(0, 1), 2.0**-53, 0.5, 1 - 2.0**-53])
@pytest.mark.parametrize("rows", SIZES)
def test_a_row_of_weight_zero_is_never_drawn_at_the_edges(rows, edge):
    rng = np.random.default_rng(rows)
    draw = Priorities.draw
    draw = getattr(draw, "__wrapped__", draw)  # without the check that `rng` is a Generator
    for scale in [1.0, 0.1, 1e-310, 1e300]:
        for share in [0.0, 0.01, 0.5]:
            weights = scale * rng.random(rows) * (rng.random(rows) < share)
            weights[rng.integers(rows)] = scale
            for n in [1, 3, 32, 100]:
                row, _ = draw(make(weights), n, Edge(edge))
                assert (row < rows).all() and (weights[row] > 0).all()


def test_weights_of_very_different_sizes_do_not_lead_to_empty_rows():
    rng = np.random.default_rng(0)
    for _ in range(300):
        weights = 10.0 ** rng.uniform(-30, 30, 3000) * (rng.random(3000) < 0.1)
        weights[7] = 1e-30
        row, probability = make(weights).draw(64, rng)
        assert (weights[row] > 0).all() and (probability > 0).all()


@given(rows=st.sampled_from(SIZES), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sums_are_exact_after_any_operations(rows, seed):
    rng = np.random.default_rng(seed)
    priorities, weights, highest = Priorities(rows, 0.7, 0.4), np.zeros(rows), 1.0
    for _ in range(200):
        at = rng.permutation(rows)[: rng.integers(0, 40)]
        losses = rng.exponential(10.0 ** rng.integers(-8, 8), len(at))
        operation = rng.integers(4)
        if operation == 0:
            priorities.admit(at)
            weights[at] = highest
        elif operation == 1:
            priorities.forget(at)
            weights[at] = 0
        elif operation == 2:
            priorities.set(at, losses)
            weights[at] = losses
        else:
            priorities.learnt(at, losses)
            weights[at] = (losses + 1e-10) ** 0.7
        highest = max(highest, weights.max())
        assert priorities.max_weight == highest
    exact(priorities, weights)


def test_sums_are_exact_after_thousands_of_learning_steps():
    rng, rows = np.random.default_rng(0), 10_000
    priorities = Priorities(rows, 0.5, 0.5)
    priorities.admit(np.arange(rows))
    for step in range(5000):
        row, _ = priorities.draw(32, rng)
        priorities.learnt(row, rng.exponential(10.0 ** (step % 9 - 4), 32).astype(np.float32))  # rows may repeat
        priorities.forget((step * 4 + np.arange(8)) % rows)
        priorities.admit((step * 4 + np.arange(4)) % rows)
    exact(priorities, priorities._weights)
    assert (priorities._weights == 0).sum() >= 4


def test_repeated_rows_leave_the_tree_consistent():
    priorities = make(np.ones(FAN**2 * 2))
    at = np.array([5, 5, FAN, 5, FAN])
    priorities.set(at, np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    exact(priorities, priorities._weights)
    assert priorities._weights[5] in (1, 2, 4) and priorities._weights[FAN] in (3, 5)


def test_new_rows_get_the_largest_weight_so_far():
    priorities = Priorities(10, 0.5, 0.5)
    priorities.admit(np.array([0, 1]))
    assert priorities.total == 2.0 and priorities.max_weight == 1.0
    priorities.learnt(np.array([0]), np.array([0.25]))
    assert priorities.max_weight == 1.0 and priorities.total == pytest.approx(1.5)
    priorities.learnt(np.array([0]), np.array([9.0], np.float32))
    priorities.learnt(np.array([0]), np.array([4.0]))
    priorities.forget(np.array([1]))
    priorities.admit(np.array([2]))
    assert priorities.max_weight == pytest.approx(3.0) and priorities.total == pytest.approx(5.0)


def test_importance_weights_by_hand():
    half = make([1.0, 4.0, 16.0])
    weight = half.importance(np.array([1, 4, 16]) / 21)
    assert weight.dtype == np.float32
    np.testing.assert_allclose(weight, [1, 1 / 2, 1 / 4], rtol=1e-6)
    np.testing.assert_allclose(half.importance(np.array([4, 16]) / 21), [1, 1 / 2], rtol=1e-6)  # over this batch
    general = make([1.0, 8.0], alpha=0.6, beta=1 / 3)
    np.testing.assert_allclose(general.importance(np.array([8 / 9, 1 / 9])), [1 / 2, 1], rtol=1e-6)
    general.learnt(np.array([0, 1]), np.array([32.0, 0.0]))
    np.testing.assert_allclose(general._weights, [8.0, 1e-6], rtol=1e-6)  # 32^0.6, (1e-10)^0.6
    general.beta = 1.0
    np.testing.assert_allclose(general.importance(np.array([0.5, 0.125])), [0.25, 1], rtol=1e-6)


def test_alpha_zero_is_uniform():
    priorities = Priorities(4, 0.0, 0.5)
    priorities.learnt(np.arange(4), np.array([0.0, 1.0, 10.0, 1e6]))
    assert (priorities._weights == 1).all()


def test_a_restored_table_draws_identically():
    rng = np.random.default_rng(0)
    priorities, copy = Priorities(9000, 0.5, 0.5), Priorities(9000, 0.5, 0.5)
    priorities.admit(np.arange(8000))
    for _ in range(300):
        priorities.learnt(rng.integers(8000, size=32), 100 * rng.random(32))
    state = priorities.state()
    copy.restore(state)
    copy.forget(np.arange(9000))
    assert priorities.total > 0 and state["weights"].any()  # nothing is shared
    copy.restore(state)
    kept = state["weights"].copy()
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    for _ in range(50):
        (row, p), (row_, p_) = priorities.draw(32, one), copy.draw(32, two)
        assert np.array_equal(row, row_) and np.array_equal(p, p_)
        for each in (priorities, copy):
            each.learnt(row, p * 1e4)
            each.admit(row[:4])
    assert priorities.max_weight == copy.max_weight and np.array_equal(state["weights"], kept)
    with pytest.raises(ValueError, match="9000 weights for a table of 8999 rows"):
        Priorities(8999, 0.5, 0.5).restore(state)


def test_an_empty_table_says_so():
    priorities = Priorities(5000, 0.5, 0.5)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="nothing to sample yet"):
        priorities.draw(4, rng)
    priorities.admit(np.array([4999]))
    assert priorities.draw(4, rng)[0].tolist() == [4999] * 4
    priorities.forget(np.array([4999]))
    with pytest.raises(ValueError, match="nothing to sample yet"):
        priorities.draw(4, rng)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_a_diverged_loss_is_refused_before_it_spoils_the_sums(bad):
    priorities = make(np.ones(5000), alpha=1.0)
    with pytest.raises(ValueError, match="negative or not finite"):
        priorities.learnt(np.array([1, 2, 3]), np.array([1.0, bad, 1.0]))
    exact(priorities, np.ones(5000))
    with pytest.raises(IndexError):
        priorities.admit(np.array([5000]))
