"""Every aggregate with its interval, on each task and over all: IQM, mean, median, optimality gap, improvement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reincarnate.report.runs import FinishedRun, Missing, by_env, by_label, is_normalised, unscored
from reincarnate.report.statistics import (
    Interval,
    iqm,
    mean,
    median,
    optimality_gap,
    probability_of_improvement,
    stratified_bootstrap,
)

BASELINE = "scratch"


@dataclass(frozen=True)
class Aggregates:
    """One method's aggregates on `scope`, a task or all. `gap` is None where scores are raw, without a target.

    `improvement` is the probability that a run of the method beats one of `over`, the baseline; None for itself.
    """

    scope: str
    method: str
    iqm: Interval
    mean: Interval
    median: Interval
    gap: Interval | None
    over: str
    improvement: Interval | None


def matrices(runs: Sequence[FinishedRun]) -> dict[str, dict[str, np.ndarray]]:
    """Final scores `[runs, tasks]` of each method, by scope: each task and, with several, all.

    Normalised where all runs of the scope are; over all tasks only then, and only methods with equally many runs on
    each. Methods in alphabetical order.
    """
    envs = by_env(runs)
    scopes = {env: {k: np.array([_scores(own, group)]).T for k, own in by_label(group).items()}
              for env, group in envs.items()}  # fmt: skip
    if len(envs) > 1 and all(map(is_normalised, envs.values())):
        columns = {label: [scopes[env].get(label) for env in envs] for label in by_label(runs)}
        scopes[over_all(len(envs))] = {
            label: np.concatenate(own, 1)  # pyright: ignore
            for label, own in columns.items()
            if len({-1 if x is None else len(x) for x in own}) == 1
        }
    return scopes


def over_all(tasks: int) -> str:
    """The name of the scope of all tasks."""
    return f"all {tasks} tasks"


def _scores(runs: list[FinishedRun], group: list[FinishedRun]) -> list[float]:
    normalised = is_normalised(group)
    return [run.normalised if normalised and run.normalised is not None else run.score for run in runs]


def aggregate(
    runs: Sequence[FinishedRun], rng: np.random.Generator, missing: Sequence[Missing] = ()
) -> list[Aggregates]:
    """All aggregates, best first within each scope. Where a run ended without a score there are no limits."""
    envs, found = by_env(runs), []
    for scope, methods in matrices(runs).items():
        normalised, baseline = is_normalised(envs.get(scope, runs)), _baseline(methods)
        tasks = [scope] if scope in envs else list(envs)
        lost = {label: sum(unscored(missing, env, label) for env in tasks) for label in methods}
        rows = [_row(scope, label, methods, baseline, normalised, rng, lost) for label in methods]
        found += sorted(rows, key=lambda row: -row.iqm.point)
    return found


def _baseline(methods: dict[str, np.ndarray]) -> str:
    """Learning from scratch, else the method with the lowest mean."""
    return BASELINE if BASELINE in methods else min(methods, key=lambda label: float(mean(methods[label])), default="")


def _row(
    scope: str,
    label: str,
    methods: dict[str, np.ndarray],
    baseline: str,
    normalised: bool,
    rng: np.random.Generator,
    lost: dict[str, int],
) -> Aggregates:
    def of(statistic: Callable[..., np.ndarray | np.floating], *others: str) -> Interval:
        names = (label, *others)
        scores = tuple(methods[name] for name in names)
        return limited(stratified_bootstrap(scores, statistic, rng), sum(lost[name] for name in names))

    return Aggregates(
        scope=scope,
        method=label,
        iqm=of(iqm),
        mean=of(mean),
        median=of(median),
        gap=of(optimality_gap) if normalised else None,
        over=baseline,
        improvement=None if label == baseline else of(probability_of_improvement, baseline),
    )


def limited(interval: Interval, lost: int) -> Interval:
    """The interval; without limits where `lost` runs ended without a score."""
    return Interval(interval.point, reason=f"{lost} without a finite score") if lost else interval
