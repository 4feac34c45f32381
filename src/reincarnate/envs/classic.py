"""Any registered Gymnasium id with vector observations: CartPole, LunarLander; continuous actions too (Pendulum)."""

import functools
from typing import Any

import gymnasium as gym
import numpy as np

from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.types import TaskSpec, VectorEnv


@functools.cache
def ids() -> frozenset[str]:
    """Every id Gymnasium has registered."""
    return frozenset(gym.registry)


@functools.cache
def spec(env_id: str) -> TaskSpec:
    """The task's spec. Raises UserError where observations are not vectors, or actions neither discrete nor bounded."""
    env = _gym_make(env_id)
    obs, action = env.observation_space, env.action_space
    env.close()
    if not isinstance(obs, gym.spaces.Box) or len(obs.shape) != 1:
        raise UserError(f"{env_id}: observations are {obs}; vectors are needed (a Box of one dimension)")
    limit = gym.spec(env_id).max_episode_steps
    protocol = {"env": env_id, "max_episode_steps": limit, "reward_clip": None}
    if isinstance(action, gym.spaces.Box) and len(action.shape) == 1 and action.is_bounded():
        bounds = tuple(map(float, action.low)), tuple(map(float, action.high))
        return TaskSpec(env_id, obs.shape, "float32", action.shape[0], 1, None, protocol, bounds)
    if not isinstance(action, gym.spaces.Discrete) or action.start != 0:
        raise UserError(f"{env_id}: actions are {action}; needed: Discrete from 0, or a bounded Box of one dimension")
    return TaskSpec(env_id, obs.shape, "float32", int(action.n), 1, None, protocol)


def make(env_id: str, n: int, view: str) -> VectorEnv:
    """`n` copies."""
    if view != "student":
        raise UserError(f"{env_id} offers no view {view!r} for a teacher; only ALE/* tasks offer 'rgb'")
    return Copies(spec(env_id), lambda: _Gym(env_id), n, gym.spec(env_id).max_episode_steps)


def _gym_make(env_id: str) -> gym.Env:
    try:
        return gym.make(env_id, disable_env_checker=True)
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise UserError(f"{env_id} needs a package that is not installed: {error}") from error
    except gym.error.Error as error:
        raise UserError(f"{env_id} cannot be made: {error}") from error


def _bare(env_id: str) -> Any:
    env: Any = _gym_make(env_id)
    while isinstance(env, gym.wrappers.TimeLimit | gym.wrappers.OrderEnforcing):
        env = env.env
    return env


class _Gym:
    """A Gymnasium environment without its TimeLimit and checking wrappers, which cost more than CartPole itself."""

    def __init__(self, env_id: str):
        self._id, self._env, self._used = env_id, _bare(env_id), False

    def reset(self, seed: int | None) -> np.ndarray:
        if seed is not None and self._used:  # some remember more than their generator: Box2D's worlds, contacts
            self._env.close()
            self._env = _bare(self._id)
        self._used = True
        return self._env.reset(seed=seed)[0]

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        obs, reward, terminated, truncated, _ = self._env.step(action)
        return obs, float(reward), bool(terminated), bool(truncated)

    def close(self) -> None:
        self._env.close()
