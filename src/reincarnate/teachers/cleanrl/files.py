"""The containers that people keep torch's state dicts in: torch's zip, its older form, and safetensors."""

import io
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from reincarnate.errors import UserError
from reincarnate.files.safe import one_line, read_saved
from reincarnate.teachers.wire.torch_legacy import VERSION, _storages, _tensor, is_legacy
from reincarnate.teachers.wire.torch_pickle import Declared, read_declared

TORCH, OLD, SAFETENSORS = "torch", "torch (before 1.6)", "safetensors"
DEEPEST = 8  # containers within containers
MOST = 10_000  # things in them all


def form_of(payload: bytes) -> str | None:
    """Which of the three it is by how it begins; None for none of them."""
    if payload.startswith(b"PK"):
        return TORCH
    if is_legacy(payload):
        return OLD
    return SAFETENSORS if payload[8:9] == b"{" and int.from_bytes(payload[:8], "little") < len(payload) else None


def head_names(path: Path, names: tuple[bytes, ...]) -> bool:
    """Whether the first bytes of a file of the older form, or of safetensors, name layers so; looked at as text."""
    with path.open("rb") as file:
        head = file.read(2**16)
    old = is_legacy(head)
    return (old or head[8:9] == b"{") and any(name in head for name in names)


def read_container(payload: bytes, form: str, what: str) -> Any:
    """What was saved: tensors in dictionaries, lists and tuples. UserError: damaged, hostile, or more than that."""
    if form == TORCH:
        return read_saved(payload, what)
    return _read_old(payload, what) if form == OLD else _read_safetensors(payload, what)


def _read_safetensors(payload: bytes, what: str) -> Any:
    try:
        return safetensors.torch.load(payload)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{what}: not a safetensors file, or a damaged one: {one_line(error)}") from None


def _read_old(payload: bytes, what: str) -> Any:
    """As `torch_legacy.read_legacy`, with containers around the tensors."""
    file = io.BytesIO(payload)
    _, version, system, saved, keys = (read_declared(file, (), what) for _ in range(5))
    if version != VERSION or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise UserError(f"{what}: of another version or byte order of torch's old format than can be read")
    found = _Found(what)
    found.look(saved, 0)
    declared = {one.storage.key: one.storage for one in found.tensors}
    if not all(declared[one.storage.key] == one.storage for one in found.tensors):
        raise UserError(f"{what}: declares one storage in two ways; it was tampered with")
    storages = _storages(declared, keys, file, what)
    return _filled(saved, storages)


class _Found:
    """The tensors declared in nested containers. UserError: nested too deeply, too many things, or other objects."""

    def __init__(self, what: str):
        self.what, self.tensors, self.count = what, list[Declared](), 0

    def look(self, value: Any, depth: int) -> None:
        """At one thing, and all in it."""
        self.count += 1
        if depth > DEEPEST or self.count > MOST:
            raise UserError(f"{self.what}: containers nested deeper, or holding more, than an agent's do; refused")
        if isinstance(value, Declared):
            self.tensors.append(value)
        elif isinstance(value, dict):
            for one in value.values():
                self.look(one, depth + 1)
        elif isinstance(value, list | tuple):
            for one in value:
                self.look(one, depth + 1)
        elif not isinstance(value, str | int | float | bool | None):
            raise UserError(f"{self.what}: holds more than tensors ({type(value).__name__}); refused, nothing was run")


def _filled(value: Any, storages: dict[str, Any]) -> Any:
    if isinstance(value, Declared):
        return _tensor(value, storages[value.storage.key])
    if isinstance(value, dict):
        return {key: _filled(one, storages) for key, one in value.items()}
    return [_filled(one, storages) for one in value] if isinstance(value, list | tuple) else value
