"""Logged data of other projects, read into the native format once. A format is one file and one line in `READERS`."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate import envs
from reincarnate.data.codecs import codec_of, encoded
from reincarnate.data.dataset import Columns, Dataset, open_dataset, write_dataset
from reincarnate.data.replay import TAIL
from reincarnate.data.rows import action_dtype, clipped, narrowed
from reincarnate.errors import UserError
from reincarnate.files.atomic import FORMAT, sha256_json, write_json
from reincarnate.files.records import Record, load_record
from reincarnate.files.regular import refuse_empty
from reincarnate.types import TaskSpec

READERS = {"dopamine": "dopamine", "minari": "minari", "d3rlpy": "d3rlpy", "d4rl": "d4rl", "sb3-replay": "sb3"}
"""Scheme -> module here, in the order in which a bare path is tried. Each has `recognises(path) -> bool` and
`read(address, spec) -> Logged`, where `address` is what follows the scheme."""

Tick = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Logged:
    """Logged data as its files describe it, before it is stored.

    `spec` is as far as they tell: its id "" and protocol {} where they do not. `blocks` are rows of the native format
    (`data.rows.episode`), read as they are asked for, whose dtypes are those of `spec`; `transitions` about how many
    there will be, for progress, and `rows` how many rows exactly, where that is known. `source` is the files' sha256.
    `warnings` say what the files lack or what was changed.
    """

    format: str
    source: str
    spec: TaskSpec
    blocks: Callable[[], Iterator[Columns]]
    transitions: int
    warnings: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None


def reader_of(address: str) -> tuple[str, str] | None:
    """The scheme and the rest of an address of logged data; a bare path is recognised by what lies there."""
    scheme, colon, rest = address.partition(":")
    if colon and scheme in READERS:
        if not rest:
            raise UserError(f"{address!r} names no data; write {scheme}:PATH")
        return scheme, rest
    if Path(address).exists():
        for name in READERS:
            if _module(name).recognises(Path(address)):
                return name, address
    return None


def read_logged(address: str, spec: TaskSpec | None) -> Logged:
    """Open logged data. `spec` is of the task it is wanted for. UserError: unknown, damaged, or another task's."""
    refuse_empty(address, "the address of the data")
    found = reader_of(address)
    if found is None:
        known = ", ".join(f"{name}:" for name in READERS)
        what = "no data that can be recognised" if Path(address).exists() else "there is nothing"
        raise UserError(f"{address}: {what}; logged data is one of {known} and a path, or a path alone")
    logged = _module(found[0]).read(found[1], spec)
    if spec is None:
        return logged
    check_task(address, logged.spec, spec)
    return replace(logged, warnings=(*logged.warnings, *_differences(logged.spec, spec)))


def import_data(address: str, spec: TaskSpec | None, store: Path, tick: Tick) -> Dataset:
    """Logged data as a dataset in the store, converted on first request.

    With `spec` it becomes data of that task, whose protocol it takes on: what its files say of theirs stays in the
    manifest. UserError: unknown, damaged, or another task's.
    """
    logged = read_logged(address, spec)
    request = {"kind": "import", "source": logged.source, "reader": logged.format, "spec": spec and spec.protocol}
    index = store / "requests" / f"{sha256_json(request)[:16]}.json"
    if index.exists():
        folder = store / "data" / Record(load_record(index), index).hash("data")[:16]
        if folder.exists():
            return open_dataset(folder)
    dataset = convert(logged, spec, store / "data", tick)
    write_json(index, {"format": FORMAT, "request": request, "data": dataset.id})
    return dataset


def convert(logged: Logged, spec: TaskSpec | None, root: Path, tick: Tick) -> Dataset:
    """Write logged data as a dataset under `root`."""
    about = {
        "kind": "import",
        "reader": logged.format,
        "source": logged.source,
        "protocol": logged.spec.protocol,
        "warnings": list(logged.warnings),
        **logged.about,
    }
    return write_dataset(root, spec or logged.spec, _watched(logged, spec or logged.spec, tick), about, logged.rows)


def _watched(logged: Logged, spec: TaskSpec, tick: Tick) -> Iterator[Columns]:
    """The blocks as those of a task. UserError: a number is not finite, or there is no block."""
    fit = fitter(logged, spec)
    done = 0
    for block in logged.blocks():
        block = fit(block)
        if block["frame"].dtype.kind == "f":
            _check_finite(block, done)
        _check_finite({"reward": block["reward"], "action": block["action"]}, done)
        done += len(block["action"])
        tick("converting data", min(done, logged.transitions), logged.transitions)
        yield block
    if not done:
        raise UserError(f"the data ({logged.format}) holds no step that can be used")


def _check_finite(block: Columns, before: int) -> None:
    for name, column in block.items():
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            bad = np.flatnonzero(~np.isfinite(column).reshape(len(column), -1).all(1))[0]
            raise UserError(f"row {before + bad:,} of the data has a {name} that is not a finite number")


def fitter(logged: Logged, spec: TaskSpec) -> Callable[[Columns], Columns]:
    """What turns rows of logged data into rows of a task: its dtypes, its clipping, newest frames instead of stacks.

    It is given all blocks in their order. UserError: what should be stacks of frames is not.
    """
    newest = _Newest() if spec.stack > 1 and logged.spec.stack == 1 else None
    codec = codec_of(spec)

    def fit(block: Columns) -> Columns:
        frames = newest(block) if newest else block["frame"]
        return {
            "frame": encoded(codec, narrowed(frames, spec.obs_dtype)),
            "action": block["action"].astype(action_dtype(spec), copy=False),
            "reward": clipped(spec, block["reward"]),
            "flags": block["flags"],
            "age": block["age"],
        }

    return fit


class _Newest:
    """Of stacks of frames [N, stack, …] the newest, after seeing that each is the one before, one frame on."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None

    def __call__(self, block: Columns) -> np.ndarray:
        stacks, goes_on = block["frame"], (block["age"] > 0) & (block["flags"] != TAIL)
        before = np.concatenate([stacks[:1] if self._last is None else self._last, stacks[:-1]])
        self._last = stacks[-1:]
        if (stacks[:, :-1] != before[:, 1:])[goes_on].any():
            raise UserError("observations are not stacks of frames, oldest first: one is not the one before, moved on")
        return stacks[:, -1]


def _differences(told: TaskSpec, spec: TaskSpec) -> list[str]:
    """What the files say of their task and this one does not share, as warnings."""
    lines = [
        f"the data is of {key} = {told.protocol[key]}, {spec.id} has {spec.protocol[key]}"
        for key in sorted(told.protocol.keys() & spec.protocol.keys())
        if told.protocol[key] != spec.protocol[key]
    ]
    if told.reward_clip is not None and spec.reward_clip is None:
        lines.append(f"the data's rewards are clipped to ±{told.reward_clip:g}, those of {spec.id} are not")
    return lines


def check_task(address: str, told: TaskSpec, spec: TaskSpec) -> None:
    """UserError: data of another task, with other shapes or other actions."""
    kinds = {np.dtype(told.obs_dtype).kind, np.dtype(spec.obs_dtype).kind}
    if told.obs_shape != spec.obs_shape or len(kinds) > 1 or told.stack not in (1, spec.stack):
        raise UserError(
            f"{address}: observations are {told.obs_dtype}{list(told.obs_shape)}, "
            f"those of {spec.id} {spec.obs_dtype}{list(spec.obs_shape)}"
        )
    if told.continuous != spec.continuous:
        names = [("discrete", "continuous")[kind] for kind in (told.continuous, spec.continuous)]
        raise UserError(f"{address}: {names[0]} actions; those of {spec.id} are {names[1]}")
    if told.actions > spec.actions or (spec.continuous and told.actions != spec.actions):
        kind = "numbers in an action" if told.continuous else "actions"
        hint = f"; {said}" if (said := envs.numbering(spec.id)) else ""
        raise UserError(f"{address}: {told.actions} {kind}; {spec.id} has {spec.actions}{hint}")


def _module(name: str) -> Any:
    return importlib.import_module(f"reincarnate.data.readers.{READERS[name]}")
