"""A random walk of the pressure to fly at, the explorer of the Balloon Learning Environment."""

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from reincarnate.envs.balloon.constants import AGENT_STEP, DOWN, STAY, UP
from reincarnate.envs.balloon.walk import DEVIATION, HYSTERESIS, TARGETS, pressure_of
from reincarnate.teachers.balloon.scripted import BALLOON_ACTIONS, scripted
from reincarnate.teachers.lifts import from_actions
from reincarnate.types import LOGITS, Prediction, TimeStep

KEY_BITS = 24  # that a float32 holds exactly


class RandomWalk:
    """Flies towards a pressure that walks at random, with steps that grow with the flight's age.

    That they do is a quirk of the original (1.0.1), kept. Its memory [n, 3] is the steps flown, the target in Pa and a
    key. A frozen policy draws nothing: the key is a hash of the flight's first observation, and the numbers follow
    from it.
    """

    view = "student"
    frozen = True
    card = scripted("random_walk", "random walk", __file__)

    def initial(self, n: int) -> Float32[Tensor, "n 3"]:
        """The memory of n new flights."""
        return torch.zeros(n, 3)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Float32[Tensor, "B 3"]) -> tuple[Prediction, Float32[Tensor, "B 3"]]:
        """Observations [B, 1099] and the memory to the action it takes, and the next memory."""
        obs, memory = step.obs, torch.where(step.begins[:, None], 0.0, carry)
        seen = obs.cpu().numpy()
        steps, target, key = memory.cpu().numpy().astype(np.float64).T
        new = steps == 0
        key = np.where(new, _key(seen), key)
        first, second = _uniform(key, steps)
        normal = np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)
        walked = target + normal * DEVIATION * AGENT_STEP * steps
        target = np.where(new, TARGETS[0] + first * (TARGETS[1] - TARGETS[0]), walked)
        pressure = pressure_of(seen)
        action = np.where(pressure - HYSTERESIS > target, UP, np.where(pressure + HYSTERESIS < target, DOWN, STAY))
        carried = torch.from_numpy(np.stack([steps + 1, target, key], axis=1).astype(np.float32))
        told = from_actions(torch.from_numpy(action), BALLOON_ACTIONS)
        return Prediction(LOGITS, told.to(obs.device)), carried.to(obs.device)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Well-mixed 64 bits (SplitMix64, Steele et al., 2014)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _key(obs: np.ndarray) -> np.ndarray:
    """A number below 2²⁴ for each observation, from all of its ambient numbers."""
    bits = np.ascontiguousarray(obs[:, :16]).view(np.uint32).astype(np.uint64)
    key = np.zeros(len(obs), np.uint64)
    for column in bits.T:
        key = _mixed(key ^ column)
    return (key >> np.uint64(64 - KEY_BITS)).astype(np.float64)


def _uniform(key: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two independent numbers in [0, 1) for each key and step."""
    counter = (key.astype(np.uint64) << np.uint64(32)) + (steps.astype(np.uint64) << np.uint64(1))
    first, second = ((_mixed(counter + np.uint64(i)) >> np.uint64(11)) * 2.0**-53 for i in (0, 1))
    return first, second
