"""The dm_control suite (extra `control`): `dm_control/DOMAIN-TASK-v0`, as Shimmy names them, from flat vectors.

What an episode shows is one vector, the parts in alphabetical order. Almost no task ends but by its time limit.
"""

import functools
import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from reincarnate.envs import checks
from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.types import TaskSpec, VectorEnv

PREFIX, VERSION = "dm_control/", "-v0"
PACKAGES = ("dm-control", "mujoco")  # distributions that its tasks' code is of
UNLIMITED = 1e10  # MuJoCo's mjMAXVAL: what dm_control calls the bounds of an actuator without limits


class Ids:
    """All of the suite. Without the package any id may be asked for, and is told what is missing."""

    def __iter__(self) -> Iterator[str]:
        return iter(_names() if "dm_control" in sys.modules else ())  # others' misspellings do not load it

    def __contains__(self, env_id: object) -> bool:
        return isinstance(env_id, str) and env_id.startswith(PREFIX) and (not _there() or env_id in _names())


def ids() -> Ids:
    """What can be made here."""
    return Ids()


@functools.cache
def spec(env_id: str) -> TaskSpec:
    """The task's spec. Raises UserError where dm-control is missing, or there is no such task."""
    env = _load(env_id)
    shown, taken = env.observation_spec(), env.action_spec()
    limit = getattr(env, "_step_limit", math.inf)
    protocol = {
        "env": env_id,
        "max_episode_steps": int(limit) if math.isfinite(limit) else None,
        "reward_clip": None,
        "observation": [[name, int(np.prod(shown[name].shape))] for name in sorted(shown)],
    }
    low, high = (np.broadcast_to(bound, taken.shape).tolist() for bound in (taken.minimum, taken.maximum))
    checks.bounds(env_id, [*map(_limit, low)], [*map(_limit, high)])
    size = sum(length for _, length in protocol["observation"])
    return TaskSpec(env_id, (size,), "float32", len(low), 1, None, protocol, (tuple(low), tuple(high)))


def _limit(bound: float) -> float:
    """A bound, infinite where the suite says that there is none, as in lqr."""
    return bound if abs(bound) < UNLIMITED else math.copysign(math.inf, bound)


def make(env_id: str, n: int, view: str) -> VectorEnv:
    """`n` copies."""
    if view != "student":
        raise UserError(f"{env_id} offers no view {view!r} for a teacher; only ALE/* tasks offer 'rgb'")
    return Copies(spec(env_id), lambda: _Control(env_id), n, None)


def _there() -> bool:
    return importlib.util.find_spec("dm_control") is not None


@functools.cache
def _names() -> tuple[str, ...]:
    return tuple(f"{PREFIX}{domain}-{task}{VERSION}" for domain, task in _suite().ALL_TASKS)


def _suite() -> Any:
    os.environ.setdefault("MUJOCO_GL", "disable")  # nothing is drawn; without a screen its import fails
    try:
        return importlib.import_module("dm_control.suite")
    except ImportError as error:
        said = " ".join(str(error).split())
        raise UserError(f'dm_control/… tasks need dm-control: pip install "reincarnate[control]" ({said})') from error


def _load(env_id: str) -> Any:
    suite = _suite()
    domain, _, task = env_id.removeprefix(PREFIX).removesuffix(VERSION).rpartition("-")
    return suite.load(domain, task)


class _Control:
    """One task. It ends truly where its discount is 0, else by its time limit."""

    def __init__(self, env_id: str):
        self._env = _load(env_id)

    def reset(self, seed: int | None) -> np.ndarray:
        if seed is not None:
            self._env.task.random.seed(seed)
        return _vector(self._env.reset().observation)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        said = self._env.step(action)
        terminated = said.last() and said.discount == 0
        return _vector(said.observation), float(said.reward), bool(terminated), bool(said.last() and not terminated)

    def close(self) -> None:
        self._env.close()


def _vector(observation: Mapping[str, Any]) -> np.ndarray:
    parts = [np.asarray(observation[name], np.float32).ravel() for name in sorted(observation)]
    return np.concatenate(parts)
