"""One who acts for a learner elsewhere: some copies of the task, the student's network, a stage of its own.

What it does within a stretch follows from what it is told: the generator it begins with, the weights and the number of
steps of each request. All that the learner needs to put another in its place, to the same bits, comes with each reply.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reincarnate.training.collector import Collector
from reincarnate.training.gossip import Vector
from reincarnate.training.players import Explore, Stage, Transition
from reincarnate.types import Actor, ActorOutput, Student, TimeStep, VectorEnv


class Request(NamedTuple):
    """Act once for each of `explores`; copies that are `idle` have no part in the last step."""

    explores: list[Explore]
    idle: np.ndarray | None


class WorkerState(NamedTuple):
    """What one who acts knows besides its weights and its copies: its generator, and its memory [n, H]."""

    rng: np.random.Generator
    carry: Tensor


class Reply(NamedTuple):
    """What was experienced, the episodes that ended as (copy, return), and what the copies show now."""

    experience: list[Transition]
    finished: list[tuple[int, float]]
    obs: np.ndarray
    state: WorkerState


class RolloutWorker:
    """Acts with a student's network at copies of the task that nobody else plays."""

    def __init__(self, env: VectorEnv, student: Student):
        self._env, self._student = env, student

    def begin(self, rng: np.random.Generator) -> np.ndarray:
        """A stretch: episodes begin everywhere, and everything is drawn from this generator. Returns obs [n, *O]."""
        self._rng = rng
        self._stage = Stage(self._env, self._student, self._env.reset(rng))
        self._collector = Collector(self._stage, rng, False)
        return self._stage.obs

    def act(self, request: Request, weights: np.ndarray) -> Reply:
        """Play with the learner's weights."""
        follow(self._student, weights)
        experience = self._collector.during(request.explores, lambda: None, request.idle)
        finished, self._collector.finished = self._collector.finished, []
        return Reply(experience, finished, self._stage.obs, WorkerState(self._rng, self._stage.carry))

    def catch_up(self, actions: Sequence[np.ndarray], state: WorkerState) -> None:
        """Be where one stood who did all this since the stretch began: its copies do it again."""
        self._stage.actor = _Again(self._student, actions)
        for _ in actions:
            self._collector.during([0.0], lambda: None)
        self._collector.finished.clear()
        self._stage.actor, self._stage.carry = self._student, state.carry
        self._rng.bit_generator.state = state.rng.bit_generator.state

    def close(self) -> None:
        """Let the copies go."""
        self._env.close()


class _Again:
    """Does what was done."""

    def __init__(self, student: Actor, actions: Sequence[np.ndarray]):
        self._student, self._actions = student, iter(actions)

    def initial(self, n: int) -> Tensor:
        """As the student's."""
        return self._student.initial(n)

    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: Any) -> ActorOutput:
        """The next of them."""
        return ActorOutput(next(self._actions), carry)


# ---- weights on their way ----------------------------------------------------------------------------------


def weights_of(student: Student) -> np.ndarray:
    """What it takes to act as a student does now, as one vector: all that its network keeps."""
    return _vector(student).gather().cpu().numpy()


def follow(student: Student, weights: np.ndarray) -> None:
    """Act with weights that came from somebody of the same shapes."""
    _vector(student).scatter(torch.from_numpy(weights))
    student.publish()


def _vector(student: Student) -> Vector:
    return Vector(student.network.state_dict().values())
