"""The files of a replay that Dopamine wrote: where they lie, and the small columns of one suffix."""

import re
from pathlib import Path

import numpy as np

from reincarnate.data.readers import flat
from reincarnate.data.readers.circular import Ring
from reincarnate.data.readers.gunzip import read_array, read_bytes
from reincarnate.data.readers.pickles import number
from reincarnate.errors import UserError
from reincarnate.files.safe import MIB, Inert, unpickle_inert

COLUMNS = ("action", "reward", "terminal")
FOLDERS = ("", "checkpoints", "replay_logs")
NEW_LAYOUTS = ("checkpoint.msgpack", "replay/checkpoint.msgpack", "*/replay/checkpoint.msgpack")


def find(path: Path) -> Path | None:
    """Where the columns lie."""
    places = (path / name for name in FOLDERS)
    return next((place for place in places if any(place.glob("$store$_observation_ckpt.*.gz"))), None)


def is_new(path: Path) -> bool:
    """Whether Dopamine 4.1 or newer wrote it: the run's folder, its checkpoints, one of them, or the replay in it."""
    return any(any((path / name).glob(layout)) for name in FOLDERS for layout in NEW_LAYOUTS)


def unknown(path: Path) -> UserError:
    """Why there is no replay to be read."""
    if is_new(path):
        return UserError(
            f"{path}: Dopamine 4.1 and newer keep stacks of frames and sums of n rewards, from which no other n can be "
            "had; refused. Let Dopamine save its circular_replay_buffer (dopamine.tf.replay_memory) instead"
        )
    return UserError(f"{path}: no replay of Dopamine's there: no file $store$_observation_ckpt.N.gz")


def column_file(folder: Path, name: str, suffix: int) -> Path:
    """Where a column of a suffix lies."""
    return folder / f"{name}_ckpt.{suffix}.gz"


def _needed(folder: Path, suffix: int) -> list[Path]:
    columns = [f"$store$_{name}" for name in ("observation", *COLUMNS)]
    return [column_file(folder, name, suffix) for name in ("add_count", *columns)]


def suffixes_of(folder: Path, wanted: str, what: str) -> tuple[list[int], list[int]]:
    """The suffixes that are wanted, and all that are there."""
    names = [path.name for path in folder.glob("$store$_observation_ckpt.*.gz")]
    found = sorted(int(name.split(".")[-2]) for name in names if re.fullmatch(r".*\.\d{1,9}\.gz", name))
    whole = [n for n in found if all(path.is_file() for path in _needed(folder, n))]
    if not wanted:
        if not whole:
            lacks = next(path.name for path in _needed(folder, max(found, default=0)) if not path.is_file())
            raise UserError(f"{what}: no suffix is whole: {lacks} is missing")
        return whole[-1:], found
    low, _, high = wanted.partition("-")
    asked = found if wanted == "all" else [n for n in found if int(low) <= n <= int(high or low)]
    if not asked or (wanted != "all" and {int(low), int(high or low)} - set(found)):
        raise UserError(f"{what}: no such suffix; there are {', '.join(map(str, found[:60]))}")
    if broken := [n for n in asked if n not in whole]:
        lacks = next(path.name for path in _needed(folder, broken[0]) if not path.is_file())
        raise UserError(f"{what}: suffix {broken[0]} is not whole: {lacks} is missing")
    return asked, found


def read_ring(folder: Path, suffix: int, before: int) -> tuple[Ring, int]:
    """A suffix's columns, and how many rows had been written when it was saved.

    `before` is that number for the suffix before it. The last of the DQN-replay logs says its cursor instead.
    """
    actions, rewards, terminals = (read_array(column_file(folder, f"$store$_{name}", suffix)) for name in COLUMNS)
    what = f"{folder}: suffix {suffix}"
    if not len(actions) == len(rewards) == len(terminals) > 0 or rewards.ndim != 1:
        raise UserError(f"{what}: actions, rewards and terminals have different lengths, or none")
    capacity = len(terminals)
    count = read_array(column_file(folder, "add_count", suffix))
    if count.shape != (1,) or count.dtype.kind not in "iu" or not 0 < int(count[0]) < 1 << 62:
        raise UserError(f"{what}: add_count is {count.tolist()[:3]}; nothing was ever written, or it is damaged")
    written = int(count[0])
    if written < before and written < capacity:
        written += -(-(before - written) // capacity) * capacity
    if written < before:
        raise UserError(f"{what}: is older than the suffix before it")
    new = min(written - before, capacity)
    if written < capacity:  # Dopamine never sets its arrays: whatever memory held lies beyond
        actions, rewards, terminals = (_blanked(column, written) for column in (actions, rewards, terminals))
    terminal = flat.as_flags(terminals, f"{what}: terminal")
    ends = terminal | _ends(column_file(folder, "episode_end_indices", suffix), capacity)
    return Ring(actions, rewards, terminal, ends, written % capacity, written >= capacity, new), written


def _blanked(column: np.ndarray, written: int) -> np.ndarray:
    """The column, zero where nothing was written."""
    column = column.copy()
    column[written:] = 0
    return column


def _ends(path: Path, capacity: int) -> np.ndarray:
    """Which rows end an episode, as the pickled set of their indices says; none without the file."""
    ends = np.zeros(capacity, bool)
    if not path.is_file():
        return ends
    allowed = (r"(builtins|__builtin__)\.set", r"numpy\.(core|_core)\.multiarray\.scalar", r"numpy\.dtype")
    value = unpickle_inert(read_bytes(path, 64 * MIB), allowed, str(path))
    if isinstance(value, Inert) and value.origin.endswith(".set") and len(value.args) == 1:
        (value,) = value.args
    if not isinstance(value, set | list):
        raise UserError(f"{path}: a set of row numbers was expected")
    at = [number(one, f"{path}: a row number") for one in value]
    if at and not 0 <= min(at) <= max(at) < capacity:
        raise UserError(f"{path}: row numbers go from {min(at)} to {max(at)}; there are {capacity} rows")
    ends[at] = True
    return ends
