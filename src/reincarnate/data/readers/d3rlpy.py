"""HDF5 files of d3rlpy: version 1's `MDPDataset`, one long log, and version 2's `ReplayBuffer.dump`, by episodes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.data.dataset import Columns
from reincarnate.data.readers import Logged, flat, hdf5
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_file
from reincarnate.types import TaskSpec

LAYOUTS = ({"columns", "num_episodes"}, {"discrete_action", "observations"}, {"episode_terminals", "observations"})
"""What the top of a file of d3rlpy's holds, the first of version 2."""


def recognises(path: Path) -> bool:
    """Whether it is an HDF5 file with the names d3rlpy gives."""
    names = hdf5.root_names(path) or frozenset()
    return any(layout <= names for layout in LAYOUTS)


def read(address: str, spec: TaskSpec | None) -> Logged:
    """A file of either version. UserError: neither, damaged, or observations that are no single array."""
    path = Path(address)
    with hdf5.opened(path) as file:
        return _read_v2(path, file, spec) if LAYOUTS[0] <= set(file) else _read_v1(path, file, spec)


# ---- version 1 --------------------------------------------------------------------------------------------


def _read_v1(path: Path, file: Any, task: TaskSpec | None) -> Logged:
    """As d3rlpy 1 reads it: `episode_terminals` part the episodes, `terminals` say which of them terminated.

    In its own files a termination is marked in the step before as well, whose successor is there; d3rlpy 2 takes that
    for an end, and makes two episodes of one.
    """
    what = str(path)
    rewards = flat.flat_rewards(hdf5.whole(file, "rewards", what), what)
    terminals = flat.as_flags(hdf5.whole(file, "terminals", what, len(rewards)), f"{what}: terminals")
    ended, warnings = terminals, ()
    if "episode_terminals" in file:
        ended = flat.as_flags(hdf5.whole(file, "episode_terminals", what, len(rewards)), f"{what}: episode_terminals")
        if within := int(np.count_nonzero(terminals & ~ended)):
            warnings = (f"{within:,} terminals within episodes are passed over, as d3rlpy 1 does",)
    terminated = terminals & ended
    actions = flat.flat_actions(hdf5.whole(file, "actions", what, len(rewards)))
    seen = hdf5.column(file, "observations", what)
    if len(seen) != len(rewards):
        raise UserError(f"{what}: {len(seen)} observations and {len(rewards)} rewards")
    told = flat.told_spec(what, seen.shape[1:], seen.dtype, actions, task)

    def blocks() -> Iterator[Columns]:
        with hdf5.opened(path) as again:
            seen = hdf5.rows_of(again["observations"])
            yield from flat.blocks(told, flat.Steps(seen, actions, rewards, terminated, ended))

    warnings += flat.clustered(terminated) + flat.tails_lost(terminated, ended)
    return Logged("d3rlpy v1", sha256_file(path), told, blocks, len(rewards), warnings)


# ---- version 2 --------------------------------------------------------------------------------------------


def _read_v2(path: Path, file: Any, task: TaskSpec | None) -> Logged:
    what = str(path)
    episodes = hdf5.scalar(file, "num_episodes", what)
    if episodes < 1 or f"rewards_{episodes - 1}" not in file:
        raise UserError(f"{what}: says it holds {episodes} episodes, which are not all there")
    if "observations_0" not in file:
        raise UserError(f"{what}: observations are tuples; single arrays are needed")
    actions = [flat.flat_actions(hdf5.whole(file, f"actions_{i}", what)) for i in range(episodes)]
    if len({one.shape[1:] for one in actions}) > 1:
        raise UserError(f"{what}: episodes have actions of several shapes")
    terminated = [bool(hdf5.scalar(file, f"terminated_{i}", what)) for i in range(episodes)]
    seen = hdf5.column(file, "observations_0", what)
    told = flat.told_spec(what, seen.shape[1:], seen.dtype, np.concatenate(actions), task)
    count = sum(map(len, actions))

    def blocks() -> Iterator[Columns]:
        with hdf5.opened(path) as again:
            for i in range(episodes):
                yield from flat.blocks(told, _episode(again, i, actions[i], terminated[i], told, what))

    cut = np.ones(episodes, bool)
    return Logged("d3rlpy v2", sha256_file(path), told, blocks, count, flat.tails_lost(np.array(terminated), cut))


def _episode(file: Any, i: int, actions: np.ndarray, terminated: bool, spec: TaskSpec, what: str) -> flat.Steps:
    n = len(actions)
    seen = hdf5.column(file, f"observations_{i}", what)
    if seen.shape != (n, *spec.obs_shape):
        raise UserError(f"{what}: observations_{i} are {list(seen.shape)}, not {[n, *spec.obs_shape]}")
    rewards = flat.flat_rewards(hdf5.whole(file, f"rewards_{i}", what, n), what)
    last = np.arange(n) == n - 1
    return flat.Steps(hdf5.rows_of(seen), actions, rewards, last & terminated, last)
