"""The random walk of the pressure to fly at, with which value students explore (`students.exploration`)."""

import numpy as np

from reincarnate.envs.balloon.constants import AGENT_STEP, DOWN, STAY, UP
from reincarnate.envs.balloon.features import LEVELS, LOWEST, SPACING

HYSTERESIS = 100.0  # Pa
DEVIATION = 0.1666  # Pa for each second that the walk has been followed
TARGETS = (6500.0, 11_400.0)  # Pa, where a walk begins


class PressureWalk:
    """n walks, each followed when it is asked; its steps grow with the time that it has been followed.

    Source: Balloon Learning Environment 1.0.1, `random_walk_agent.py`, whose clock runs only while it acts.
    """

    def __init__(self, n: int):
        self.target, self.steps = np.zeros(n), np.zeros(n)

    def begin(self, which: np.ndarray, rng: np.random.Generator) -> None:
        """New walks for these copies (bool [n])."""
        self.target[which] = rng.uniform(*TARGETS, size=int(which.sum()))
        self.steps[which] = 0

    def act(self, which: np.ndarray, obs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Actions of these copies (bool [n], m of them), which see obs [m, 1099]."""
        self.steps[which] += 1
        normal = rng.standard_normal(int(which.sum()))
        self.target[which] += normal * DEVIATION * AGENT_STEP * self.steps[which]
        pressure, target = pressure_of(obs), self.target[which]
        return np.where(pressure - HYSTERESIS > target, UP, np.where(pressure + HYSTERESIS < target, DOWN, STAY))


def pressure_of(obs: np.ndarray) -> np.ndarray:
    """The balloon's pressure in Pa, as its observations [n, 1099] show it."""
    return LOWEST + SPACING * (LEVELS - 1) * obs[:, 0].astype(np.float64)
