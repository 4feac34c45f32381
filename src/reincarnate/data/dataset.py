"""Prior data on disk: one npy file per column and a manifest with their hashes. Opens memory-mapped."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.data.replay import Replay
from reincarnate.data.sampling import TAIL
from reincarnate.errors import UserError
from reincarnate.files import FORMAT, publish, read_json, sha256_file, sha256_json, staging, write_json
from reincarnate.types import TaskSpec

COPIED_AT_ONCE = 4096  # rows: 84×84 screens of so many fit into memory twice


@dataclass(frozen=True)
class Dataset:
    """A stored dataset: closed episodes of one task, in one stream. `id` is the hash of its content."""

    path: Path
    id: str
    spec: TaskSpec
    manifest: dict[str, Any]
    logits: Path | None = None
    """A file of a teacher's logits, one row each, that stands for the column `teacher`."""

    @property
    def transitions(self) -> int:
        """How many actions it holds."""
        return self.manifest["transitions"]

    def source(self, n_step: int, gamma: float) -> Replay:
        """Its columns as something to sample from, for any n and γ."""
        columns = {name: np.load(self.path / f"{name}.npy", mmap_mode="r") for name in self.manifest["columns"]}
        if self.logits:
            columns["teacher"] = np.load(self.logits, mmap_mode="r")
        return Replay.over(self.spec, columns, n_step, gamma)


def save_dataset(replay: Replay, root: Path, about: dict[str, Any], own: bool = False) -> Dataset:
    """Store what a replay holds as a new dataset under `root/<id>`; every episode must be closed.

    Of a stream that has wrapped around, from its first whole episode on. A student's `own` replay goes without the
    teacher's logits, which it may not have everywhere. `about` says where it came from and is part of the manifest,
    not of the id.
    """
    names = [name for name in replay.columns if not (own and name == "teacher")]
    rows = [whole_episodes(replay, stream) for stream in range(replay.streams)]
    with staging(root) as folder:
        for name in names:
            _save_column(folder / f"{name}.npy", replay.columns[name], rows)
        columns = {name: _describe(folder / f"{name}.npy") for name in names}
        spec = asdict(replay.spec)
        identity = sha256_json({"spec": spec, "columns": columns})
        manifest = {
            "format": FORMAT,
            "kind": "dataset",
            "id": identity,
            "spec": spec,
            "columns": columns,
            "transitions": sum(int((replay.columns["flags"][at] & TAIL == 0).sum()) for at in rows),
            "about": about,
        }
        write_json(folder / "manifest.json", manifest)
        publish(folder, root / identity[:16])
    return open_dataset(root / identity[:16])


def whole_episodes(replay: Replay, stream: int) -> np.ndarray:
    """Where a stream's rows lie, oldest first, from the start of an episode: stacks reach back no further."""
    added = int(replay.added[stream])
    at = replay.base[stream] + np.arange(max(0, added - replay.rows), added) % replay.rows
    starts = np.flatnonzero(replay.columns["age"][at] == 0)
    return at[starts[0] :] if len(starts) else at[:0]


def _save_column(path: Path, column: np.ndarray, rows: list[np.ndarray]) -> None:
    """The rows of all streams, one stream after another."""
    shape = (sum(len(at) for at in rows), *column.shape[1:])
    out = np.lib.format.open_memmap(path, mode="w+", dtype=column.dtype, shape=shape)
    first = 0
    for at in rows:
        for i in range(0, len(at), COPIED_AT_ONCE):
            block = column[at[i : i + COPIED_AT_ONCE]]
            out[first : first + len(block)] = block
            first += len(block)
    out.flush()


def _describe(path: Path) -> dict[str, Any]:
    array = np.load(path, mmap_mode="r")
    return {"dtype": array.dtype.str, "shape": list(array.shape), "sha256": sha256_file(path)}


def open_dataset(path: Path) -> Dataset:
    """Open a stored dataset without reading its columns. Raises UserError where it is not one, or sizes disagree."""
    manifest = read_json(path / "manifest.json")
    if manifest.get("kind") != "dataset":
        raise UserError(f"{path} is not a dataset of reincarnate's")
    for name, said in manifest["columns"].items():
        file = path / f"{name}.npy"
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read: {error}") from error
        if list(array.shape) != said["shape"] or array.dtype.str != said["dtype"]:
            raise UserError(f"{file} holds {array.dtype}{list(array.shape)}; the manifest says {said['shape']}")
    return Dataset(path, manifest["id"], spec_from(manifest["spec"]), manifest)


def verify(dataset: Dataset) -> None:
    """Read every column and compare with the manifest's hashes. Raises UserError naming the first that differs."""
    for name, said in dataset.manifest["columns"].items():
        found = sha256_file(dataset.path / f"{name}.npy")
        if found != said["sha256"]:
            raise UserError(f"{dataset.path}/{name}.npy has changed: {found[:16]}… but was {said['sha256'][:16]}…")


def spec_from(value: dict[str, Any]) -> TaskSpec:
    """A TaskSpec from its JSON form."""
    return TaskSpec(**{**value, "obs_shape": tuple(value["obs_shape"])})
