"""The area under a learning curve: how good an agent was on the way, by env steps, by updates and by the clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reincarnate.report.aggregates import limited
from reincarnate.report.curves import SECONDS, UPDATES, clocked, position
from reincarnate.report.runs import FinishedRun, Missing, by_env, by_label, is_normalised, unscored
from reincarnate.report.statistics import Interval, iqm, stratified_bootstrap


@dataclass(frozen=True)
class Areas:
    """One method's mean normalised score on `env`: over its own env steps, over `updates`, over `seconds`.

    The last two are spans that all methods of the task share: that of the method that takes most. Each is the
    interquartile mean over seeds; None where a run has no curve, or does not tell its seconds.
    """

    env: str
    method: str
    by_env_steps: Interval | None
    by_updates: Interval | None
    by_seconds: Interval | None
    updates: float
    seconds: float | None


def area(run: FinishedRun) -> float | None:
    """Mean normalised score over the run's online env steps: the area under its curve. None without a curve.

    Linear between evaluations. Before the first online one counts the last offline one, if there was any.
    """
    start = [(0.0, e.normalised) for e in run.evaluations if e.phase == "offline"][-1:]
    online = [(float(e.env_steps), e.normalised) for e in run.evaluations if e.phase != "offline"]
    return _mean(start + online, float(run.env_steps)) if online else None


def area_within(run: FinishedRun, over: str, span: float) -> float | None:
    """Mean normalised score over the first `span` updates or seconds of a run. None without a curve.

    Linear between evaluations; before the first one its score, and after the last one the last: an agent that is done
    stays what it is.
    """
    return _mean([(position(e, over), e.normalised) for e in run.evaluations], span)


def areas(
    runs: Sequence[FinishedRun],
    own: Mapping[tuple[str, str], Interval | None],
    rng: np.random.Generator,
    missing: Sequence[Missing] = (),
) -> list[Areas]:
    """One a method and task whose scores are normalised, the best by the clock first.

    `own` are the table's areas over each method's own env steps, by task and method.
    """
    found = []
    for env, group in by_env(runs).items():
        if is_normalised(group):
            methods = by_label(group)
            updates = _longest(methods, UPDATES)
            seconds = _longest(methods, SECONDS) if clocked(group) else None
            for label, seeds in methods.items():
                lost = unscored(missing, env, label)
                by_updates = _over_seeds(seeds, UPDATES, updates, lost, rng)
                by_seconds = None if seconds is None else _over_seeds(seeds, SECONDS, seconds, lost, rng)
                found.append(Areas(env, label, own.get((env, label)), by_updates, by_seconds, updates, seconds))
    return sorted(found, key=_order)


def _over_seeds(
    runs: Sequence[FinishedRun], over: str, span: float, lost: int, rng: np.random.Generator
) -> Interval | None:
    """Of one method's areas; None where a run has no curve, and without limits where `lost` runs have no score."""
    values = [area_within(run, over, span) for run in runs]
    known = [value for value in values if value is not None]
    return limited(stratified_bootstrap(np.array([known]).T, iqm, rng), lost) if len(known) == len(values) else None


def _order(row: Areas) -> tuple[str, float, str]:
    best = row.by_seconds or row.by_updates or row.by_env_steps
    return (row.env, -best.point if best else np.inf, row.method)


def _longest(methods: dict[str, list[FinishedRun]], over: str) -> float:
    """The span of the method that takes most, the median over its seeds."""
    ends = [[position(run.evaluations[-1], over) for run in own if run.evaluations] for own in methods.values()]
    return max((float(np.median(own)) for own in ends if own), default=0.0)


def _mean(curve: Sequence[tuple[float, float | None]], span: float) -> float | None:
    """The mean height of a line through these points from 0 to `span`, level before the first and after the last."""
    points = {x: score for x, score in curve if score is not None}
    if span <= 0 or not points or len(points) < len({x for x, _ in curve}):
        return None
    known = np.array(sorted(points))
    at = np.array(sorted({0.0, span, *(x for x in points if x < span)}))
    scores = np.interp(at, known, [points[x] for x in known])
    return float(((scores[1:] + scores[:-1]) / 2 * np.diff(at)).sum() / span)
