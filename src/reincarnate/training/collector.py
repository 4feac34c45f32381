"""Experience: somebody acts for a few steps, on this thread or beside the learner, with the same result."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from reincarnate.training.players import Explore, Player, Stage, Transition
from reincarnate.types import Actor, ActorOutput, Guide, Progress, TimeStep


class Guided:
    """A student whose episodes a teacher begins. Draws from a generator of its own, so that ε's stream is left alone.

    Its carry is the student's; a teacher that remembers keeps its own, and sees every step.
    """

    def __init__(
        self,
        student: Actor,
        player: Player,
        guide: Guide,
        progress: Callable[[], Progress],
        n: int,
        rng: np.random.Generator,
    ):
        self._student, self._player, self._guide, self._progress, self._rng = student, player, guide, progress, rng
        self._left = np.zeros(n)  # steps the teacher still acts in each copy's episode
        self._carry = player.initial(n)

    def initial(self, n: int) -> Tensor:
        """The student's memory as episodes begin."""
        return self._student.initial(n)

    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput:
        """The student's actions [n], with the teacher's where an episode is young."""
        acted = self._student.act(step, carry, explore, rng)
        begins = step.begins.numpy()
        if begins.any():
            self._left[begins] = self._horizons(int(begins.sum()))
        young = self._left > 0
        if self._guide.share is not None:
            young &= self._rng.random(len(young)) < self._guide.share(self._progress())
        if young.any():
            teachers = self._player.act(step, self._carry, 0.0, self._rng)
            self._carry = teachers.carry
            chosen = young[:, None] if acted.action.ndim == 2 else young
            acted = acted._replace(action=np.where(chosen, teachers.action, acted.action))
        elif self._carry.shape[-1]:  # a memory needs every step
            _, self._carry = self._player.policy.predict(step, self._carry)
        self._left -= 1
        return acted

    def _horizons(self, n: int) -> np.ndarray:
        horizon = self._guide.horizon(self._progress())
        if not self._guide.drawn or horizon < 1:
            return np.full(n, float(horizon))
        return self._rng.integers(1, int(horizon) + 1, size=n)


@runtime_checkable
class Collects(Protocol):
    """Where experience comes from: a collector here, or several who act elsewhere (`training.remote_actors`)."""

    finished: list[tuple[int, float]]  # (copy, return) of episodes that ended, until somebody takes them

    @property
    def obs(self) -> np.ndarray: ...  # what the copies show now
    def during(
        self, explores: list[Explore], work: Callable[[], None], idle: np.ndarray | None = None
    ) -> list[Transition]: ...
    def rest(self) -> None: ...  # a stretch is over


class Collector:
    """Acts on a stage. The learner never sees a transition before the cycle it was made in is over, whether or not the
    two overlap, so that results do not depend on `overlap`.

    Each step may `give_way` to what the learner waits for.
    """

    def __init__(self, stage: Stage, rng: Any, overlap: bool, give_way: Callable[[], None] | None = None):
        self.stage, self._rng, self._give_way = stage, rng, give_way or (lambda: None)
        self._pool = ThreadPoolExecutor(1) if overlap else None
        self.finished: list[tuple[int, float]] = []  # (copy, return) of episodes that ended, until somebody takes them

    def during(
        self, explores: list[Explore], work: Callable[[], None], idle: np.ndarray | None = None
    ) -> list[Transition]:
        """Act once per exploration, do `work` meanwhile (or afterwards), and return what was experienced.

        Copies that are `idle` are left alone in the last step: a budget need not divide by the number of copies.
        """
        if self._pool is None:
            experience = self._act(explores, idle)
            work()
            return experience
        future = self._pool.submit(self._act, explores, idle)
        work()
        return future.result()

    def _act(self, explores: list[Explore], idle: np.ndarray | None) -> list[Transition]:
        last = len(explores) - 1
        return [self._step(explore, idle if i == last else None) for i, explore in enumerate(explores)]

    def _step(self, explore: Explore, idle: np.ndarray | None) -> Transition:
        self._give_way()
        transition = self.stage.play(explore, self._rng, idle)
        if np.count_nonzero(self.stage.begins):  # quicker than any(), as everywhere on this path
            self.finished += self.stage.ended()
        return transition

    @property
    def obs(self) -> np.ndarray:
        """What the copies show now."""
        return self.stage.obs

    def rest(self) -> None:
        """The stretch is over: let the thread go; the environment stays open."""
        if self._pool is not None:
            self._pool.shutdown()
