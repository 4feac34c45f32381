"""Policies that act on a vector environment: the student, the teacher, the random policy."""

import numpy as np
import torch

from reincarnate.teachers.lifts import play
from reincarnate.types import LOGITS, TaskSpec, Teacher, TeacherCard, VectorEnv


def way_of_playing(card: TeacherCard, how: str) -> str:
    """ "greedy" or "sample": as asked, or for "auto" as its makers do; unknown, a policy samples, others are greedy."""
    if how != "auto":
        return how
    return card.plays or ("sample" if card.tells == LOGITS else "greedy")


class TeacherPlayer:
    """A teacher at one vector environment: its eyes (view), its memory (state), its way of playing (`how`)."""

    def __init__(self, teacher: Teacher, env: VectorEnv, how: str = "auto"):
        self.teacher, self._env, self._how = teacher, env, way_of_playing(teacher.card, how)
        self._state = teacher.initial_state(env.n)

    @torch.no_grad()
    def logits(self, begins: np.ndarray) -> np.ndarray:
        """Logits [n, A] for what the environment shows now; `begins` marks rows where an episode starts.

        Advances a recurrent teacher's memory: call it once per step.
        """
        if self._state is not None and begins.any():
            fresh = self.teacher.initial_state(self._env.n)
            assert fresh is not None
            mask = torch.from_numpy(begins).view(-1, *[1] * (self._state.ndim - 1))
            self._state = torch.where(mask, fresh, self._state)
        obs = torch.from_numpy(np.ascontiguousarray(self._env.view(self.teacher.view)))
        logits, self._state = self.teacher.logits(obs, self._state)
        return logits.numpy()

    def act(self, logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Actions [n] the way this teacher plays."""
        return play(torch.from_numpy(logits), self.teacher.card.tells, rng, self._how)

    def __call__(self, obs: np.ndarray, begins: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.act(self.logits(begins), rng)


def random_actions(spec: TaskSpec, n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform over the task's actions: int64 [n], or float32 [n, A] where they are continuous."""
    if spec.bounds is None:
        return rng.integers(spec.actions, size=n)
    low, high = (np.asarray(bound) for bound in spec.bounds)
    return rng.uniform(low, high, (n, spec.actions)).astype(np.float32)


def random_policy(spec: TaskSpec):
    """Uniformly random actions: the zero of every normalised score."""

    def policy(obs: np.ndarray, begins: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return random_actions(spec, len(obs), rng)

    return policy
