"""Schedules: pure functions of `Progress`. They are frozen dataclasses, so that a plan can be printed and stored."""

from dataclasses import dataclass

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
class ByScore:
    """max(1 − score, 0), where the student's last evaluation is on the scale random = 0, teacher = 1.

    1 before the phase's first evaluation. `sticky`: once an evaluation has reached the teacher's score the value
    stays 0 (the authors' code; the paper's formula has no such memory). 0 for ever once `end` of the phase is over
    (the paper's t0). Scores are clipped to [0, 1], so that the value is too, for teachers of any worth and rewards
    of any sign (Agarwal et al., 2022, appendix A.3).
    """

    end: float = 1.0
    sticky: bool = True

    def __call__(self, progress: Progress) -> float:
        if progress.fraction > self.end:
            return 0.0
        if not progress.scores:
            return 1.0
        score = max(progress.scores) if self.sticky and max(progress.scores) >= 1 else progress.scores[-1]
        return 1.0 - min(max(score, 0.0), 1.0)

    def __str__(self) -> str:
        return f"max(1 − score, 0){' (sticky)' if self.sticky else ''}, 0 after {self.end:.0%}"


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
