"""The numbers of every plot: methods' scores by env steps, by updates, and the shares of runs above a score."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reincarnate.report.aggregates import matrices, over_all
from reincarnate.report.runs import Evaluation, FinishedRun, by_env, by_label, is_normalised, references
from reincarnate.report.statistics import (
    Interval,
    iqm,
    performance_profile,
    profile_band,
    stratified_bootstrap,
)
from reincarnate.report.wording import short

ENV_STEPS, UPDATES, SECONDS = "env steps", "updates, offline ones included", "seconds, evaluations included"
"""What a curve may run over."""
MOST = 6  # methods that one panel can hold; more are drawn a panel each, the others grey behind it
FULL, FEW = 5, 2  # ticks of a panel, and of a small one
POINTS = 101  # thresholds of a profile
_OFFLINE_SHARE = 0.34  # the offline stretch's width, where the online one's is 1
_MARGIN = 0.04  # above and below the curves, of their span


@dataclass(frozen=True)
class Curve:
    """A method's line: positions, values, and the ends of their 95 % intervals where there are any, all `[points]`."""

    label: str
    x: np.ndarray
    y: np.ndarray
    band: tuple[np.ndarray, np.ndarray] | None

    @property
    def last(self) -> Interval:
        """Its value at its right end."""
        low, high = (float(end[-1]) for end in self.band) if self.band else (None, None)
        return Interval(float(self.y[-1]), low, high)


@dataclass(frozen=True)
class Axis:
    """Left to right: from `low` to `high`. Left of zero lie so many `offline` updates within `width`, if any."""

    name: str
    low: float
    high: float
    offline: int = 0
    width: float = 0.0

    def ticks(self, most: int = FULL) -> list[tuple[float, str]]:
        """About so many positions and what stands there; few are of the online stretch alone."""
        found = [
            (x, short(x)) for x in round_between(max(self.low, 0.0) if self.offline else self.low, self.high, most)
        ]
        if self.offline and most >= FULL:
            left = [t for t in round_between(0, self.offline, 2) if t < 0.8 * self.offline]
            found = [(t / self.offline * self.width - self.width, short(t)) for t in left] + found
        return found


@dataclass(frozen=True)
class Panel:
    """One system of axes: its methods in alphabetical order, the teacher and the random policy on the same scale."""

    title: str
    scale: str  # what runs from bottom to top
    x: Axis
    curves: tuple[Curve, ...]
    random: Interval | None = None
    teacher: Interval | None = None
    greedy: Interval | None = None

    @property
    def crowded(self) -> bool:
        """Too many methods for one system of axes."""
        return len(self.curves) > MOST

    @property
    def y(self) -> tuple[float, float]:
        """Its lowest and highest value, and a margin."""
        told = [x for x in (self.random, self.teacher, self.greedy) if x is not None]
        ends = [end for x in told for end in (x.low, x.point, x.high) if end is not None]
        ends += [float(end) for c in self.curves for part in (c.y, *(c.band or ())) for end in (part.min(), part.max())]
        low, high = min(ends, default=0.0), max(ends, default=1.0)
        margin = _MARGIN * ((high - low) or 1.0)
        return low - margin, high + margin


def panels(runs: Sequence[FinishedRun], rng: np.random.Generator, over: str = ENV_STEPS) -> list[Panel]:
    """One a task: the interquartile mean over seeds of each method's evaluations, with its 95 % band.

    Methods at one position have spent equally many env steps, or, `over` UPDATES, gradient steps, or, `over` SECONDS,
    as long; the last only where all runs tell it.
    """
    if over == SECONDS and not clocked(runs):
        return []
    return [_panel(env, group, rng, over) for env, group in by_env(runs).items()]


def clocked(runs: Sequence[FinishedRun]) -> bool:
    """Whether every evaluation tells when it was."""
    return all(e.seconds is not None for run in runs for e in run.evaluations)


def profiles(runs: Sequence[FinishedRun], rng: np.random.Generator) -> list[Panel]:
    """One over all tasks if every method finished equally often on each; else one a task."""
    scopes, together = matrices(runs), over_all(len(by_env(runs)))
    whole = set(scopes.get(together, {})) == {run.label for run in runs}
    chosen = {together: scopes[together]} if whole else {k: v for k, v in scopes.items() if v}
    return [_profile(scope, methods, rng) for scope, methods in chosen.items()]


def _panel(env: str, runs: list[FinishedRun], rng: np.random.Generator, over: str) -> Panel:
    normalised = is_normalised(runs)
    axis = _axis(runs, over)
    curves = [_curve(label, own, normalised, axis, rng) for label, own in by_label(runs).items()]
    scale = "score (random 0, teacher 1)" if normalised else "score"
    return Panel(env, scale, axis, tuple(curve for curve in curves if curve), *_references(runs, normalised))


def _axis(runs: list[FinishedRun], over: str) -> Axis:
    evaluations = [e for run in runs for e in run.evaluations]
    if over != ENV_STEPS:
        return Axis(over, 0.0, max([position(e, over) for e in evaluations] + [1.0]))
    budget = max([run.env_steps for run in runs] + [1])
    offline = max([e.updates for e in evaluations if e.phase == "offline"], default=0)
    width = _OFFLINE_SHARE * budget if offline else 0.0
    return Axis(over, -width - 0.02 * budget * bool(offline), float(budget), offline, width)


def across(runs: Sequence[FinishedRun]) -> str:
    """What a report's first curves run over: env steps; seconds where methods of one task have different budgets."""
    unequal = any(len({run.env_steps for run in group}) > 1 for group in by_env(runs).values())
    return SECONDS if unequal and clocked(runs) else ENV_STEPS


def position(e: Evaluation, over: str) -> float:
    """Where an evaluation stands over updates, seconds or env steps."""
    return float({UPDATES: e.updates, SECONDS: e.seconds or 0.0, ENV_STEPS: e.env_steps}[over])


def _references(runs: list[FinishedRun], normalised: bool) -> list[Interval | None]:
    """The random policy's score, the teacher's, and its greedy play's, on the panel's scale."""
    found = list(references(runs))
    random, teacher, _ = references(runs)
    if teacher is None or not normalised:
        return found
    return [one and one.scaled(random.point, teacher.point) for one in found]


def _curve(label: str, runs: list[FinishedRun], normalised: bool, axis: Axis, rng: np.random.Generator) -> Curve | None:
    """One method's, its seeds brought to common positions; None where a seed was never evaluated."""
    found = [_points(run, normalised, axis) for run in runs]
    if not all(len(x) for x, _ in found):
        return None
    first, ends = max(x[0] for x, _ in found), [x[-1] for x, _ in found]
    last = min(ends) if axis.name == ENV_STEPS else max(ends)  # a seed that is done stays what it is
    grid = np.unique(np.concatenate([x for x, _ in found]))
    grid = grid[(grid >= first) & (grid <= last)]
    if not len(grid):
        return None
    scores = np.stack([np.interp(grid, x, y) for x, y in found])
    each = [stratified_bootstrap(column[:, None], iqm, rng) for column in scores.T]
    band = None
    if all(one.known for one in each):
        band = np.array([one.low for one in each], float), np.array([one.high for one in each], float)
    return Curve(label, grid, np.array([one.point for one in each]), band)


def _points(run: FinishedRun, normalised: bool, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    points: dict[float, float] = {}
    for e in run.evaluations:
        score = e.normalised if normalised and e.normalised is not None else e.score
        if axis.name == ENV_STEPS and e.phase == "offline":
            points[min(e.updates / max(axis.offline, 1) * axis.width - axis.width, -1e-9)] = score
        else:
            points[position(e, axis.name)] = score
    return np.array(sorted(points)), np.array([points[x] for x in sorted(points)])


def _profile(scope: str, methods: dict[str, np.ndarray], rng: np.random.Generator) -> Panel:
    ends = np.concatenate([scores.ravel() for scores in methods.values()])
    low, high = min(float(ends.min()), 0.0), float(ends.max())
    margin = 0.03 * ((high - low) or 1.0)
    at = np.linspace(low - margin, high + margin, POINTS)
    curves = []
    for label, scores in methods.items():
        band = profile_band(scores, at, rng)
        curves.append(Curve(label, at, performance_profile(scores, at), None if band is None else (band[0], band[1])))
    return Panel(scope, "share of runs above τ", Axis("score τ", float(at[0]), float(at[-1])), tuple(curves))


# ---- where marks and names stand ---------------------------------------------------------------------


def round_between(low: int | float, high: int | float, ticks: int = FULL) -> list[float]:
    """At most about so many round numbers within an interval."""
    raw = (high - low) / ticks
    if not raw > 0:
        return [low]
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw * 0.999)
    first, last = int(np.ceil(low / step - 1e-3)), int(np.floor(high / step + 1e-3))
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def spread(wanted: np.ndarray, gap: float) -> np.ndarray:
    """The positions nearest to `wanted` (ascending) at least `gap` apart, within [0, 1] if they fit."""
    groups: list[list[float]] = []  # neighbours that move together: where each wants the first of all to be
    for i, y in enumerate(wanted):
        groups.append([y - i * gap])
        while len(groups) > 1 and np.mean(groups[-2]) > np.mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    steps = gap * np.arange(len(wanted))
    places = np.array([np.mean(group) for group in groups for _ in group]) + steps
    return np.maximum(np.minimum(places, 1 - steps[::-1]), steps)


def cut(name: str, most: int = 30) -> str:
    """A name, or the beginning of a long one."""
    name = " ".join(name.split())
    return name if len(name) <= most else name[: most - 1] + "…"
