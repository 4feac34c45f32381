"""n copies of Gymnasium's CartPole that step together, to the bit as n of its environments would.

Gymnasium's own vector class draws all copies' states from one generator; here each copy has a seed of its own.
"""

import math

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.seeding import np_random

from reincarnate.envs.vector import IDLE, Copies
from reincarnate.errors import UserError
from reincarnate.types import Step, TaskSpec

ENTRY = "gymnasium.envs.classic_control.cartpole:CartPoleEnv"
SOME = 4  # copies from which stepping them together is quicker than one after another (benchmarks/cartpole_steps.py)

# as gymnasium.envs.classic_control.cartpole has them
GRAVITY, MASS_POLE, TOTAL_MASS, LENGTH = 9.8, 0.1, 0.1 + 1.0, 0.5  # m/s², kg, kg, half of the pole's length in m
POLE_MASS_LENGTH = MASS_POLE * LENGTH
FORCE, TAU = 10.0, 0.02  # N, s
LARGEST_X, LARGEST_ANGLE = 2.4, 12 * 2 * math.pi / 360
FIRST = 0.05  # a state begins within ± this


def fits(registration: EnvSpec, n: int, bare: bool) -> bool:
    """Whether a task is CartPole as it is registered, `bare` of settings and wrappers, and n pays."""
    usual = not any((registration.kwargs or {}).values()) and not registration.additional_wrappers
    return bare and n >= SOME and registration.entry_point == ENTRY and usual


class CartPoles(Copies):
    """CartPole (Barto, Sutton & Anderson, 1983) by Euler's method; a reward of 1 a step."""

    def __init__(self, spec: TaskSpec, n: int, max_steps: int):
        self.spec, self.n, self._limit = spec, n, max_steps
        self.mask, self.score = None, np.zeros(n, np.float32)
        self._state, self._ages = np.zeros((4, n)), np.zeros(n, np.intp)
        self._obs = np.zeros((n, 4), np.float32)
        self._rngs: list[np.random.Generator] = []

    def begin(self, seeds: np.ndarray) -> np.ndarray:
        """Begin anew everywhere, each copy from its seed."""
        self._rngs = [np_random(int(seed))[0] for seed in seeds]
        self._ages[:] = 0
        self._restart_all(self._state, range(self.n))
        self._obs = _seen(self._state)
        return self._obs

    def step(self, actions: np.ndarray) -> Step:
        """One action in each copy; IDLE leaves a copy as it is."""
        idle = np.equal(actions, IDLE)
        if np.maximum.reduce(actions) > 1 or np.minimum.reduce(actions) < IDLE:
            wrong = next(int(a) for a in actions if not IDLE <= a <= 1)
            raise UserError(f"{self.spec.id}: action {wrong} is none of its 2")
        state, some_idle = _moved(self._state, actions), bool(idle.any())
        if some_idle:
            state[:, idle] = self._state[:, idle]
        self._ages += ~idle
        next_obs = _seen(state)
        reach = np.abs(state[::2])
        terminated = (reach[0] > LARGEST_X) | (reach[1] > LARGEST_ANGLE)
        truncated = (self._ages == self._limit) & ~terminated
        reward, over = np.ones(self.n, np.float32), terminated | truncated
        if some_idle:
            reward[idle] = terminated[idle] = truncated[idle] = over[idle] = 0
        self._state = state
        obs, done = next_obs, over.nonzero()[0]
        if done.size:
            self._ages[done] = 0
            self._restart_all(state, done)
            obs = next_obs.copy()
            obs[done] = state[:, done].T
        self._obs = obs
        return Step(obs, next_obs, reward, terminated, truncated)

    def picture(self) -> None:
        """Nothing; who wants pictures names a mode to render in, and gets Gymnasium's own environment."""

    def view(self, name: str) -> np.ndarray:
        """The observation to act on; there is no other."""
        return self._obs

    def close(self) -> None:
        """Nothing is held open."""

    def _restart_all(self, state: np.ndarray, rows: "np.ndarray | range") -> None:
        for i in rows:
            state[:, i] = self._rngs[i].uniform(-FIRST, FIRST, 4)


def _seen(state: np.ndarray) -> np.ndarray:
    """Observations, float32 [n, 4], of states [4, n]."""
    return np.array(state.T, np.float32, order="C")


def _moved(state: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """States [4, n] a step later; the arithmetic in Gymnasium's order."""
    _, x_dot, theta, theta_dot = state
    force = np.where(np.equal(actions, 1), FORCE, -FORCE)
    cos, sin = np.cos(theta), np.sin(theta)
    temp = (force + POLE_MASS_LENGTH * np.square(theta_dot) * sin) / TOTAL_MASS
    down = GRAVITY * sin - cos * temp
    theta_acc = down / (LENGTH * (4.0 / 3.0 - MASS_POLE * np.square(cos) / TOTAL_MASS))
    x_acc = temp - POLE_MASS_LENGTH * theta_acc * cos / TOTAL_MASS
    return state + TAU * np.stack([x_dot, x_acc, theta_dot, theta_acc])
