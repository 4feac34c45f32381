"""Prior data on disk: one npy file per column and a manifest with their hashes. Opens memory-mapped."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.data.replay import BASIC, TAIL, Replay
from reincarnate.errors import UserError
from reincarnate.files.atomic import FORMAT, publish, read_json, sha256_file, sha256_json, staging, write_json
from reincarnate.files.columnfile import ColumnFile
from reincarnate.types import LOGITS, TaskSpec

COPIED_AT_ONCE = 4096  # rows: 84×84 screens of so many fit into memory twice
Columns = dict[str, np.ndarray]
"""Rows of a dataset, by column: `frame`, `action`, `reward`, `flags`, `age`, perhaps `teacher`."""


@dataclass(frozen=True)
class Dataset:
    """A stored dataset: closed episodes of one task, in one stream. `id` is the hash of its content."""

    path: Path
    id: str
    spec: TaskSpec
    manifest: dict[str, Any]
    logits: Path | None = None
    """A file of a teacher's predictions, one row each, that stands for the column `teacher`."""
    told: str | None = None
    """The kind of these predictions, where it is known from elsewhere."""

    @property
    def transitions(self) -> int:
        """How many actions it holds."""
        return self.manifest["transitions"]

    def rows(self) -> Replay:
        """Its columns, memory-mapped, as rows that a layout can cut."""
        columns = {name: np.load(self.path / f"{name}.npy", mmap_mode="r") for name in self.manifest["columns"]}
        if self.logits:
            columns["teacher"] = np.load(self.logits, mmap_mode="r")
        return Replay.over(self.spec, columns, {"teacher": self.kind} if "teacher" in columns else {})

    @property
    def kind(self) -> str:
        """Of the predictions in the column `teacher`; datasets that do not say hold logits, or values read alike."""
        return self.told or self.manifest["about"].get("predicts", LOGITS)


def save_dataset(replay: Replay, root: Path, about: dict[str, Any], own: bool = False) -> Dataset:
    """Store what a replay holds as a new dataset under `root/<id>`; every episode must be closed.

    Of a stream that has wrapped around, from its first whole episode on. A student's `own` replay goes without
    predictions, which it may not have everywhere, and without notes. `about` says where it came from and is part of
    the manifest, not of the id.
    """
    names = [name for name in replay.columns if not own or name in BASIC]
    rows = [whole_episodes(replay, stream) for stream in range(replay.streams)]
    return write_dataset(root, replay.spec, _blocks(replay, names, rows), about)


def _blocks(replay: Replay, names: list[str], rows: list[np.ndarray]) -> Iterator[Columns]:
    """The rows of all streams, one stream after another, some at a time; at least one block."""
    for at in rows:
        for i in range(0, max(len(at), 1), COPIED_AT_ONCE):
            yield {name: replay.columns[name][at[i : i + COPIED_AT_ONCE]] for name in names}


def write_dataset(
    root: Path, spec: TaskSpec, blocks: Iterable[Columns], about: dict[str, Any], rows: int | None = None
) -> Dataset:
    """Store rows as a new dataset under `root/<id>`, block by block, so that any number fits into little memory.

    All blocks have the same columns; episodes are whole and closed (`data.rows.episode` makes them so). With the number
    of `rows` known beforehand they are hashed on the way. Where the same dataset is there already, that stays. Raises
    UserError where the disk is full.
    """
    with staging(root) as folder, ExitStack() as stack:
        columns: dict[str, ColumnFile] = {}
        transitions = 0
        for block in blocks:
            if not columns:
                files = {name: ColumnFile(folder / f"{name}.npy", part, rows) for name, part in block.items()}
                columns = {name: stack.enter_context(file) for name, file in files.items()}
            for name, file in columns.items():
                file.append(block[name])
            transitions += int((block["flags"] & TAIL == 0).sum())
        described = {name: file.finish() for name, file in columns.items()}
        value = spec_value(spec)
        identity = sha256_json({"spec": value, "columns": described})
        manifest = {
            "format": FORMAT,
            "kind": "dataset",
            "id": identity,
            "spec": value,
            "columns": described,
            "transitions": transitions,
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


def open_dataset(path: Path) -> Dataset:
    """Open a stored dataset without reading its columns. Raises UserError where it is not one, or sizes disagree."""
    manifest = read_json(path / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("kind") != "dataset":
        raise UserError(f"{path} is not a dataset of reincarnate's")
    try:
        return _opened(path, manifest)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path}/manifest.json is damaged: {type(error).__name__} {error}") from None


def _opened(path: Path, manifest: dict[str, Any]) -> Dataset:
    for name, said in manifest["columns"].items():
        file = path / f"{name}.npy"
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # NumPy evaluates the header's text, and raises whatever that raises
            raise UserError(f"{file} cannot be read: {' '.join(str(error).split())[:160]}") from error
        if list(array.shape) != said["shape"] or array.dtype.str != said["dtype"]:
            raise UserError(f"{file} holds {array.dtype}{list(array.shape)}; the manifest says {said['shape']}")
    return Dataset(path, manifest["id"], spec_from(manifest["spec"]), manifest)


def verify(dataset: Dataset) -> None:
    """Read every column and compare with the manifest's hashes. Raises UserError naming the first that differs."""
    for name, said in dataset.manifest["columns"].items():
        found = sha256_file(dataset.path / f"{name}.npy")
        if found != said["sha256"]:
            raise UserError(f"{dataset.path}/{name}.npy has changed: {found[:16]}… but was {said['sha256'][:16]}…")


def spec_value(spec: TaskSpec) -> dict[str, Any]:
    """A TaskSpec as JSON values; `bounds` only where there are some."""
    value = asdict(spec)
    return value if spec.continuous else {k: v for k, v in value.items() if k != "bounds"}


def spec_from(value: dict[str, Any]) -> TaskSpec:
    """A TaskSpec from its JSON form."""
    value = {**value, "obs_shape": tuple(value["obs_shape"])}
    if bounds := value.get("bounds"):
        value["bounds"] = tuple(map(tuple, bounds))
    return TaskSpec(**value)
