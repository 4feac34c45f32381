"""Logged data of other projects, read into the native format once. A format is one file and one line in `READERS`."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.data.dataset import Columns, Dataset, open_dataset, write_dataset
from reincarnate.errors import UserError
from reincarnate.files import FORMAT, read_json, sha256_json, write_json
from reincarnate.types import TaskSpec

READERS: dict[str, str] = {}
"""Scheme -> module here, in the order in which a bare path is tried. Each has `recognises(path) -> bool` and
`read(address, spec) -> Logged`, where `address` is what follows the scheme."""

Tick = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Logged:
    """Logged data as its files describe it, before it is stored.

    `spec` is as far as they tell: its id "" and protocol {} where they do not. `blocks` are rows of the native format
    (`data.rows.episode`), read as they are asked for, whose dtypes are those of `spec`; `transitions` about how many
    there will be, for progress. `source` is the files' sha256. `warnings` say what the files lack or what was changed.
    """

    format: str
    source: str
    spec: TaskSpec
    blocks: Callable[[], Iterator[Columns]]
    transitions: int
    warnings: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)


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
    found = reader_of(address)
    if found is None:
        known = ", ".join(READERS)
        raise UserError(f"{address}: no data that can be recognised; name its kind ({known}) or a dataset's folder")
    logged = _module(found[0]).read(found[1], spec)
    if spec is not None:
        _check(address, logged.spec, spec)
    return logged


def import_data(address: str, spec: TaskSpec | None, store: Path, tick: Tick) -> Dataset:
    """Logged data as a dataset in the store, converted on first request.

    With `spec` it becomes data of that task, whose protocol it takes on: what its files say of theirs stays in the
    manifest. UserError: unknown, damaged, or another task's.
    """
    logged = read_logged(address, spec)
    request = {"kind": "import", "source": logged.source, "reader": logged.format, "spec": spec and spec.protocol}
    index = store / "requests" / f"{sha256_json(request)[:16]}.json"
    if index.exists():
        folder = store / "data" / read_json(index)["data"][:16]
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
    return write_dataset(root, spec or logged.spec, _watched(logged, spec, tick), about)


def _watched(logged: Logged, spec: TaskSpec | None, tick: Tick) -> Iterator[Columns]:
    done = 0
    for block in logged.blocks():
        done += len(block["action"])
        tick("converting data", min(done, logged.transitions), logged.transitions)
        if spec is not None and block["frame"].dtype != np.dtype(spec.obs_dtype):
            block = {**block, "frame": block["frame"].astype(spec.obs_dtype)}
        yield block


def _check(address: str, told: TaskSpec, spec: TaskSpec) -> None:
    """Refuse data of another task: other shapes, other actions."""
    kinds = {np.dtype(told.obs_dtype).kind, np.dtype(spec.obs_dtype).kind}
    if told.obs_shape != spec.obs_shape or len(kinds) > 1:
        raise UserError(
            f"{address}: observations are {told.obs_dtype}{list(told.obs_shape)}, "
            f"those of {spec.id} {spec.obs_dtype}{list(spec.obs_shape)}"
        )
    if (
        told.continuous != spec.continuous
        or told.actions > spec.actions
        or (spec.continuous and told.actions != spec.actions)
    ):
        kind = "numbers in an action" if told.continuous else "actions"
        raise UserError(f"{address}: {told.actions} {kind}; {spec.id} has {spec.actions}")


def _module(name: str) -> Any:
    return importlib.import_module(f"reincarnate.data.readers.{READERS[name]}")
