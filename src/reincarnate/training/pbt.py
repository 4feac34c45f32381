"""Population based training (PBT: Jaderberg et al., 2017, arXiv 1711.09846): the worse copy the better and explore.

At evaluations the members with the lowest scores take over the students of some with the highest (weights, optimiser,
lagging networks), and their settings, each of which is then moved. Replays stay: experience is whose it is. Who was
copied from whom is in each member's metrics and result.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from reincarnate.errors import UserError
from reincarnate.seeds import stream
from reincarnate.training.exchange import Exchange
from reincarnate.training.training import Training, Write, mutable


@dataclass(frozen=True)
class PBT:
    """Truncation selection, and exploration by a factor. What may be explored the student and the method declare
    (`mutable`): learning rate, entropy bonus, λ0 (method.weight), τ (method.temperature)."""

    share: float = 0.25  # of the members who copy, and of those who are copied; at least one
    factor: float = 1.25  # settings are multiplied or divided by it as they are taken over (1.2 and 0.8 in the paper)
    spread: float = 3.0  # the first member begins as asked, the others' settings within this factor, log-uniform
    every: int = 1  # evaluations between two looks at the scores
    explores: tuple[str, ...] = ()  # settings, as student.lr or method.weight; empty: all that may be
    alike: ClassVar[bool] = False
    apart: ClassVar[bool] = True
    processes: ClassVar[str] = "one"

    def check(self, members: int) -> None:
        """Refuse what cannot mean anything. Raises UserError."""
        if members < 2:
            raise UserError("--exchange pbt needs a population: --population 2, or more")
        if not 0 < self.share <= 0.5:
            raise UserError(f"--exchange.share must lie above 0 and at most at 0.5, not {self.share:g}")
        if self.factor <= 1 or self.spread < 1 or self.every < 1:
            raise UserError("--exchange.factor must be above 1; --exchange.spread and --exchange.every at least 1")

    def exchange(self, members: int) -> Exchange:
        """Of so many members."""
        return Selection(self, members)

    def suits(self, student: Any, method: Any) -> None:
        """Raises UserError where nothing of them can be explored, or not what is asked for."""
        self.explored(mutable(student, method))

    def explored(self, found: Mapping[str, float]) -> dict[str, float]:
        """Of the settings that may change those that are explored. Raises UserError for one that may not, or none."""
        if unknown := [name for name in self.explores if name not in found]:
            raise UserError(
                f"--exchange.explores {unknown[0]}: this student and method can move {', '.join(found) or 'nothing'}"
            )
        if not found:
            raise UserError("--exchange pbt: neither this student nor this method has a setting above 0 to explore")
        return {name: value for name, value in found.items() if not self.explores or name in self.explores}


class Selection:
    """Exploit and explore, as evaluations say."""

    def __init__(self, settings: PBT, members: int):
        self._settings, self._copied = settings, max(1, math.floor(settings.share * members))

    def begin(self, trainings: Sequence[Training]) -> None:
        """Newborns but the first are given settings of their own."""
        for i, training in enumerate(trainings):
            if i and training.at.barrier == 1 and not training.at.changes:  # the newborn's evaluation alone
                rng, reach = stream(training.seed, "settings"), math.log(self._settings.spread)
                own = self._settings.explored(training.mutable())
                moved = {name: value * math.exp(rng.uniform(-reach, reach)) for name, value in own.items()}
                training.change(_accepted(training, own, moved))

    def __call__(self, trainings: Sequence[Training]) -> None:
        """Nothing between evaluations."""

    def judged(self, trainings: Sequence[Training], writes: Sequence[Write]) -> None:
        """The worst take over from the best, if any of them has still to learn."""
        first = trainings[0]
        if (first.at.barrier - 1) % self._settings.every or first.at.is_last(first.phases):
            return
        rng = first.stream("pbt")
        order = sorted(range(len(trainings)), key=lambda i: trainings[i].score)  # worst first; of equals the earlier
        best = order[-self._copied :]
        for worse in order[: self._copied]:
            better = best[int(rng.integers(len(best)))]
            if trainings[better].score > trainings[worse].score:
                writes[worse](self._take_over(trainings[worse], trainings[better], rng))

    def _take_over(self, mine: Training, other: Training, rng: np.random.Generator) -> dict:
        for name, student in mine.cast.items():
            student.restore({key: tensor.clone() for key, tensor in other.cast[name].state().items()})
        theirs = self._settings.explored(other.mutable())
        moved = {name: value * self._settings.factor ** rng.choice((-1, 1)) for name, value in theirs.items()}
        mine.change({**other.at.changes, **_accepted(mine, theirs, moved)})
        return mine.copied(other)

    def told(self, trainings: Sequence[Training]) -> Mapping[str, float]:
        """Nothing: settings differ by member, and are written as they change."""
        return {}


def _accepted(training: Training, before: Mapping[str, float], moved: Mapping[str, float]) -> dict[str, float]:
    """Each setting as moved, or as before where the student would refuse it (noise of 1 and more, say)."""
    return {name: value if _fits(training, name, value) else before[name] for name, value in moved.items()}


def _fits(training: Training, name: str, value: float) -> bool:
    owner, _, setting = name.partition(".")
    if owner != "student":
        return True
    try:
        replace(training.student.settings, **{setting: value}).check(training.copies)  # pyright: ignore
    except UserError:
        return False
    return True
