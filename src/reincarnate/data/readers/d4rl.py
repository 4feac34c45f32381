"""Files of D4RL: one array a column, in HDF5 or in an NPZ archive."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reincarnate.data.dataset import Columns
from reincarnate.data.readers import Logged, flat, hdf5, npz
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_file
from reincarnate.types import TaskSpec

NEEDED, PERHAPS = ("observations", "actions", "rewards", "terminals"), ("timeouts", "next_observations")


def recognises(path: Path) -> bool:
    """Whether it is an HDF5 file or an NPZ archive with those columns."""
    names = hdf5.root_names(path)
    if names is None:  # h5py is missing, and `read` says so
        return True
    return set(NEEDED) <= (names or npz.names(path))


@dataclass(frozen=True)
class _Small:
    """The columns that are held in memory, and of the others shape and dtype."""

    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    timeouts: np.ndarray | None
    shape: tuple[int, ...]
    dtype: np.dtype
    successors: bool


def read(address: str, spec: TaskSpec | None) -> Logged:
    """A file of either kind. UserError: neither, damaged, or columns that do not fit each other.

    Where neither `timeouts` nor `next_observations` are there, a task's time limit says where episodes were cut.
    """
    path = Path(address)
    if hdf5.is_hdf5(path):
        with hdf5.opened(path) as file:
            small = _small(address, set(file), lambda name: hdf5.whole(file, name, address), _described(file, address))
        columns = None
    else:
        columns = npz.arrays(path, NEEDED, PERHAPS)
        small = _small(address, set(columns), columns.__getitem__, lambda n: (columns[n].shape, columns[n].dtype))
    told = flat.told_spec(address, small.shape, small.dtype, small.actions, spec)
    ended, warnings = _ends(small, spec)
    warnings += flat.clustered(small.terminated)

    def steps(observations: flat.Read, successors: flat.Read | None) -> flat.Steps:
        return flat.Steps(observations, small.actions, small.rewards, small.terminated, ended, successors)

    def blocks() -> Iterator[Columns]:
        if columns is not None:
            reads = [hdf5.rows_of(columns[name]) for name in _frames(small)]
            yield from flat.blocks(told, steps(reads[0], reads[1] if small.successors else None))
            return
        with hdf5.opened(path) as again:
            reads = [hdf5.rows_of(hdf5.column(again, name, address)) for name in _frames(small)]
            yield from flat.blocks(told, steps(reads[0], reads[1] if small.successors else None))

    return Logged("d4rl", sha256_file(path), told, blocks, len(ended), warnings)


def _frames(small: _Small) -> tuple[str, ...]:
    return ("observations", "next_observations") if small.successors else ("observations",)


def _described(file, what: str) -> Callable[[str], tuple[tuple[int, ...], np.dtype]]:
    def described(name: str) -> tuple[tuple[int, ...], np.dtype]:
        found = hdf5.column(file, name, what)
        return found.shape, found.dtype

    return described


def _small(
    what: str,
    names: set[str],
    read: Callable[[str], np.ndarray],
    described: Callable[[str], tuple[tuple[int, ...], np.dtype]],
) -> _Small:
    """UserError: a column is missing, or they have different lengths."""
    if missing := [name for name in NEEDED if name not in names]:
        raise UserError(f"{what}: no column {missing[0]!r}; D4RL's are {', '.join(NEEDED)}")
    shapes = {name: described(name)[0] for name in (*NEEDED, *PERHAPS) if name in names}
    rows = {name: shape[0] if shape else 0 for name, shape in shapes.items()}
    if len(set(rows.values())) > 1:
        raise UserError(f"{what}: columns have different lengths: {', '.join(f'{n} {r}' for n, r in rows.items())}")
    successors = "next_observations" in names
    if successors and shapes["next_observations"] != shapes["observations"]:
        raise UserError(f"{what}: next_observations are {list(shapes['next_observations'][1:])}, not as observations")
    return _Small(
        actions=flat.flat_actions(read("actions")),
        rewards=flat.flat_rewards(read("rewards"), what),
        terminated=flat.as_flags(read("terminals"), f"{what}: terminals"),
        timeouts=flat.as_flags(read("timeouts"), f"{what}: timeouts") if "timeouts" in names else None,
        shape=shapes["observations"][1:],
        dtype=described("observations")[1],
        successors=successors,
    )


def _ends(small: _Small, task: TaskSpec | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which steps end an episode, and what there is to warn of."""
    if small.timeouts is not None:
        ended = small.terminated | small.timeouts
    elif small.successors:
        ended = small.terminated
    else:
        return _guessed(small.terminated, task)
    return ended, () if small.successors else flat.tails_lost(small.terminated, ended)


def _guessed(terminated: np.ndarray, task: TaskSpec | None) -> tuple[np.ndarray, tuple[str, ...]]:
    limit = task.protocol.get("max_episode_steps") if task else None
    if not isinstance(limit, int) or limit < 1:
        note = "no column says where time limits cut episodes: a step may lead into the next episode's beginning"
        return terminated, (f"{note}; name the task, whose limit tells",)
    ends = np.flatnonzero(terminated)
    at = np.arange(len(terminated))
    starts = np.concatenate([[0], ends + 1])[np.searchsorted(ends, at)]
    ended = terminated | ((at - starts) % limit == limit - 1)
    note = f"no column says where time limits cut episodes: cut after {limit} steps, as the task does"
    return ended, (note, *flat.tails_lost(terminated, ended))
