"""Experience: the student acts for a few steps, on this thread or beside the learner, with the same result."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from reincarnate.training.players import TeacherPlayer
from reincarnate.types import Guide, Progress, Step, Student, VectorEnv


class Transition(NamedTuple):
    """One step of every copy: what was seen, done and said about it (the teacher's logits, or None)."""

    obs: np.ndarray
    action: np.ndarray
    step: Step
    teacher: np.ndarray | None


class Guided:
    """A teacher that acts while episodes are young. Draws from a generator of its own, so that ε's stream is left."""

    def __init__(
        self, player: TeacherPlayer, guide: Guide, progress: Callable[[], Progress], n: int, rng: np.random.Generator
    ):
        self._player, self._guide, self._progress, self._rng = player, guide, progress, rng
        self._left = np.zeros(n)  # steps the teacher still acts in each copy's episode

    def __call__(self, action: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """The student's actions [n], with the teacher's where an episode is young; `begins` marks new episodes."""
        if begins.any():
            self._left[begins] = self._horizons(int(begins.sum()))
        young = self._left > 0
        logits = self._player.logits(begins)  # a recurrent teacher's memory needs every step
        if young.any():
            action = np.where(young, self._player.act(logits, self._rng), action)
        self._left -= 1
        return action

    def _horizons(self, n: int) -> np.ndarray:
        horizon = self._guide.horizon(self._progress())
        if not self._guide.drawn or horizon < 1:
            return np.full(n, float(horizon))
        return self._rng.integers(1, int(horizon) + 1, size=n)


class Collector:
    """Acts in one vector environment with the student's published weights.

    The learner never sees a transition before the cycle it was made in is over, whether or not the two overlap, so
    that results do not depend on `overlap`.
    """

    def __init__(
        self,
        env: VectorEnv,
        student: Student,
        rng: np.random.Generator,
        watcher: TeacherPlayer | None,
        guide: Guided | None,
        overlap: bool,
    ):
        self.env, self.student, self._rng, self._watcher, self._guide = env, student, rng, watcher, guide
        self._pool = ThreadPoolExecutor(1) if overlap else None
        self.finished: list[float] = []  # returns of episodes that ended, until somebody takes them
        self.obs = env.reset(rng)
        self._begins, self._totals = np.ones(env.n, bool), np.zeros(env.n)

    def during(self, epsilons: list[float], work: Callable[[], None]) -> list[Transition]:
        """Act once per ε, do `work` meanwhile (or afterwards), and return what was experienced."""
        if self._pool is None:
            experience = self._act(epsilons)
            work()
            return experience
        future = self._pool.submit(self._act, epsilons)
        work()
        return future.result()

    def _act(self, epsilons: list[float]) -> list[Transition]:
        return [self._step(epsilon) for epsilon in epsilons]

    def _step(self, epsilon: float) -> Transition:
        logits = self._watcher.logits(self._begins) if self._watcher else None
        obs = self.obs
        action = self.student.act(obs, epsilon, self._rng)
        if self._guide:
            action = self._guide(action, self._begins)
        step = self.env.step(action)
        self._totals += step.reward
        self._begins = step.terminated | step.truncated
        if self._begins.any():
            self.finished.extend(self._totals[self._begins].tolist())
            self._totals[self._begins] = 0.0
        self.obs = step.obs
        return Transition(obs, action, step, logits)

    def close(self) -> None:
        """Let the thread go; the environment stays open."""
        if self._pool is not None:
            self._pool.shutdown()
