"""Experience: the student acts for a few steps, on this thread or beside the learner, with the same result."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from reincarnate.rollout import TeacherPlayer
from reincarnate.types import Step, Student, VectorEnv


class Transition(NamedTuple):
    """One step of every copy: what was seen, done and said about it (the teacher's logits, or None)."""

    obs: np.ndarray
    action: np.ndarray
    step: Step
    teacher: np.ndarray | None


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
        overlap: bool,
    ):
        self.env, self.student, self._rng, self._watcher = env, student, rng, watcher
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
