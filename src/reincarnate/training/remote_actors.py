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

from reincarnate.envs.vector import concatenated
from reincarnate.errors import UserError
from reincarnate.training.players import Explore, Transition
from reincarnate.training.rollout_worker import Reply, Request, WorkerState, weights_of
from reincarnate.training.training import Training
from reincarnate.types import Prediction, Step, Student, TaskSpec

REBIRTHS = 3  # of each who acts
Note = Callable[[str], None]
T = TypeVar("T")


class Died(Exception):
    """Whoever owes a reply has died, in words."""


@runtime_checkable
class ActorHandle(Protocol):
    """One actor: a process here, or an actor of Ray. It does what it is told in order. Where it has died, Died is
    raised for whoever asks for its reply, not before; what its task refuses is raised there too."""

    def start(self) -> None: ...  # in the place of one that has died, too; with newborn weights
    def begin(self, rng: np.random.Generator) -> None: ...  # no reply but obs
    def catch_up(self, actions: Sequence[np.ndarray], state: WorkerState) -> None: ...  # no reply
    def act(self, request: Request) -> None: ...
    def obs(self) -> np.ndarray: ...  # the reply to begin
    def reply(self) -> Reply: ...  # the reply to act
    def close(self) -> None: ...


@runtime_checkable
class ActorBackend(Protocol):
    """All of them, and the way weights go there."""

    def handles(self, copies: Sequence[int]) -> Sequence[ActorHandle]: ...  # one for each number of copies
    def publish(self, weights: np.ndarray) -> None: ...  # for the next request
    def close(self) -> None: ...


@dataclass
class _Actor:
    """A handle, its copies, and all that the one after a death must know."""

    handle: ActorHandle
    copies: slice
    began: Any = None  # the generator that the stretch began with; a copy of it travels
    state: WorkerState | None = None
    did: list[np.ndarray] = field(default_factory=list)
    deaths: int = 0


class RemoteActors:
    """In a collector's place (`training.collector`). `steps` of each copy are taken with the same weights, at least."""

    def __init__(self, backend: ActorBackend, student: Student, copies: Sequence[int], steps: int, note: Note):
        self.steps, self.finished = steps, []
        self._backend, self._student, self._note = backend, student, note
        ends = np.cumsum(copies)
        slices = [slice(int(end - n), int(end)) for n, end in zip(copies, ends, strict=True)]
        self._actors = [_Actor(handle, part) for handle, part in zip(backend.handles(copies), slices, strict=True)]
        for actor in self._actors:
            actor.handle.start()
        self.obs = np.zeros(0)

    def begin(self, training: Training) -> "RemoteActors":
        """A stretch: everybody's episodes begin. The first draws from the stream of one who acts alone."""
        self.finished = []
        for number, actor in enumerate(self._actors):
            rng = training.stream(f"act {number}" if number else "act")
            actor.began, actor.state, actor.did = rng, None, []
            actor.handle.begin(rng)
        self.obs = np.concatenate([self._heard(i, lambda handle: handle.obs()) for i in range(len(self._actors))])
        return self

    def during(
        self, explores: list[Explore], work: Callable[[], None], idle: np.ndarray | None = None
    ) -> list[Transition]:
        """As a collector: act once per exploration, do `work` meanwhile, and return what was experienced."""
        self._backend.publish(weights_of(self._student))
        requests = [Request(explores, None if idle is None else idle[actor.copies]) for actor in self._actors]
        for actor, request in zip(self._actors, requests, strict=True):
            actor.handle.act(request)
        work()
        replies = [self._heard(i, lambda handle: handle.reply(), request) for i, request in enumerate(requests)]
        for actor, reply in zip(self._actors, replies, strict=True):
            actor.state = reply.state
            actor.did += [transition.action for transition in reply.experience]
            self.finished += [(copy + actor.copies.start, total) for copy, total in reply.finished]
        self.obs = np.concatenate([reply.obs for reply in replies])
        firsts = [actor.copies.start for actor in self._actors]
        together = zip(*(reply.experience for reply in replies), strict=True)
        return [joined(parts, firsts) for parts in together]

    def _heard(self, number: int, of: Callable[[ActorHandle], T], request: Request | None = None) -> T:
        """A reply; where whoever owes it has died, another's. Raises UserError where they go on dying."""
        actor = self._actors[number]
        while True:
            try:
                return of(actor.handle)
            except Died as death:
                actor.deaths += 1
                told = f"actor {number} died ({death})"
                if actor.deaths > REBIRTHS:
                    raise UserError(f"{told} {actor.deaths} times: see what kills it, or leave --actors out") from None
                self._note(f"warning: {told}: another takes its place")
                self._replace(actor, request)

    def _replace(self, actor: _Actor, request: Request | None) -> None:
        actor.handle.start()
        actor.handle.begin(actor.began)
        if request is None:  # the beginning is what is waited for
            return
        try:
            actor.handle.obs()
        except Died:  # again: who asks next will see
            return
        if actor.state is not None:
            actor.handle.catch_up(actor.did, actor.state)
        actor.handle.act(request)

    def rest(self) -> None:
        """A stretch is over."""

    def close(self) -> None:
        """Let everybody go."""
        for actor in self._actors:
            actor.handle.close()
        self._backend.close()


def shared_out(copies: int, among: int) -> list[int]:
    """So many copies for each, as even as can be."""
    return [copies // among + (i < copies % among) for i in range(among)]


def joined(parts: Sequence[Transition], firsts: Sequence[int]) -> Transition:
    """One step of all copies, out of those of some, whose first copies have these numbers."""
    one = parts[0]
    if len(parts) == 1:
        return one
    if len({"mask" in part.notes for part in parts}) > 1:
        raise UserError("the task gives some actors an action_mask and others none: let its reset() give one always")
    return Transition(
        np.concatenate([part.obs for part in parts]),
        np.concatenate([part.action for part in parts]),
        Step(*map(concatenated, zip(*(part.step for part in parts), strict=True))),
        {name: _said([part.predictions[name] for part in parts]) for name in one.predictions},
        {name: np.concatenate([part.notes[name] for part in parts]) for name in one.notes},
        _which(parts, firsts),
        None if one.carry is None else torch.cat([part.carry for part in parts if part.carry is not None]),
    )


def _said(parts: Sequence[Prediction]) -> Prediction:
    return parts[0]._replace(x=torch.cat([part.x for part in parts]))


def _which(parts: Sequence[Transition], firsts: Sequence[int]) -> np.ndarray | None:
    """The copies that acted, None where all did."""
    if all(part.which is None for part in parts):
        return None
    acted = [np.arange(len(p.action)) if p.which is None else p.which for p in parts]
    return np.concatenate([which + first for which, first in zip(acted, firsts, strict=True)])


class RemoteCopies:
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
