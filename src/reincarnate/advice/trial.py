"""Trying the first two recommendations for a short while: a look, not a study."""

import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reincarnate.advice.facts import Measurement, Score
from reincarnate.advice.recommend import Recommendation
from reincarnate.advice.settings import fit
from reincarnate.errors import UserError
from reincarnate.priors.played import Tick
from reincarnate.run.execute import execute
from reincarnate.run.settings import Note

LEAST = 3_000  # env steps
EVALUATIONS = 2  # of each phase


@dataclass(frozen=True)
class Tried:
    """How far a recommendation came."""

    method: str
    score: Score
    normalised: float | None
    env_steps: int
    seconds: float


@dataclass(frozen=True)
class Trial:
    """Both, and who led. Everything but the method was the same: env steps, seed, evaluation."""

    budget: int
    seed: int
    tried: tuple[Tried, ...]

    @property
    def verdict(self) -> str:
        """One sentence, and how much to think of it."""
        lead, other = sorted(self.tried, key=lambda one: -one.score.mean)
        apart = lead.score.above(other.score)
        said = f"{lead.method} led {other.method} by {lead.score.mean - other.score.mean:.4g}"
        said = said if lead.score.mean > other.score.mean else f"{lead.method} and {other.method} came out even"
        how = "the intervals are apart" if apart else "the intervals overlap"
        return (
            f"{said} after {self.budget:,} env steps; {how}. One seed decides nothing: `reincarnate study` takes more"
        )


def short_budget(budget: int) -> int:
    """A tenth, but some thousand env steps, and no more than there are."""
    return min(budget, max(LEAST, budget // 10))


def check_out(out: Path | None) -> None:
    """Refuse a folder that exists, before anything is measured for it."""
    if out is not None and out.exists():
        raise UserError(f"{out} exists already; choose another --out")


def run_trial(
    measured: Measurement, found: list[Recommendation], budget: int, out: Path | None, tick: Tick, note: Note
) -> Trial:
    """Train the first two of `found`, the same but for the method, in `out` or for their scores alone."""
    short, tried = measured.within(budget), []
    with _folder(out) as folder:
        for one in found[:2]:
            run, _ = fit(one.rule.method, short)
            run = replace(run, evaluations=EVALUATIONS)
            result = execute(run, Path(folder) / one.method, False, _named(one.method, tick), note)
            tried.append(_tried(one.method, result))
    return Trial(budget, measured.seed, tuple(tried))


def _folder(out: Path | None) -> AbstractContextManager[Any]:
    return nullcontext(out) if out else tempfile.TemporaryDirectory(prefix="reincarnate-try-")


def _named(method: str, tick: Tick) -> Tick:
    return lambda what, done, total: tick(f"{method}: {what}", done, total)


def _tried(method: str, result: dict[str, Any]) -> Tried:
    low, high = result["interval"]
    score = Score(result["score"], low, high, len(result["returns"]))
    return Tried(method, score, result["normalised"], result["env_steps"], result["seconds"])
