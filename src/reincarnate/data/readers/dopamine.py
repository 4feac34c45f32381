"""Replay that Dopamine wrote (its legacy layout, 2018 to 2024), and the DQN-replay logs of Agarwal et al. (2020).

A folder holds the columns `$store$_observation_ckpt.N.gz`, `action`, `reward`, `terminal`, and `add_count_ckpt.N.gz`;
since 2021 also `episode_end_indices_ckpt.N.gz`.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reincarnate.data.dataset import Columns
from reincarnate.data.readers import Logged, flat
from reincarnate.data.readers.circular import Arranged, Ring, arrange
from reincarnate.data.readers.dopamine_files import column_file, find, is_new, read_ring, suffixes_of, unknown
from reincarnate.data.readers.gunzip import GzipArray
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_file, sha256_json
from reincarnate.files.safe import MIB
from reincarnate.types import TaskSpec

STACK = 4  # of screens; vectors are not stacked
BLOCK = 16 * MIB  # of observations
HELD = 256 * MIB  # of observations that wait for their episode's beginning


@dataclass(frozen=True)
class _Part:
    """What one suffix adds to the `before` rows that earlier ones wrote; `actions` are the least and the greatest."""

    suffix: int
    before: int
    rows: int
    transitions: int
    headless: int
    actions: np.ndarray
    clipped: bool


def recognises(path: Path) -> bool:
    """Whether it is a folder of such columns, or one with a folder `checkpoints` or `replay_logs` of them."""
    try:
        return path.is_dir() and (find(path) is not None or is_new(path))
    except OSError:
        return False


def read(address: str, spec: TaskSpec | None) -> Logged:
    """The replay of `DIR`, `DIR@N`, `DIR@N-M` or `DIR@all`: by default the newest suffix that is whole.

    Several suffixes are read in order, from each what the ones before it do not hold. UserError: no such folder or
    suffix, damage, or no whole episode.
    """
    path, _, wanted = address.rpartition("@") if re.search(r"@(all|\d+(-\d+)?)$", address) else (address, "", "")
    folder = find(Path(path))
    if folder is None:
        raise unknown(Path(path))
    suffixes, found = suffixes_of(folder, wanted, address)
    parts = list(_parts(folder, suffixes, address))
    told = _spec(folder, parts, address, spec)
    files = {path.name: sha256_file(path) for n in suffixes for path in sorted(folder.glob(f"*_ckpt.{n}.gz"))}
    return Logged(
        format="dopamine",
        source=sha256_json(files),
        spec=told,
        blocks=lambda: _blocks(folder, parts, told),
        transitions=sum(part.transitions for part in parts),
        warnings=_warnings(folder, suffixes, found, parts),
        about={"suffixes": suffixes},
        rows=sum(part.rows for part in parts),
    )


def _warnings(folder: Path, suffixes: list[int], found: list[int], parts: list[_Part]) -> tuple[str, ...]:
    lines = []
    if len(found) > len(suffixes):
        lines.append(f"read suffixes {suffixes}; {len(found)} are there (@N, @N-M or @all choose)")
    if headless := sum(part.headless for part in parts):
        lines.append(
            f"left out {headless:,} steps of episodes whose beginning was overwritten: frames would be missing"
        )
    if not all(column_file(folder, "episode_end_indices", n).is_file() for n in suffixes):
        lines.append("no episode_end_indices: written before 2021, when time limits were stored as terminations")
    return tuple(lines)


# ---- one suffix ---------------------------------------------------------------------------------------------


def _parts(folder: Path, suffixes: list[int], what: str) -> Iterator[_Part]:
    """UserError: a suffix is older than the one before it, or nothing is left."""
    before, transitions = 0, 0
    for suffix in suffixes:
        ring, written = read_ring(folder, suffix, before)
        if ring.new:
            found = _arranged(folder, suffix, ring)
            acted = flat.flat_actions(found.actions[found.plan.step]) if len(found.plan) else ring.actions[:0]
            edges = np.stack([acted.min(0), acted.max(0)]) if len(acted) else acted
            clipped = bool(np.abs(found.rewards).max(initial=0) <= 1)
            yield _Part(suffix, before, len(found.plan), found.plan.transitions, found.headless, edges, clipped)
            transitions += found.plan.transitions
        before = written
    if not transitions:
        raise UserError(f"{what}: holds no whole episode")


def _arranged(folder: Path, suffix: int, ring: Ring) -> Arranged:
    with GzipArray(column_file(folder, "$store$_observation", suffix)) as file:
        if file.shape[0] != len(ring.actions):
            raise UserError(f"{file.path} has {file.shape[0]} rows, the actions {len(ring.actions)}")
        stack = STACK if _is_screen(file.shape[1:]) else 1
        # The last of the DQN-replay logs looks as if it had just been begun, but its first row is of an old episode.
        begins = not ring.full and not file.take(min(stack - 1, len(ring.actions))).any()
        return arrange(ring, stack, begins, HELD // file.row, f"{folder}: suffix {suffix}")


# ---- rows ---------------------------------------------------------------------------------------------------


def _is_screen(frame: tuple[int, ...]) -> bool:
    """Whether it is a screen, which Dopamine stacks; to vectors it gives a last axis of one."""
    return len(frame) == 2 and frame[-1] > 1


def _spec(folder: Path, parts: list[_Part], what: str, task: TaskSpec | None) -> TaskSpec:
    kinds = {}
    for part in parts:
        with GzipArray(column_file(folder, "$store$_observation", part.suffix)) as file:
            kinds[file.shape[1:], file.dtype] = file.path
    if len(kinds) > 1:
        raise UserError(f"{what}: its suffixes hold observations of different shapes or dtypes")
    ((frame, dtype),) = kinds
    screens = _is_screen(frame)
    shape = (STACK, *frame) if screens else frame[:-1] if len(frame) == 2 else frame
    told = flat.told_spec(what, shape, dtype, np.concatenate([p.actions for p in parts if p.rows]), task)
    if not screens:
        return told
    return replace(told, stack=STACK, reward_clip=1.0 if all(part.clipped for part in parts) else None)


def _blocks(folder: Path, parts: list[_Part], spec: TaskSpec) -> Iterator[Columns]:
    for part in parts:
        ring, _ = read_ring(folder, part.suffix, part.before)
        arranged = _arranged(folder, part.suffix, ring)
        first = 0  # of the step that a piece begins with, in the order of streaming
        for piece in _pieces(column_file(folder, "$store$_observation", part.suffix), arranged):
            low, high = np.searchsorted(arranged.plan.step, (first, first + len(piece)))
            if high > low:
                yield _rows(arranged, spec, slice(int(low), int(high)), first, piece)
            first += len(piece)


def _rows(arranged: Arranged, spec: TaskSpec, rows: slice, first: int, piece: np.ndarray) -> Columns:
    """The rows whose steps are in a piece."""
    plan, shape = arranged.plan, spec.obs_shape[1:] if spec.stack > 1 else spec.obs_shape
    step, inserted = plan.step[rows] - first, plan.inserted[rows]
    frames = np.take(piece.reshape(len(piece), *shape), step, axis=0)
    frames[inserted] = 0  # nobody looks at what follows a termination
    return plan.columns(spec, rows, frames, flat.flat_actions(arranged.actions), arranged.rewards)


def _pieces(path: Path, arranged: Arranged) -> Iterator[np.ndarray]:
    """Observations in the order of streaming, unpacked by a thread one piece ahead."""
    with GzipArray(path) as file, ThreadPoolExecutor(1) as ahead:
        held = file.take(arranged.held)
        left, size = arranged.rows - arranged.held, max(1, BLOCK // file.row)
        following = ahead.submit(file.take, min(size, left))
        for first in range(size, left, size):
            piece = following.result()
            following = ahead.submit(file.take, min(size, left - first))
            yield piece
        yield following.result()
        if arranged.rows == file.shape[0]:
            file.finish()
        yield held
