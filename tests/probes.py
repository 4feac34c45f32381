"""Probe environments and teachers of seconds, where a wrong algorithm cannot pass."""

import numpy as np
import torch
from torch import Tensor

from reincarnate.envs.vector import Copies
from reincarnate.nets import build
from reincarnate.students import DQN
from reincarnate.types import ACTIONS, VALUES, TaskSpec, TeacherCard


class Catch:
    """A ball falls; the paddle must be under it. One reward, +1 or -1, at the end, after `rows - 1` steps."""

    rows, columns = 8, 5
    spec = TaskSpec("Catch", (40,), "float32", 3, 1, None, {"env": "Catch"})

    def __init__(self):
        self._rng = np.random.default_rng(0)

    def reset(self, seed):
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.y, self.x, self.paddle = 0, int(self._rng.integers(self.columns)), self.columns // 2
        return self._look()

    def _look(self):
        board = np.zeros((self.rows, self.columns), np.float32)
        board[self.y, self.x] = board[-1, self.paddle] = 1
        return board.ravel()

    def step(self, action):
        self.paddle = int(np.clip(self.paddle + action - 1, 0, self.columns - 1))
        self.y += 1
        done = self.y == self.rows - 1
        return self._look(), (1.0 if self.x == self.paddle else -1.0) if done else 0.0, done, False

    def close(self):
        pass


class Corridor:
    """Observation: the time since the start. Reward: the same number. Ends after `length` steps, truly or by limit."""

    def __init__(self, length: int, terminates: bool):
        self.length, self.terminates = length, terminates

    def reset(self, seed):
        self.t = 0
        return np.array([0.0], np.float32)

    def step(self, action):
        self.t += 1
        over = self.t == self.length
        return np.array([self.t], np.float32), float(self.t), over and self.terminates, over and not self.terminates

    def close(self):
        pass


def corridor_spec(stack: int = 1) -> TaskSpec:
    return TaskSpec("Corridor", (1,), "float32", 2, stack, None, {"env": "Corridor"})


def catch(n: int = 1) -> Copies:
    return Copies(Catch.spec, Catch, n, None)


class CatchTeacher:
    """Heads for the ball; with probability `noise` it would act at random, and its logits say so."""

    view = "student"

    def __init__(self, noise: float = 0.3):
        self.noise = noise
        self.asked = 0
        self.parameter = torch.ones(1)
        self.card = TeacherCard(
            "catch", "probe", "rule", VALUES, "none", 0, "c" * 64, (40,), "float32", 3, "none", "safe", env="Catch"
        )

    def initial_state(self, n):
        return None

    def logits(self, obs: Tensor, state):
        self.asked += len(obs)
        board = obs.view(-1, Catch.rows, Catch.columns)
        ball, paddle = board[:, :-1].sum(1).argmax(-1), board[:, -1].argmax(-1)
        best = torch.nn.functional.one_hot(1 + (ball - paddle).sign(), 3)
        return ((1 - self.noise) * best + self.noise / 3).log() * self.parameter, None


class CountingTeacher(CatchTeacher):
    """A recurrent teacher: its logits are the number of steps since the episode began, in every action."""

    def __init__(self):
        CatchTeacher.__init__(self)
        self.card = TeacherCard(
            "count", "probe", "rule", ACTIONS, "none", 0, "d" * 64, (40,), "float32", 3, "none", "safe", env="Catch"
        )

    def initial_state(self, n):
        return torch.zeros(n, 1)

    def logits(self, obs, state):
        return state.expand(-1, 3).clone() * torch.tensor([1.0, 1.0, 1.001]), state + 1


def network_of(spec: TaskSpec, seed: int = 0, **settings):
    """A fresh network as a DQN student with these settings has it."""
    config = DQN(**settings)
    return build(spec, config, config.critic(), seed)
