"""Tasks that cannot be solved without memory, as vectorised NumPy: I-Maze, T-Maze, Meta-Fetch.

Settings follow the id, `Memory/IMaze-v0?length=20`; ids without them mean the defaults.
"""

import functools
from collections.abc import Iterator
from dataclasses import fields

from reincarnate.envs.memory.batch import Batched, Rules
from reincarnate.envs.memory.imaze import IMaze
from reincarnate.envs.memory.metafetch import MetaFetch
from reincarnate.envs.memory.tmaze import TMaze
from reincarnate.errors import UserError
from reincarnate.types import TaskSpec, VectorEnv

TASKS: dict[str, type[Rules]] = {
    "Memory/IMaze-v0": IMaze,
    "Memory/MetaFetch-v0": MetaFetch,
    "Memory/TMaze-v0": TMaze,
}


QUERIES = True


class Ids:
    """The three ids, and each with any settings."""

    def __iter__(self) -> Iterator[str]:
        return iter(TASKS)

    def __contains__(self, env_id: object) -> bool:
        return isinstance(env_id, str) and env_id.partition("?")[0] in TASKS


def ids() -> Ids:
    """What can be made here."""
    return Ids()


@functools.cache
def spec(env_id: str) -> TaskSpec:
    """The task's spec; its settings are part of the protocol. Raises UserError for settings it does not have."""
    rules = _rules(env_id)
    settings = {f.name: getattr(rules, f.name) for f in fields(rules)}  # pyright: ignore
    protocol = {"env": env_id, **settings, "max_episode_steps": rules.limit, "reward_clip": None}
    return TaskSpec(env_id, rules.obs_shape, rules.obs_dtype, rules.actions, 1, None, protocol)


def make(env_id: str, n: int, view: str) -> VectorEnv:
    """`n` copies, stepped together."""
    if view != "student":
        raise UserError(f"{env_id} offers no view {view!r} for a teacher; only ALE/* tasks offer 'rgb'")
    return Batched(spec(env_id), _rules(env_id), n)


def _rules(env_id: str) -> Rules:
    """The task with its settings. Raises UserError for settings that do not exist, are no numbers or out of bounds."""
    name, _, written = env_id.partition("?")
    rules, settings = TASKS[name], {}
    known = {f.name: f.type for f in fields(rules)}  # pyright: ignore
    for setting in filter(None, written.split("&")):
        key, _, value = setting.partition("=")
        if key not in known:
            raise UserError(f"{name} has no setting {key!r}; it has {', '.join(known)}")
        if not value.isascii() or not value.isdigit():
            raise UserError(f"{env_id}: {key} is {value!r}; needed: a whole number")
        settings[key] = int(value)
    return rules(**settings)


__all__ = ["Ids", "ids", "make", "spec"]
