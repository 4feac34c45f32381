"""Weights that torch before 1.6 saved: five pickles and the numbers after them, read without running any of it."""

import io
from typing import Any

import torch
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.teachers.wire.torch_pickle import Declared, Storage, read_declared

MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The pickle of a number that torch chose, with which such a file begins."""
VERSION = 1001


def is_legacy(payload: bytes) -> bool:
    """Whether it begins as such a file."""
    return payload.startswith(MAGIC)


def read_legacy(payload: bytes, what: str) -> dict[str, Tensor]:
    """The state dict in such a file, on the CPU. UserError: damaged, hostile, or more than tensors by name."""
    file = io.BytesIO(payload)
    _, version, system, state, keys = (read_declared(file, (), what) for _ in range(5))
    if version != VERSION or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise UserError(f"{what}: of another version or byte order of torch's old format than can be read")
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UserError(f"{what}: a dictionary of named tensors was expected, not a {type(state).__name__[:20]}")
    for name, value in state.items():
        if not isinstance(value, Declared):
            raise UserError(f"{what}: {name[:80]!r} is not a plain tensor")
    declared = {value.storage.key: value.storage for value in state.values()}
    if not all(declared[value.storage.key] == value.storage for value in state.values()):
        raise UserError(f"{what}: declares one storage in two ways; it was tampered with")
    storages = _storages(declared, keys, file, what)
    return {name: _tensor(value, storages[value.storage.key]) for name, value in state.items()}


def _storages(declared: dict[str, Storage], keys: Any, file: io.BytesIO, what: str) -> dict[str, Tensor]:
    """The numbers of each storage: one after the other as `keys` orders them, each after its length."""
    found: dict[str, Tensor] = {}
    for key in keys if isinstance(keys, list) else []:
        storage = declared.get(key) if isinstance(key, str) else None
        numel = int.from_bytes(file.read(8), "little")
        if storage is None or numel != storage.numel:
            break
        raw = file.read(numel * storage.dtype.itemsize)
        if len(raw) < numel * storage.dtype.itemsize:
            break
        empty = torch.empty(0, dtype=storage.dtype)
        found[key] = torch.frombuffer(bytearray(raw), dtype=storage.dtype) if numel else empty
    if missing := sorted(declared.keys() - found.keys()):
        raise UserError(f"{what}: damaged: the numbers of storage {missing[0][:40]!r} are not as declared")
    return found


def _tensor(value: Declared, storage: Tensor) -> Tensor:
    return torch.as_strided(storage, value.shape, value.strides, value.offset).clone()
