"""The spaces that an SB3 zip names: the task's own where they are known here, else wide; and what SB3 must be told."""

import warnings
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from reincarnate.envs.task import TaskSettings, parse
from reincarnate.types import TaskSpec

SCREEN_AXES = 3
OWN = '"{0}": env.{0}'
TRANSFORM = "gymnasium.wrappers.TransformAction(env, lambda action: {}, gymnasium.spaces.Discrete({}))"


class Spaces(NamedTuple):
    """What an agent sees and does, and what whoever loads it must know beside."""

    observations: gymnasium.Space
    actions: gymnasium.Space
    remarks: tuple[str, ...]


def spaces_of(spec: TaskSpec) -> Spaces:
    """Of the task as it is registered here; where it is not, or is shown otherwise, as wide as the dtype allows."""
    own = _own(spec)
    sees, does = own or (None, None)
    known = isinstance(sees, spaces.Box) and sees.shape == spec.obs_shape
    observations = _box(sees) if known else _wide(spec)
    said = [] if known or _is_screen(spec) else [_told_observations(spec, does is None)]
    return Spaces(observations, _actions(spec, does), (*said, *_told_actions(spec, does)))


def _own(spec: TaskSpec) -> tuple[gymnasium.Space, gymnasium.Space] | None:
    """What the task itself shows and takes; None where it cannot be known.

    The agent's address may be a stranger's. So nothing that it names is imported, and of its arguments only numbers are
    handed to a task: a text may name a file or a module.
    """
    try:
        task = parse(spec.id)
        if not _plain(task):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            env = gymnasium.make(gymnasium.registry[task.name], disable_env_checker=True, **task.kwargs)
        found = env.observation_space, env.action_space
        env.close()
    except Exception:  # whatever it is that keeps a task from being made
        return None
    return found


def _plain(task: TaskSettings) -> bool:
    """Whether it is registered by now, and shown as it is."""
    changed = task.parts or task.wrappers or task.sees or task.greyscale or task.frame_stack != 1
    numbers = all(value is None or isinstance(value, bool | int | float) for value in task.kwargs.values())
    return not changed and numbers and task.name in gymnasium.registry


def _box(space: Any) -> spaces.Box:
    return spaces.Box(space.low, space.high, dtype=space.dtype)


def _wide(spec: TaskSpec) -> spaces.Box:
    dtype = np.dtype(spec.obs_dtype)
    low, high = {"u": (0, 255), "b": (0, 1)}.get(dtype.kind, (-np.inf, np.inf))
    return spaces.Box(low, high, spec.obs_shape, dtype)  # pyright: ignore[reportArgumentType]


def _is_screen(spec: TaskSpec) -> bool:
    """Whether its wide space is what such tasks have."""
    return spec.obs_dtype == "uint8" and len(spec.obs_shape) == SCREEN_AXES


def _actions(spec: TaskSpec, does: gymnasium.Space | None) -> gymnasium.Space:
    """The task's actions; several choices are one, and a Box is a row."""
    if spec.bounds is None:
        return spaces.Discrete(spec.actions)
    if isinstance(does, spaces.Box) and does.shape == (spec.actions,):
        return _box(does)
    low, high = (np.array(bound, np.float32) for bound in spec.bounds)
    return spaces.Box(low, high, dtype=np.float32)


# ---- in words ------------------------------------------------------------------------------------------


def _loaded(*names: str) -> str:
    return f"load(FILE, env=env, custom_objects={{{', '.join(map(OWN.format, names))}}})"


def _told_observations(spec: TaskSpec, unknown: bool) -> str:
    names = ("observation_space", "action_space") if spec.continuous and unknown else ("observation_space",)
    return (
        f"the zip's observations {list(spec.obs_shape)} have no bounds of their own, for what {spec.id} shows is not "
        f"known here; where SB3 says that spaces do not match: {_loaded(*names)}"
    )


def _told_actions(spec: TaskSpec, does: gymnasium.Space | None) -> list[str]:
    """Where SB3 cannot take the task's actions as the agent has learnt them."""
    if isinstance(does, spaces.Box) and spec.continuous and len(does.shape) != 1:
        told = f"{spec.id} takes actions {list(does.shape)}, the zip's are {spec.actions} in a row"
        return [f"{told}: {_loaded('action_space')}"]
    if sizes := spec.protocol.get("joint_actions"):
        told = f"{spec.id} takes {len(sizes)} choices at once, learnt as one of {spec.actions}"
        made = TRANSFORM.format(f"np.array(np.unravel_index(action, {tuple(sizes)}))", spec.actions)
        return [f"{told}: give SB3 {made}"]
    if isinstance(does, spaces.Discrete) and does.start:
        made = TRANSFORM.format(f"action + {does.start}", spec.actions)
        return [f"{spec.id} counts its actions from {does.start}, the zip from 0: give SB3 {made}"]
    return []
