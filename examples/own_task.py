"""A task of your own: any Gymnasium environment, and how it is found.

This is examples/own_task.py: in that folder, or with it on PYTHONPATH,

    reincarnate train scratch --env own_task:Corridor --env-kwargs.length 12      (a class, by its module)
    reincarnate train scratch --import own_task --env Corridor-v0                 (an id that the module registers)

A whole family of tasks with a vector environment of its own (`reincarnate.types.VectorEnv`, as in
`reincarnate.envs.minatar`) is added by `reincarnate.register_family("Mine/", module)`.
"""

import gymnasium as gym
import numpy as np


class Corridor(gym.Env):
    """Walk right (action 1) to the end: +1 there, -0.01 a step. It sees where it is, as a fraction of the way."""

    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)

    def __init__(self, length: int = 6):
        self.length, self.at = length, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return self._seen(), {}

    def step(self, action):
        self.at = max(0, self.at + (1 if action == 1 else -1))
        done = self.at >= self.length
        return self._seen(), 1.0 if done else -0.01, done, False, {}

    def _seen(self):
        return np.array([self.at / self.length], np.float32)


if "Corridor-v0" not in gym.registry:
    gym.register("Corridor-v0", entry_point=Corridor, max_episode_steps=60)
