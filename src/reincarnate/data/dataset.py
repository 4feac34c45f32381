"""Prior data on disk: one npy file per column and a manifest with their hashes. Opens memory-mapped."""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.data.codecs import stored_form
from reincarnate.data.replay import BASIC, STANDING, TAIL, Replay
from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.atomic import FORMAT, publish, sha256_file, sha256_json, staging, write_json
from reincarnate.files.columnfile import ColumnFile
from reincarnate.files.records import Record, is_finite, load_record
from reincarnate.files.regular import open_regular, within
from reincarnate.types import LOGITS, TaskSpec

COPIED_AT_ONCE = 4096  # rows: 84×84 screens of so many fit into memory twice
NEEDED = ("frame", "action", "reward", "flags", "age")
DTYPES = (
    "bool",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)
MOST_AXES = 6  # of an observation
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
    predictions, which it may not have everywhere, and without notes but for masks and tasks. `about` says where it came
    from and is part of the manifest, not of the id.
    """
    names = [name for name in replay.columns if not own or name in (*BASIC, *STANDING)]
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
    at = replay.base[stream] + np.arange(replay.oldest(stream), int(replay.added[stream])) % replay.rows
    starts = np.flatnonzero(replay.columns["age"][at] == 0)
    return at[starts[0] :] if len(starts) else at[:0]


def open_dataset(path: Path | str) -> Dataset:
    """Open a stored dataset, every column hashed once. UserError: it is none, or is not what its manifest says."""
    if str(path).startswith("store:"):
        raise UserError(
            f"{path} names an agent, and no dataset: open_agent({str(path)!r}).data() is the replay it kept"
        )
    path = Path(path)
    manifest = load_record(within(path, "manifest.json"))
    if manifest.get("kind") != "dataset":
        raise UserError(f"{path} is not a dataset of reincarnate's")
    record = Record(manifest, path / "manifest.json")
    try:
        dataset = _opened(path, record)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}/manifest.json is damaged: {type(error).__name__} {error}") from None
    verify(dataset)
    if (found := _count(dataset)) != record.integer("transitions", low=0):
        raise UserError(f"{path}/manifest.json says {dataset.transitions:,} transitions; its rows hold {found:,}")
    return dataset


def _opened(path: Path, manifest: Record) -> Dataset:
    columns, spec = manifest.record("columns"), spec_from(manifest.record("spec").value)
    if sha256_json({"spec": manifest.value["spec"], "columns": columns.value}) != manifest.hash("id"):
        raise UserError(f"{path}/manifest.json has changed: its columns are not those of its hash")
    manifest.record("about")
    arrays = {name: _array(path, columns, name) for name in columns}
    _check_columns(arrays, spec, path)
    return Dataset(path, manifest.hash("id"), spec, manifest.value)


def _array(path: Path, columns: Record, name: str) -> np.ndarray:
    """A column, memory-mapped, of the dtype and shape that the manifest says."""
    if not re.fullmatch(r"[a-z_]{1,40}", name) or len(columns.value) > limits.COLUMNS:
        raise UserError(f"{path}: {name[:40]!r} is no name of a column")
    said, file = columns.record(name), within(path, f"{name}.npy")
    said.hash("sha256")
    try:
        with open_regular(file):
            array = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy evaluates the header's text, and raises whatever that raises
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())[:160]}") from error
    if array.dtype.kind not in "fiub" or any(type(size) is not int for size in array.shape):
        raise UserError(f"{file} holds {array.dtype}{list(array.shape)}, not numbers")
    if list(array.shape) != said.get("shape") or array.dtype.str != said.text("dtype"):
        raise UserError(f"{file} holds {array.dtype}{list(array.shape)}; the manifest says {said.get('shape')}")
    return array


def _check_columns(arrays: Columns, spec: TaskSpec, path: Path) -> None:
    """UserError: a column that every dataset has is missing, or does not fit the task or the others."""
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        raise UserError(f"{path} lacks the column {missing[0]}; a dataset has {', '.join(NEEDED)}")
    rows = len(arrays["action"]) if arrays["action"].ndim else -1
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) != rows or (array.ndim != 1 and name in ("reward", "flags", "age")):
            raise UserError(
                f"{path}/{name}.npy has shape {list(array.shape)}, not one row for each of {rows:,} actions"
            )
    for name, kinds in (("flags", "u"), ("age", "iu"), ("reward", "f"), ("action", "f" if spec.continuous else "iu")):
        if arrays[name].dtype.kind not in kinds:
            raise UserError(f"{path}/{name}.npy holds {arrays[name].dtype}, which is no {name}")
    frame, dtype = stored_form(spec)
    if arrays["frame"].shape[1:] != frame or arrays["frame"].dtype != np.dtype(dtype):
        found = f"{arrays['frame'].dtype}{list(arrays['frame'].shape)}"
        raise UserError(f"{path}/frame.npy holds {found}, not observations {dtype}{list(frame)}")
    _check_rows(arrays, spec, path)


def _check_rows(arrays: Columns, spec: TaskSpec, path: Path) -> None:
    """UserError: an action that the task does not have, or an age that reaches back beyond the first row."""
    action, age = np.asarray(arrays["action"]), np.asarray(arrays["age"]).astype(np.int64)
    if action.shape[1:] != ((spec.actions,) if spec.continuous else ()):
        raise UserError(f"{path}/action.npy has shape {list(action.shape)}, which no actions of {spec.id} have")
    if len(action) and not spec.continuous and not 0 <= action.min() <= action.max() < spec.actions:
        raise UserError(f"{path}/action.npy holds actions up to {action.max()}; {spec.id} has {spec.actions}")
    for name in ("reward", "action", "teacher", "frame"):
        column = arrays.get(name)
        if column is not None and column.dtype.kind == "f" and not _numbers(column, name == "teacher"):
            raise UserError(f"{path}/{name}.npy holds numbers that are not finite")
    if (age < 0).any() or (age > np.arange(len(age))).any():
        raise UserError(f"{path}/age.npy counts steps from before the first row")


def _numbers(column: np.ndarray, said: bool) -> bool:
    """Whether each is finite; in what a teacher `said` minus infinity is a probability of 0."""
    blocks = (column[i : i + COPIED_AT_ONCE] for i in range(0, len(column), COPIED_AT_ONCE))
    return all((np.isfinite(block) | (said & np.isneginf(block))).all() for block in blocks)


def _count(dataset: Dataset) -> int:
    """How many actions its rows hold: tails have none."""
    flags = np.load(dataset.path / "flags.npy", mmap_mode="r")
    return int((flags & TAIL == 0).sum())


def verify(dataset: Dataset) -> None:
    """Compare every column with the manifest's hashes. Raises UserError naming the first that differs."""
    for name, said in dataset.manifest["columns"].items():
        found = sha256_file(dataset.path / f"{name}.npy")
        if found != said["sha256"]:
            raise UserError(f"{dataset.path}/{name}.npy has changed: {found[:16]}… but was {said['sha256'][:16]}…")


def spec_value(spec: TaskSpec) -> dict[str, Any]:
    """A TaskSpec as JSON values; `bounds` and `codec` only where there are some."""
    return {k: v for k, v in asdict(spec).items() if v is not None or k not in ("bounds", "codec")}


def spec_from(value: dict[str, Any]) -> TaskSpec:
    """A TaskSpec from its JSON form. UserError: a field is missing, unknown, or not of its kind."""
    told = Record(value, "the task's spec")
    if unknown := sorted(set(value) - {field.name for field in fields(TaskSpec)}):
        raise UserError(f"the task's spec has an unknown field {unknown[0][:40]!r}")
    shape = told.get("obs_shape")
    if not isinstance(shape, list | tuple) or len(shape) > MOST_AXES or not all(map(_is_size, shape)):
        raise told.refuse("obs_shape", "a list of sizes", shape)
    known = {"id": told.text("id"), "obs_shape": tuple(shape), "protocol": told.record("protocol", {}).value}
    numbers = {name: told.integer(name, low=1, high=1 << 20) for name in ("actions", "stack") if name in told}
    if (dtype := told.text("obs_dtype")) not in DTYPES:
        raise told.refuse("obs_dtype", f"one of {', '.join(DTYPES)}", dtype)
    if (clip := told.get("reward_clip", None)) is not None and not is_finite(clip):
        raise told.refuse("reward_clip", "a finite number or null", clip)
    if value.get("codec") is not None:
        known["codec"] = told.text("codec")
    value = {**value, **known, **numbers}
    if bounds := value.get("bounds"):
        pairs = isinstance(bounds, list | tuple) and len(bounds) == 2
        if not pairs or not all(isinstance(side, list | tuple) and all(map(is_finite, side)) for side in bounds):
            raise told.refuse("bounds", "two lists of finite numbers", bounds)
        value["bounds"] = tuple(map(tuple, bounds))
    return TaskSpec(**value)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 31
