"""Schedules: pure functions of `Progress`. They are frozen dataclasses, so that a plan can be printed and stored."""

import math
from dataclasses import dataclass, replace

from reincarnate.types import Progress, Schedule


@dataclass(frozen=True)
class Constant:
    """The same value throughout."""

    value: float = 1.0

    def __call__(self, progress: Progress) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:g}"


@dataclass(frozen=True)
class Linear:
    """From 1 to 0 in a straight line over the first `end` of the phase (a fraction), then 0 for ever."""

    end: float = 1.0

    def __call__(self, progress: Progress) -> float:
        return max(0.0, 1.0 - progress.fraction / self.end)

    def __str__(self) -> str:
        return f"1 → 0 linearly over {self.end:.0%}"


@dataclass(frozen=True)
class Geometric:
    """From 1 to `final` by the end of the phase, by the same factor in equal parts of it."""

    final: float

    def __call__(self, progress: Progress) -> float:
        return self.final**progress.fraction

    def __str__(self) -> str:
        return f"1 → {self.final:g} geometrically"


@dataclass(frozen=True)
class ByScore:
    """max(1 − score, 0), where the student's last evaluation is on the scale random = 0, teacher = 1.

    1 before the phase's first evaluation. `sticky`: once an evaluation has reached the teacher's score the value
    stays 0 (the authors' code; the paper's formula has no such memory). 0 for ever once `end` of the phase is over
    (the paper's t0). Scores are clipped to [0, 1], so that the value is too, for teachers of any worth and rewards
    of any sign (Agarwal et al., 2022, appendix A.3). `lower`, ours: the lower end of an evaluation's 95 % interval
    stands for its score, so that a lucky one ends no teaching.
    """

    end: float = 1.0
    sticky: bool = True
    lower: bool = False

    def __call__(self, progress: Progress) -> float:
        if progress.fraction > self.end:
            return 0.0
        known = len(progress.lows) == len(progress.scores)
        scores = progress.lows if self.lower and known else progress.scores
        if not scores:
            return 1.0
        score = max(scores) if self.sticky and max(scores) >= 1 else scores[-1]
        return 1.0 - min(max(score, 0.0), 1.0)

    def __str__(self) -> str:
        score = "score's lower bound" if self.lower else "score"
        return f"max(1 − {score}, 0){' (sticky)' if self.sticky else ''}, 0 after {self.end:.0%}"


@dataclass(frozen=True)
class Rest:
    """1 − another schedule, what that one gives up; 0 before the phase's first evaluation, which finds a first best."""

    inner: Schedule

    def __call__(self, progress: Progress) -> float:
        return 1.0 - self.inner(progress) if progress.scores else 0.0

    def __str__(self) -> str:
        return f"1 − [{self.inner}]"


@dataclass(frozen=True)
class Scaled:
    """`factor` times another schedule."""

    factor: float
    inner: Schedule

    def __call__(self, progress: Progress) -> float:
        return self.factor * self.inner(progress)

    def __str__(self) -> str:
        return f"{self.factor:g} · [{self.inner}]"


@dataclass(frozen=True)
class Between:
    """Interpolates: `high` where the inner schedule is 1, `low` where it is 0."""

    low: float
    high: float
    inner: Schedule

    def __call__(self, progress: Progress) -> float:
        weight = self.inner(progress)
        return weight * self.high + (1.0 - weight) * self.low

    def __str__(self) -> str:
        return f"{self.low:g} … {self.high:g} with λ"


@dataclass(frozen=True)
class Guarded:
    """Another schedule with a regression guard: when the student falls behind its own best, λ steps back up.

    Ours; no paper. Evaluations are gone through in order, so that λ is a function of their history. From the first at
    which λ < 1 the best score is kept. One more than `drop` (a fraction) below it, and below the teacher's, lifts λ by
    `step`, or to 1 − score where that is more, and begins a new best; a student still above its teacher has nothing to
    get from it. Otherwise what was lifted falls with each evaluation by step/2 after the first lift, step/4 after the
    second, and so on: every relapse is weaned more slowly. λ is never below the other schedule; it may be above 0
    after that one's hard end.
    """

    inner: Schedule
    drop: float
    step: float

    def __call__(self, progress: Progress) -> float:
        held, lifts, best = 0.0, 0, -math.inf
        for k, score in enumerate(progress.scores):
            fraction = (k + 1) / max(progress.evaluations, len(progress.scores))
            weight = max(held, self.inner(_then(progress, fraction, k)))
            if weight < 1.0 and best > 0.0 and score < min(1.0, (1.0 - self.drop) * best):
                held, lifts, best = min(1.0, max(weight + self.step, 1.0 - score)), lifts + 1, score
                continue
            held = max(0.0, held - self.step / 2**lifts)
            now = self.inner(_then(progress, fraction, k + 1))
            best = max(best, score) if max(held, now) < 1.0 else best
        return max(held, self.inner(progress))

    def __str__(self) -> str:
        return f"[{self.inner}], + {self.step:g} when the score falls {self.drop:.0%} below its best"


def _then(progress: Progress, fraction: float, evaluations: int) -> Progress:
    """What was known at this fraction, after so many evaluations."""
    return replace(progress, fraction=fraction, scores=progress.scores[:evaluations], lows=progress.lows[:evaluations])


@dataclass(frozen=True)
class Decaying:
    """`start` · `factor`^k in the k-th of `parts` equal parts of the phase (k from 0), rounded down."""

    start: int
    factor: float
    parts: int = 10

    def __call__(self, progress: Progress) -> float:
        return float(int(self.start * self.factor ** int(progress.fraction * self.parts)))

    def __str__(self) -> str:
        return f"{self.start:,} · {self.factor:g} per {1 / self.parts:.0%} of the phase"


@dataclass(frozen=True)
class KeepingUp:
    """`start`, times `factor` after each evaluation that is at most `tolerance` below the best so far, rounded down.

    The curriculum of Uchendu et al. (2023). Scores are normalised, so `tolerance` is a fraction of the way from the
    random policy's score to the teacher's.
    """

    start: int
    factor: float
    tolerance: float

    def __call__(self, progress: Progress) -> float:
        best, kept = -math.inf, 0
        for score in progress.scores:
            best = max(best, score)
            kept += score >= best - self.tolerance
        return float(int(self.start * self.factor**kept))

    def __str__(self) -> str:
        return f"{self.start:,} · {self.factor:g} per evaluation that keeps up"
