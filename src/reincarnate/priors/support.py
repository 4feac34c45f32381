"""The support of a critic whose returns are bounded: as wide as the reference scores and the data ask for.

A categorical or HL-Gauss critic cannot tell returns apart that lie beyond its atoms; the usual ±10 was chosen for
Atari's clipped rewards (Bellemare et al., 2017). What is left open of `low` and `high` is chosen here: the usual one is
widened where returns beyond it are to be expected, and never narrowed, for nobody has seen what the student will reach.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reincarnate.data import Dataset, Replay
from reincarnate.data.replay import ENDED, TAIL, TERMINATED
from reincarnate.priors.reference import Reference
from reincarnate.students.critics import spanned
from reincarnate.training.evaluate import Evaluation
from reincarnate.types import TaskSpec

BUNCHED = 2.0  # a discounted return may be so many times that of the same rewards spread evenly over the episode
BEYOND = 1.25  # and so many times the whole return: a student may pass whom it was measured by
MOSTLY = 0.9  # of the limit: episodes that long on average are ended by it
DIGITS = 2  # to which a bound is rounded, outwards
Range = tuple[float, float]


@dataclass(frozen=True)
class Support:
    """Where the atoms lie, and from where to where discounted returns are expected, by whom."""

    low: float
    high: float
    expected: Range
    by: str

    @property
    def words(self) -> str:
        """One line for a person."""
        low, high = self.expected
        return f"support of the critic {self.low:g} to {self.high:g}: by {self.by} returns of {low:.3g} to {high:.3g}"


def choose(settings: Any, spec: TaskSpec, reference: Reference, data: Dataset | None) -> Support | None:
    """The support for a student with these settings; None where its critic has none, or was told all of it."""
    usual: Range | None = getattr(settings, "usual_support", None)
    if usual is None or (settings.low is not None and settings.high is not None):
        return None
    found, gamma = {}, settings.gamma
    if spec.reward_clip is None:  # scores are of rewards as they are
        found["the reference scores"] = of_reference(reference, gamma, spec.protocol.get("max_episode_steps"))
    if data is not None:
        found["the data"] = of_rows(data.rows(), gamma)
    clip = max(1.0, spec.reward_clip or 1.0)
    expected = (min((low for low, _ in found.values()), default=0.0), max((h for _, h in found.values()), default=0.0))
    low = min(usual[0] * clip, _outwards(expected[0]))
    high = max(usual[1] * clip, _outwards(expected[1]))
    low, high = spanned((low, high), settings.low, settings.high)
    return Support(low, high, expected, " and ".join(found) or "nothing but clipped rewards")


def with_support(settings: Any, support: Support) -> Any:
    """The settings with the support they left open."""
    return replace(settings, low=support.low, high=support.high)


def of_reference(reference: Reference, gamma: float, limit: int | None = None) -> Range:
    """Discounted returns to expect by the scores, which are not discounted; `limit` is the episodes' in env steps.

    Without a teacher nobody knows how good a student can be: as far above 0 as the random policy is from it, and what
    its mean reward would be worth for ever.
    """
    low, high = _of_evaluation(reference.random, gamma, limit)
    if reference.teacher is not None:
        other = _of_evaluation(reference.teacher, gamma, limit)
        return min(low, other[0]), max(high, other[1])
    forever = abs(reference.random.mean) * _forever(_steps(reference.random), gamma)
    return low, max(high, -low, forever)


def _of_evaluation(evaluation: Evaluation, gamma: float, limit: int | None) -> Range:
    """The least and the greatest, and 0, which is what an episode's end is worth.

    Rewards r spread evenly over an episode of L steps, G = L·r, are worth r·(1 − γ^L)/(1 − γ); where it is the limit
    that ends episodes, students learn what would have followed: r/(1 − γ).
    """
    steps = _steps(evaluation)
    share = 1.0 if gamma == 1 else (1 - gamma**steps) / ((1 - gamma) * steps)
    bound = min(BUNCHED * share, BEYOND)
    if limit is not None and steps >= MOSTLY * limit:
        bound = max(bound, BEYOND * _forever(steps, gamma))
    return min(0.0, min(evaluation.returns) * bound), max(0.0, max(evaluation.returns) * bound)


def _forever(steps: float, gamma: float) -> float:
    """Of an episode's even rewards, what they are worth if it never ends, by its return."""
    return 1 / (steps * (1 - gamma)) if gamma < 1 else 0.0


def _steps(evaluation: Evaluation) -> float:
    return max(1.0, evaluation.env_steps / len(evaluation.returns))


def of_rows(rows: Replay, gamma: float) -> Range:
    """The least and the greatest discounted return from any row of closed episodes in one stream, and 0.

    Episodes that were cut would have gone on with the mean reward.
    """
    reward, flags = np.asarray(rows.columns["reward"], np.float64), np.asarray(rows.columns["flags"])
    over, cut = (flags & (TERMINATED | TAIL) != 0).tolist(), (flags & ENDED != 0).tolist()
    paid = reward[flags & TAIL == 0]
    after = float(paid.mean()) / (1 - gamma) if len(paid) and gamma < 1 else 0.0
    low = high = worth = 0.0
    for own, ends, stops in zip(reversed(reward.tolist()), reversed(over), reversed(cut), strict=True):
        worth = own + (0.0 if ends else gamma * (after if stops else worth))
        low, high = min(low, worth), max(high, worth)
    return low, high


def _outwards(x: float) -> float:
    """Rounded away from 0."""
    if x == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(x))) - DIGITS + 1)
    return math.copysign(math.ceil(abs(x) / unit - 1e-9) * unit, x)
