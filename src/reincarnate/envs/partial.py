"""Partially observable tasks of two packages (extra `memory`): MiniGrid's grids, POPGym's puzzles."""

import functools
import importlib
import os
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.types import TaskSpec, VectorEnv

PREFIXES = {"MiniGrid-": "minigrid", "popgym-": "popgym"}
"""Of ids, and whose package they are."""
PLANES = (11, 6, 3)  # MiniGrid's kinds of object, colours and states of a door


class Ids:
    """Any id with one of the prefixes may be asked for; those are listed whose package is loaded already."""

    def __iter__(self) -> Iterator[str]:
        return (env_id for env_id in gym.registry if env_id.startswith(tuple(PREFIXES)))

    def __contains__(self, env_id: object) -> bool:
        return isinstance(env_id, str) and env_id.startswith(tuple(PREFIXES))


def packages(env_id: str) -> tuple[str, ...]:
    """The distributions that a task's code is of."""
    return tuple(package for prefix, package in PREFIXES.items() if env_id.startswith(prefix))


def ids() -> Ids:
    """What can be made here."""
    return Ids()


@functools.cache
def spec(env_id: str) -> TaskSpec:
    """The task's spec.

    MiniGrid: bool[7, 7, 20], what the agent sees with one plane per kind, colour and state; its compass and the mission
    are left out. POPGym: a float32 vector, whatever is discrete in it one-hot. Raises UserError for an unknown id, a
    package that is missing, and actions that are not one number.
    """
    env = _made(env_id)
    action, limit = env.action_space, getattr(env.unwrapped, "max_steps", None)
    obs = env.observation_space
    env.close()
    if not isinstance(action, gym.spaces.Discrete) or action.start != 0:
        raise UserError(f"{env_id}: actions are {action}; needed: Discrete from 0")
    protocol = {"env": env_id, "max_episode_steps": limit, "reward_clip": None}
    if isinstance(obs, gym.spaces.Dict):
        shape = (*obs["image"].shape[:2], sum(PLANES))  # pyright: ignore
        return TaskSpec(env_id, shape, "bool", int(action.n), 1, None, protocol)
    return TaskSpec(env_id, (gym.spaces.flatdim(obs),), "float32", int(action.n), 1, None, protocol)


def make(env_id: str, n: int, view: str) -> VectorEnv:
    """`n` copies."""
    if view != "student":
        raise UserError(f"{env_id} offers no view {view!r} for a teacher; only ALE/* tasks offer 'rgb'")
    return Copies(spec(env_id), lambda: _Partial(env_id), n, None)


def _made(env_id: str) -> Any:
    package = next(name for prefix, name in PREFIXES.items() if env_id.startswith(prefix))
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # MiniGrid's pygame greets on import
    try:
        importlib.import_module(package)
        return gym.make(env_id, disable_env_checker=True)
    except ImportError as error:
        raise UserError(f'{env_id} needs {package}: pip install "reincarnate[memory]" ({error})') from error
    except gym.error.Error as error:
        raise UserError(f"{env_id} cannot be made: {error}") from error


class _Partial:
    """One task; the packages' own time limits truncate."""

    def __init__(self, env_id: str):
        self._env = _made(env_id).unwrapped
        self._space = self._env.observation_space

    def picture(self) -> Any:
        """The whole grid with what is seen of it in light; None of tasks that draw nothing."""
        frame = getattr(self._env, "get_frame", None)
        return frame() if frame else None

    def reset(self, seed: int | None) -> np.ndarray:
        return self._seen(self._env.reset(seed=seed)[0])

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool]:
        obs, reward, terminated, truncated, _ = self._env.step(action)
        return self._seen(obs), float(reward), bool(terminated), bool(truncated)

    def _seen(self, obs: Any) -> np.ndarray:
        if isinstance(self._space, gym.spaces.Dict):
            return planes(obs["image"])
        return np.asarray(gym.spaces.flatten(self._space, obs), np.float32)

    def close(self) -> None:
        self._env.close()


def planes(image: np.ndarray) -> np.ndarray:
    """MiniGrid's numbers [H, W, 3] one-hot, bool [H, W, 20]."""
    return np.concatenate([image[..., i, None] == np.arange(k) for i, k in enumerate(PLANES)], -1)
