"""Experience from several who act elsewhere, each at copies of its own: the learner's side.

Each cycle all get the weights as they are, and act while the learner makes the updates that are due of what it had
before. It waits for all of them, in their order, so that nothing depends on who was quicker, and every env step is
counted once. One that dies is replaced by another, which repeats what its copies did and goes on to the same bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from reincarnate.errors import UserError
from reincarnate.training.performer import Answer, Mind, Order, Shapes, weights_of
from reincarnate.training.players import Transition
from reincarnate.training.training import Training
from reincarnate.types import Prediction, Step, Student, TaskSpec

REBIRTHS = 3  # of each who acts
Note = Callable[[str], None]
T = TypeVar("T")


class Died(Exception):
    """Whoever should answer has died, in words."""


@runtime_checkable
class Seat(Protocol):
    """Where one acts: a process here, or an actor of Ray. What it is told it answers in order; a seat whose holder has
    died raises Died where it is asked for the answer, not before. What its task refuses is raised there too."""

    def take(self) -> None: ...  # let somebody act here, with newborn weights
    def begin(self, rng: np.random.Generator) -> None: ...  # no answer but obs
    def catch_up(self, actions: Sequence[np.ndarray], mind: Mind) -> None: ...  # no answer
    def act(self, order: Order) -> None: ...
    def obs(self) -> np.ndarray: ...  # the answer to begin
    def answer(self) -> Answer: ...  # the answer to act
    def close(self) -> None: ...


@runtime_checkable
class Seats(Protocol):
    """All of them, and the way weights go there."""

    shapes: Shapes

    def seats(self, copies: Sequence[int]) -> Sequence[Seat]: ...  # one for each number of copies
    def publish(self, weights: np.ndarray) -> None: ...  # for the next order
    def close(self) -> None: ...


@dataclass
class _Member:
    """A seat, its copies, and all that whoever takes it after a death must know."""

    seat: Seat
    copies: slice
    began: Any = None  # the generator that the stretch began with; a copy of it travels
    mind: Mind | None = None
    did: list[np.ndarray] = field(default_factory=list)
    deaths: int = 0


class Crew:
    """In a collector's place (`training.collector`). `steps` of each copy are taken with the same weights, at least."""

    def __init__(self, seats: Seats, student: Student, copies: Sequence[int], steps: int, note: Note):
        self.steps, self.finished = steps, []
        self._seats, self._student, self._note = seats, student, note
        ends = np.cumsum(copies)
        slices = [slice(int(end - n), int(end)) for n, end in zip(copies, ends, strict=True)]
        self._crew = [_Member(seat, part) for seat, part in zip(seats.seats(copies), slices, strict=True)]
        for member in self._crew:
            member.seat.take()
        self.obs = np.zeros(0)

    def begin(self, training: Training) -> "Crew":
        """A stretch: everybody's episodes begin. The first draws from the stream of one who acts alone."""
        self.finished = []
        for number, member in enumerate(self._crew):
            rng = training.stream(f"act {number}" if number else "act")
            member.began, member.mind, member.did = rng, None, []
            member.seat.begin(rng)
        self.obs = np.concatenate([self._heard(i, lambda seat: seat.obs()) for i in range(len(self._crew))])
        return self

    def during(
        self, explores: list[float], work: Callable[[], None], idle: np.ndarray | None = None
    ) -> list[Transition]:
        """As a collector: act once per exploration, do `work` meanwhile, and return what was experienced."""
        self._seats.publish(weights_of(self._student, self._seats.shapes))
        orders = [Order(explores, None if idle is None else idle[member.copies]) for member in self._crew]
        for member, order in zip(self._crew, orders, strict=True):
            member.seat.act(order)
        work()
        answers = [self._heard(i, lambda seat: seat.answer(), order) for i, order in enumerate(orders)]
        for member, answer in zip(self._crew, answers, strict=True):
            member.mind = answer.mind
            member.did += [transition.action for transition in answer.experience]
            self.finished += [(copy + member.copies.start, total) for copy, total in answer.finished]
        self.obs = np.concatenate([answer.obs for answer in answers])
        firsts = [member.copies.start for member in self._crew]
        together = zip(*(answer.experience for answer in answers), strict=True)
        return [joined(parts, firsts) for parts in together]

    def _heard(self, number: int, of: Callable[[Seat], T], order: Order | None = None) -> T:
        """An answer; where whoever owes it has died, another's. Raises UserError where they go on dying."""
        member = self._crew[number]
        while True:
            try:
                return of(member.seat)
            except Died as death:
                member.deaths += 1
                told = f"actor {number} died ({death})"
                if member.deaths > REBIRTHS:
                    raise UserError(f"{told} {member.deaths} times: see what kills it, or leave --actors out") from None
                self._note(f"warning: {told}: another takes its place")
                self._replace(member, order)

    def _replace(self, member: _Member, order: Order | None) -> None:
        member.seat.take()
        member.seat.begin(member.began)
        if order is None:  # the beginning is what is waited for
            return
        try:
            member.seat.obs()
        except Died:  # again: who asks next will see
            return
        if member.mind is not None:
            member.seat.catch_up(member.did, member.mind)
        member.seat.act(order)

    def rest(self) -> None:
        """A stretch is over."""

    def close(self) -> None:
        """Let everybody go."""
        for member in self._crew:
            member.seat.close()
        self._seats.close()


def shared_out(copies: int, among: int) -> list[int]:
    """So many copies for each, as even as can be."""
    return [copies // among + (i < copies % among) for i in range(among)]


def joined(parts: Sequence[Transition], firsts: Sequence[int]) -> Transition:
    """One step of all copies, out of those of some, whose first copies have these numbers."""
    one = parts[0]
    if len(parts) == 1:
        return one
    return Transition(
        np.concatenate([part.obs for part in parts]),
        np.concatenate([part.action for part in parts]),
        Step(*(_column(columns) for columns in zip(*(part.step for part in parts), strict=True))),
        {name: _said([part.predictions[name] for part in parts]) for name in one.predictions},
        {name: np.concatenate([part.notes[name] for part in parts]) for name in one.notes},
        _which(parts, firsts),
        None if one.carry is None else torch.cat([part.carry for part in parts if part.carry is not None]),
    )


def _column(parts: Sequence[np.ndarray | None]) -> Any:
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None


def _said(parts: Sequence[Prediction]) -> Prediction:
    return parts[0]._replace(x=torch.cat([part.x for part in parts]))


def _which(parts: Sequence[Transition], firsts: Sequence[int]) -> np.ndarray | None:
    """The copies that acted, None where all did."""
    if all(part.which is None for part in parts):
        return None
    acted = [np.arange(len(p.action)) if p.which is None else p.which for p in parts]
    return np.concatenate([which + first for which, first in zip(acted, firsts, strict=True)])


class Elsewhere:
    """In an environment's place (`types.VectorEnv`) where others hold its copies."""

    def __init__(self, spec: TaskSpec, n: int):
        self.spec, self.n = spec, n

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        """Nobody asks."""
        raise NotImplementedError("its copies are with those who act")

    def step(self, actions: np.ndarray) -> Step:
        """Nobody asks."""
        raise NotImplementedError("its copies are with those who act")

    def view(self, name: str) -> np.ndarray:
        """Nobody asks."""
        raise NotImplementedError("its copies are with those who act")

    def close(self) -> None:
        """Nothing to close."""
