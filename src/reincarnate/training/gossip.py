"""Gossip (GALA: Assran et al., 2019, arXiv 1906.04585): learners that average their parameters with a neighbour's.

After a cycle of its own a member becomes the mean of itself and of those it listens to. Only parameters travel, and the
statistics (of observations, rewards) that belong to them; optimisers and lagging networks stay. In one process all
members mix in step, to the same bits when resumed. With a process each they mix with whatever has arrived.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.seeds import stream
from reincarnate.training.exchange import Exchange, Note
from reincarnate.training.mailbox import Mail
from reincarnate.training.topology import TopologyName, chosen, neighbours, senders
from reincarnate.training.training import Training, Write
from reincarnate.types import LAGGING, OPTIMIZER, Student

NAP = 2e-4  # seconds between looks for a message that is waited for


@dataclass(frozen=True)
class Gossip:
    """Members begin with the same weights, act with random streams of their own, and average as they learn."""

    topology: TopologyName = "auto"  # auto: a ring up to four members, exponential above
    every: int = 1  # cycles (of acting and the updates they pay for) between rounds of mixing
    tau: int = 0  # after so many rounds without a message a member waits for one; 0: it never waits
    arrives: float = 1.0  # in one process: how likely a message is there in time; below 1 as if at their own pace
    processes: Literal["one", "each", "ray"] = "one"  # all in one process and in step, each in its own, actors of Ray
    alike: ClassVar[bool] = True
    apart: ClassVar[bool] = False

    def check(self, members: int) -> None:
        """Refuse what cannot mean anything. Raises UserError."""
        if members < 2:
            raise UserError("--exchange gossip needs somebody to gossip with: --population 2, or more")
        chosen(self.topology, members)
        if self.every < 1 or self.tau < 0:
            raise UserError("--exchange.every must be at least 1, and --exchange.tau at least 0")
        if not 0 < self.arrives <= 1:
            raise UserError(f"--exchange.arrives is a probability above 0, not {self.arrives:g}")
        if self.processes != "one" and self.arrives < 1:
            raise UserError("--exchange.arrives is for members in one process; those in their own keep their own pace")

    def suits(self, student: Any, method: Any) -> None:
        """Any student and method will do."""

    def exchange(self, members: int) -> Exchange:
        """All members in one process."""
        return InStep(self, members)


# ---- parameters as one vector ----------------------------------------------------------------------------


class Vector:
    """Tensors as one vector; whole numbers stay where they are. float32, or float64 where any of it is (`double`)."""

    def __init__(self, tensors: Iterable[Tensor]):
        self._tensors = [tensor for tensor in tensors if tensor.is_floating_point()]
        self.double = any(tensor.dtype == torch.float64 for tensor in self._tensors)
        self.dtype = torch.float64 if self.double else torch.float32
        self.size = sum(tensor.numel() for tensor in self._tensors)

    @torch.no_grad()
    def gather(self) -> Tensor:
        """A copy."""
        return torch.cat([tensor.reshape(-1).to(self.dtype) for tensor in self._tensors])

    @torch.no_grad()
    def scatter(self, vector: Tensor) -> None:
        """Put a vector where it was gathered from, in place."""
        first = 0
        for tensor in self._tensors:
            tensor.copy_(vector[first : first + tensor.numel()].view(tensor.shape))
            first += tensor.numel()


class Parameters(Vector):
    """All that a cast of students keeps: parameters and statistics."""

    def __init__(self, cast: Mapping[str, Student]):
        Vector.__init__(self, (t for student in cast.values() for t in student.network.state_dict().values()))


def publish(training: Training) -> None:
    """Let everybody act with what has been mixed."""
    for student in training.cast.values():
        student.publish()


def spread(vectors: Tensor) -> float:
    """‖X − X̄‖ / ‖X̄‖ of members' vectors [n, P], X̄ the mean in every row: how far apart they are, relatively."""
    mean = vectors.mean(0, keepdim=True)
    return float((vectors - mean).norm() / (mean.norm() * len(vectors) ** 0.5).clamp(min=1e-12))


# ---- in one process ----------------------------------------------------------------------------------------


def cycles_of(training: Training) -> int:
    """About how many cycles of this phase are over, from what a checkpoint holds; a barrier may cut the last."""
    phase = training.phases[training.at.phase]
    return training.at.done(phase) // (1 if phase.offline else max(training.pace.env_steps, training.copies))


class InStep:
    """All members mix at once, each with what the others were before. With `arrives` 1 the mean over them is kept."""

    def __init__(self, settings: Gossip, members: int):
        self._settings, self._n = settings, members
        self._cycles, self._stale = 0, np.zeros(members, np.int64)
        self._rng = stream(0, "gossip")

    def begin(self, trainings: Sequence[Training]) -> None:
        """Cycles go on from where the phase stands; staleness is counted anew."""
        first = trainings[0]
        self._cycles, self._stale[:] = cycles_of(first), 0
        self._rng = first.stream("gossip")

    def __call__(self, trainings: Sequence[Training]) -> None:
        """A round of mixing, where one is due."""
        self._cycles += 1
        turn, due = divmod(self._cycles, self._settings.every)
        if due:
            return
        parts = [Parameters(training.cast) for training in trainings]
        before = torch.stack([part.gather() for part in parts])
        for member, training in enumerate(trainings):
            if self._arrived(member):
                heard = senders(self._settings.topology, self._n, member, turn - 1)
                parts[member].scatter(before[[member, *heard]].mean(0))
                publish(training)

    def _arrived(self, member: int) -> bool:
        """Whether a message is there now, or is waited for."""
        there = self._settings.arrives >= 1 or self._rng.random() < self._settings.arrives
        waits = 0 < self._settings.tau <= self._stale[member]
        self._stale[member] = 0 if there or waits else self._stale[member] + 1
        return bool(there or waits)

    def judged(self, trainings: Sequence[Training], writes: Sequence[Write]) -> None:
        """Nothing."""

    def told(self, trainings: Sequence[Training]) -> Mapping[str, float]:
        """`spread`: how far apart members are, relative to their mean."""
        return {"spread": spread(torch.stack([Parameters(training.cast).gather() for training in trainings]))}


# ---- a process each ----------------------------------------------------------------------------------------


class Peer:
    """One member's part: it leaves its parameters where others find them, and takes theirs where they have arrived.

    It waits for nobody, unless `tau` rounds have passed without a message from all whom it listens to; never for one
    that has left.
    """

    def __init__(self, settings: Gossip, member: int, box: Mail, note: Note, reborn: bool = False):
        self._settings, self._member, self._box, self._note, self._reborn = settings, member, box, note, reborn
        self._births: dict[str, float] = {}
        self._cycles, self._stale, self._longest, self._mixed = 0, 0, 0, 0
        self._seen = [0] * box.members  # the newest message of each that was mixed
        self._left: set[int] = set()

    def begin(self, trainings: Sequence[Training]) -> None:
        """One that takes a dead member's place begins as the mean of its neighbours."""
        (training,) = trainings
        if not self._reborn:
            return
        self._reborn = False
        if (found := average(self._box, self._settings.topology, self._member)) is not None:
            Parameters(training.cast).scatter(found.vector)
            for student in training.cast.values():
                student.refresh(frozenset({LAGGING, OPTIMIZER}))
            publish(training)
            training.reborn([training.seed - self._member + other for other in found.of])
            self._births = {"reborn": 1.0}
            told = " and ".join(map(str, found.of))
            self._note(f"member {self._member} goes on from the mean of its neighbours' parameters ({told})")
        self._box.leave(self._member, False)  # back: until now nobody waited for it

    def __call__(self, trainings: Sequence[Training]) -> None:
        """A round, where one is due."""
        (training,) = trainings
        self._cycles += 1
        turn, due = divmod(self._cycles, self._settings.every)
        if due:
            return
        own = Parameters(training.cast)
        vector = own.gather().cpu()
        self._box.post(self._member, vector.numpy())
        heard = self._heard(turn - 1)
        if heard:
            own.scatter(torch.stack([vector, *heard]).mean(0))
            publish(training)
            self._mixed += 1

    def _heard(self, turn: int) -> list[Tensor]:
        """New messages of all whom it listens to now; none where one is missing and need not be waited for."""
        whom = senders(self._settings.topology, self._box.members, self._member, turn)
        while True:
            there = [other for other in whom if not self._gone(other)]
            new = {other: self._box.latest(other, self._seen[other]) for other in there}
            messages = {other: message for other, message in new.items() if message is not None}
            if len(messages) == len(there):
                self._stale = 0
                self._seen = [messages[i].version if i in messages else seen for i, seen in enumerate(self._seen)]
                return [torch.from_numpy(message.vector) for message in messages.values()]
            if not 0 < self._settings.tau <= self._stale:
                self._stale += 1
                self._longest = max(self._longest, self._stale)
                return []
            time.sleep(NAP)

    def _gone(self, other: int) -> bool:
        """Whether a member has left; said once each time."""
        left = self._box.has_left(other)
        if left and other not in self._left:
            self._left.add(other)
            self._note(f"member {self._member} goes on without member {other}, which has left")
        elif not left:
            self._left.discard(other)
        return left

    def judged(self, trainings: Sequence[Training], writes: Sequence[Write]) -> None:
        """Nothing."""

    def told(self, trainings: Sequence[Training]) -> Mapping[str, float]:
        """`mixed`: rounds with a message since the last report; `stale`: the most in a row without one; `reborn`: that
        it took a dead member's place."""
        told = {"mixed": float(self._mixed), "stale": float(self._longest), **self._births}
        self._mixed, self._longest, self._births = 0, self._stale, {}
        return told


class Mean(NamedTuple):
    """A mean of members' parameters, and whose."""

    vector: Tensor
    of: list[int]


def average(box: Mail, topology: TopologyName, member: int) -> Mean | None:
    """The mean of what a member's neighbours last left, or of anybody's where they left nothing; None: nobody did."""
    others = [other for other in range(box.members) if other != member]
    for group in (neighbours(topology, box.members, member), others):
        found = {other: message.vector for other in group if (message := box.latest(other))}
        if found:
            return Mean(torch.from_numpy(np.mean([*found.values()], 0, dtype=box.dtype)), [*found])
    return None
