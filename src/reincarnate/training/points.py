"""Points between two barriers: what was played and learnt in parts of a stretch, for curves with more than ends."""

from collections.abc import Callable, Sequence

from reincarnate.training.training import Training, Write

PARTS = 5  # of a stretch; each but the last ends in a point, the last in a barrier
SHORTEST = 100  # env steps or updates of a part: shorter ones say too little to be worth a line


class Points:
    """`points()` often, during a stretch that ends at `stop`; a line is written for each part that is over.

    `number` is the phase's. `diagnose(i)` sees how the students stand before the i-th.
    """

    def __init__(
        self,
        trainings: Sequence[Training],
        writes: Sequence[Write],
        number: int,
        stop: int,
        diagnose: Callable[[int], None],
    ):
        self._pairs, self._diagnose = list(zip(trainings, writes, strict=True)), diagnose
        self._phases = [training.phases[number] for training in trainings]  # alike but for members' own settings
        start = trainings[0].at.done(self._phases[0])
        parts = min(PARTS, (stop - start) // SHORTEST)
        self._ends = [start + (stop - start) * i // parts for i in range(1, parts)]
        self._number = 0

    def __call__(self) -> None:
        """Write what is due."""
        done = self._pairs[0][0].at.done(self._phases[0])
        if self._number == len(self._ends) or done < self._ends[self._number]:
            return
        while self._number < len(self._ends) and done >= self._ends[self._number]:
            self._number += 1
        self._diagnose(self._number)
        for (training, write), phase in zip(self._pairs, self._phases, strict=True):
            write(training.point(phase))
