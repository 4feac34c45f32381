"""Aggregates and intervals equal those of rliable, and of numbers worked by hand."""

import importlib
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reincarnate.report.statistics import (
    Interval,
    iqm,
    mean,
    mean_interval,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    profile_band,
    stratified_bootstrap,
)

STATISTICS = {iqm: "iqm", mean: "mean", median: "median", optimality_gap: "optimality_gap"}
MATRICES = hnp.arrays(float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.floats(-9, 9))


def rliable(module: str):
    """A module of rliable, whose dependencies may warn as they are imported."""
    pytest.importorskip("rliable")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        return importlib.import_module(f"rliable.{module}")


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 1), (5, 3), (4, 4), (7, 26)])
@pytest.mark.parametrize("ours, theirs", STATISTICS.items())
def test_points_equal_those_of_rliable(ours, theirs, shape):
    scores = np.random.default_rng(0).normal(1, 2, (50, *shape))
    expected = [getattr(rliable("metrics"), f"aggregate_{theirs}")(x) for x in scores]
    np.testing.assert_allclose(ours(scores), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("x_runs, y_runs", [(5, 5), (3, 8), (2, 1)])
def test_the_probability_of_improvement_equals_that_of_rliable(x_runs, y_runs):
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 6, (x_runs, 4)) / 2, rng.integers(0, 6, (y_runs, 4)) / 2  # with ties
        expected = rliable("metrics").probability_of_improvement(x, y)
        assert probability_of_improvement(x, y) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("ours, theirs", STATISTICS.items())
def test_intervals_agree_with_those_of_rliable(ours, theirs):
    scores = np.random.default_rng(1).normal(1, 0.5, (10, 5))
    aggregate = getattr(rliable("metrics"), f"aggregate_{theirs}")
    np.random.seed(0)  # rliable draws from the global generator, whatever it is passed
    _, limits = rliable("library").get_interval_estimates({"a": scores}, lambda x: np.array([aggregate(x)]), reps=4000)
    got = stratified_bootstrap(scores, ours, np.random.default_rng(0), reps=40_000)
    width = limits["a"][1, 0] - limits["a"][0, 0]
    np.testing.assert_allclose([got.low, got.high], limits["a"][:, 0], atol=0.06 * width)


def test_the_iqm_worked_by_hand():
    assert iqm(np.array([[9.0, 1.0], [2.0, 3.0], [4.0, 100.0], [-50.0, 5.0]])) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert iqm(np.array([[1.0], [2.0], [6.0]])) == 3.0  # too few to cut any
    assert iqm(np.array([[1.0], [2.0], [4.0], [90.0], [-90.0]])) == pytest.approx(7 / 3)


def test_the_other_statistics_worked_by_hand():
    scores = np.array([[0.0, 1.0, 4.0], [1.0, 1.0, 2.0]])
    assert mean(scores) == pytest.approx(1.5) and median(scores) == 1.0
    assert optimality_gap(scores) == pytest.approx(1 / 6)
    assert probability_of_improvement(np.array([[1.0], [3.0]]), np.array([[1.0], [2.0]])) == pytest.approx(0.625)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (7, 26)])
def test_the_performance_profile_equals_that_of_rliable(shape):
    scores, thresholds = np.random.default_rng(0).integers(0, 9, shape) / 4, np.linspace(-0.25, 2.5, 12)
    expected = [rliable("library").run_score_deviation(scores, x) for x in thresholds]
    np.testing.assert_allclose(performance_profile(scores, thresholds), expected, atol=1e-12)


def test_a_profile_has_a_band_around_it_and_a_single_run_none():
    scores, thresholds = np.random.default_rng(0).normal(size=(5, 3)), np.linspace(-2, 2, 9)
    low, high = profile_band(scores, thresholds, np.random.default_rng(0))
    share = performance_profile(scores, thresholds)
    assert (low <= share).all() and (share <= high).all() and (low < high).any()
    assert profile_band(scores[:1], thresholds, np.random.default_rng(0)) is None


def test_one_generator_seed_gives_one_interval():
    scores = np.random.default_rng(0).normal(size=(5, 3))
    first, again, other = (stratified_bootstrap(scores, iqm, np.random.default_rng(s)) for s in (7, 7, 8))
    assert first == again != other


def test_an_interval_does_not_depend_on_those_computed_before_it():
    scores, rng = np.random.default_rng(0).normal(size=(5, 3)), np.random.default_rng(7)
    alone = stratified_bootstrap(scores, iqm, rng)
    stratified_bootstrap(scores + 1, mean, rng)
    assert stratified_bootstrap(scores, iqm, rng) == alone


def test_the_global_generator_is_left_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    stratified_bootstrap(np.arange(6.0).reshape(3, 2), iqm, np.random.default_rng(0))
    assert (np.random.get_state()[1] == before).all()


def test_resampling_stays_within_tasks():
    scores = np.array([[0.0, 1000.0], [0.0, 1000.0], [0.0, 1000.0]])
    interval = stratified_bootstrap(scores, mean, np.random.default_rng(0))
    assert (interval.low, interval.point, interval.high) == (500.0, 500.0, 500.0)


def test_large_requests_are_drawn_in_blocks():
    scores = np.random.default_rng(0).normal(size=(50, 60))
    interval = stratified_bootstrap(scores, mean, np.random.default_rng(0), reps=3000)
    assert interval.low < interval.point < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / np.sqrt(scores.size), rel=0.1)


def test_a_pair_of_matrices_is_resampled_each_on_its_own():
    x, y = np.array([[1.0], [2.0], [3.0]]), np.array([[0.0], [2.5]])
    interval = stratified_bootstrap((x, y), probability_of_improvement, np.random.default_rng(0))
    assert interval.point == pytest.approx(4 / 6) and interval.low == 0.0 and interval.high == 1.0


def test_a_mapping_gives_an_interval_by_name():
    scores = {"a": np.ones((3, 1)), "b": np.zeros((1, 1))}
    got = stratified_bootstrap(scores, iqm, np.random.default_rng(0))
    assert got["a"] == Interval(1.0, 1.0, 1.0)
    assert not got["b"].known and got["b"].reason == "a single run has no interval"


@pytest.mark.parametrize("bad", [np.ones(3), np.ones((0, 2)), np.array([[np.nan], [1.0]])])
def test_what_is_no_matrix_of_scores_is_refused(bad):
    with pytest.raises(ValueError, match="scores"):
        stratified_bootstrap(bad, iqm, np.random.default_rng(0))


def test_episodes_have_a_mean_with_an_interval():
    returns = np.random.default_rng(0).normal(10, 3, 400)
    interval = mean_interval(returns, np.random.default_rng(0))
    assert interval.point == pytest.approx(returns.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 3 / 20, rel=0.1)
    assert mean_interval(returns[:1], np.random.default_rng(0)).reason == "a single episode has no interval"


def test_a_scale_turned_round_keeps_low_below_high():
    assert Interval(1.0, 0.0, 3.0).scaled(2.0, 1.0) == Interval(1.0, -1.0, 2.0)
    with pytest.raises(ValueError, match="same score"):
        Interval(1.0).scaled(2.0, 2.0)


@given(MATRICES, st.floats(-5, 5), st.floats(0.1, 5))
def test_iqm_mean_and_median_move_and_stretch_with_the_scores(scores, shift, stretch):
    for statistic in (iqm, mean, median):
        np.testing.assert_allclose(statistic(scores * stretch + shift), statistic(scores) * stretch + shift, atol=1e-9)


@given(MATRICES)
def test_no_aggregate_leaves_the_range_of_the_scores(scores):
    for statistic in (iqm, mean, median):
        assert scores.min() - 1e-9 <= statistic(scores) <= scores.max() + 1e-9


@given(MATRICES)
def test_improvement_over_oneself_is_even_and_over_the_worse_certain(scores):
    assert probability_of_improvement(scores, scores) == pytest.approx(0.5)
    assert probability_of_improvement(scores + 100, scores) == 1.0


@settings(max_examples=30)
@given(hnp.arrays(float, (4, 2), elements=st.floats(-9, 9)), st.floats(-5, 5))
def test_intervals_move_with_the_scores(scores, shift):
    here = stratified_bootstrap(scores, iqm, np.random.default_rng(0), reps=200)
    there = stratified_bootstrap(scores + shift, iqm, np.random.default_rng(0), reps=200)
    np.testing.assert_allclose(
        [there.point, there.low, there.high], np.array([here.point, here.low, here.high]) + shift, atol=1e-9
    )
