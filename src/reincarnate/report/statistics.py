"""Aggregate scores and their uncertainty: functions of arrays, every bootstrap with the caller's generator.

The estimators and the stratified bootstrap are those of Agarwal et al., "Deep Reinforcement Learning at the
Edge of the Statistical Precipice" (2021), whose own library is rliable. Different here: resampling is
vectorised, and it really uses the generator that is passed in.

A score matrix is `[runs, tasks]`. Every statistic also takes `[..., runs, tasks]`; it keeps the leading axes.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import overload

import numpy as np

REPS = 2000
LEVEL = 0.95
_BLOCK = 4_000_000  # resampled scores held in memory at once

Aggregate = np.ndarray | np.floating  # of one matrix, a number
Statistic = Callable[..., Aggregate]


@dataclass(frozen=True)
class Interval:
    """A point estimate and its confidence limits; or None for both, and `reason` says why."""

    point: float
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def known(self) -> bool:
        """There are limits."""
        return self.low is not None and self.high is not None

    def scaled(self, zero: float, one: float) -> "Interval":
        """The same interval where `zero` counts as 0 and `one` as 1. Raises ValueError if they are equal."""
        if zero == one:
            raise ValueError("cannot scale scores: zero and one are the same score")
        point, low, high = (None if x is None else (x - zero) / (one - zero) for x in (self.point, self.low, self.high))
        if low is not None and high is not None and low > high:
            low, high = high, low
        return Interval(float(point or 0.0), low, high, self.reason)


def iqm(scores: np.ndarray) -> Aggregate:
    """Interquartile mean `[...]`: the mean of all scores but the lowest and the highest quarter.

    As in rliable (and `scipy.stats.trim_mean`), floor(n / 4) scores are cut on each side.
    """
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(-1)


def mean(scores: np.ndarray) -> Aggregate:
    """Mean over tasks of the mean over runs `[...]`."""
    return scores.mean(-2).mean(-1)


def median(scores: np.ndarray) -> Aggregate:
    """Median over tasks of the mean over runs `[...]`."""
    return np.median(scores.mean(-2), axis=-1)


def optimality_gap(scores: np.ndarray, target: float = 1.0) -> Aggregate:
    """By how much scores miss `target` on average `[...]`; scores above it count as reaching it."""
    return target - np.minimum(scores, target).mean((-2, -1))


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> Aggregate:
    """How likely a run drawn from `x` beats one drawn from `y` on the same task, averaged over tasks `[...]`.

    `x: [..., runs_x, tasks]`, `y: [..., runs_y, tasks]`; a tie is one half (Mann and Whitney's U / nm).
    """
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"x has {x.shape[-1]} tasks and y {y.shape[-1]}; they must be the same")
    difference = x[..., :, None, :] - y[..., None, :, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean((-3, -2, -1))


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The share of runs, over all tasks, that score above each threshold `[..., thresholds]`."""
    return np.stack([(scores > threshold).mean((-2, -1)) for threshold in thresholds], -1)


@overload
def stratified_bootstrap(
    scores: Mapping[str, np.ndarray],
    statistic: Statistic,
    rng: np.random.Generator,
    reps: int = REPS,
    level: float = LEVEL,
) -> dict[str, Interval]: ...
@overload
def stratified_bootstrap(
    scores: np.ndarray | tuple[np.ndarray, ...],
    statistic: Statistic,
    rng: np.random.Generator,
    reps: int = REPS,
    level: float = LEVEL,
) -> Interval: ...
def stratified_bootstrap(
    scores: Mapping[str, np.ndarray] | np.ndarray | tuple[np.ndarray, ...],
    statistic: Statistic,
    rng: np.random.Generator,
    reps: int = REPS,
    level: float = LEVEL,
) -> dict[str, Interval] | Interval:
    """Percentile interval of `statistic` from resampling the runs of each task with replacement.

    `scores` is one matrix `[runs, tasks]`; a tuple of matrices that `statistic` takes together, each
    resampled on its own; or a mapping of matrices by name, which gives an interval by name. With a single run
    there is nothing to resample: no limits. `rng` is left as it was: equal scores have equal limits, whatever was
    computed before. Raises ValueError for other shapes, for none, and for NaN.
    """
    if isinstance(scores, Mapping):
        return {name: stratified_bootstrap(x, statistic, rng, reps, level) for name, x in scores.items()}
    matrices = tuple(_checked(x) for x in (scores if isinstance(scores, tuple) else (scores,)))
    point = float(statistic(*matrices))
    if min(len(x) for x in matrices) < 2:
        return Interval(point, reason="a single run has no interval")
    draws = _draws(matrices, statistic, rng, reps)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(point, float(low), float(high))


def profile_band(
    scores: np.ndarray, thresholds: np.ndarray, rng: np.random.Generator, reps: int = REPS, level: float = LEVEL
) -> np.ndarray | None:
    """Percentile limits of the performance profile, threshold by threshold `[2, thresholds]`; None for one run."""
    matrix = _checked(scores)
    if len(matrix) < 2:
        return None
    draws = _draws((matrix,), lambda x: performance_profile(x, thresholds), rng, reps)
    return np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)


def mean_interval(returns: np.ndarray, rng: np.random.Generator, reps: int = REPS, level: float = LEVEL) -> Interval:
    """Mean of one agent's returns `[episodes]`, with the percentile interval from resampling episodes."""
    interval = stratified_bootstrap(np.asarray(returns, float)[:, None], mean, rng, reps, level)
    return interval if interval.known else Interval(interval.point, reason="a single episode has no interval")


def _draws(matrices: tuple[np.ndarray, ...], statistic: Statistic, rng: np.random.Generator, reps: int) -> np.ndarray:
    """`statistic` of `reps` resamples, in blocks of bounded size. -> `[reps]`."""
    rng = copy.deepcopy(rng)
    block = max(1, _BLOCK // sum(x.size for x in matrices))
    sizes = [min(block, reps - start) for start in range(0, reps, block)]
    return np.concatenate([np.asarray(statistic(*(_resample(x, n, rng) for x in matrices))) for n in sizes])


def _resample(scores: np.ndarray, reps: int, rng: np.random.Generator) -> np.ndarray:
    """Each task's runs drawn anew, independently of the other tasks. -> `[reps, runs, tasks]`."""
    runs, tasks = scores.shape
    return scores[rng.integers(runs, size=(reps, runs, tasks)), np.arange(tasks)]


def _checked(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"scores must be a matrix [runs, tasks] with something in it, not of shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity")
    return scores
