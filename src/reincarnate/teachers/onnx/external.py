"""Numbers that an ONNX model keeps in one file of its own beside it, as torch exports by default: `FILE.onnx.data`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.protobuf import Value, fields, inner, text
from reincarnate.files.safe import read_file

DTYPES = {1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"} | {
    12: "<u4",
    13: "<u8",
}
"""Of TensorProto's enumeration."""


@dataclass(frozen=True)
class External:
    """A tensor whose numbers lie in another file, in the words of the model that names it."""

    name: str
    kind: int
    dims: tuple[int, ...]
    entries: dict[str, str]


def entry(message: Value) -> tuple[str, str]:
    """Key and value of one of a tensor's `external_data`. ValueError: damaged."""
    found = {key: text(value) for key, value in fields(inner(message)) if key in (1, 2)}
    return found.get(1, "")[:20], found.get(2, "")[:200]


def read_external(tensors: Sequence[External], model: Path) -> tuple[dict[str, np.ndarray], bytes]:
    """Their arrays, and the bytes of the one file that they may lie in: the model's name and `.data`.

    UserError: any other place is named, a tensor lies beyond the file, or its numbers are not finite.
    """
    if not tensors:
        return {}, b""
    place = f"{model.name}.data"
    for tensor in tensors:
        if tensor.entries.get("location") != place:
            named = tensor.entries.get("location", "")[:80]
            raise UserError(f"{model}: keeps numbers in {named!r}; only {place!r} beside it may be read")
    payload = read_file(model.with_name(place))
    arrays = {tensor.name: _array(tensor, payload, model) for tensor in tensors}
    if len(arrays) < len(tensors):
        raise UserError(f"{model}: has two tensors of one name")
    return arrays, payload


def _array(tensor: External, payload: bytes, model: Path) -> np.ndarray:
    dtype, numel = np.dtype(DTYPES.get(tensor.kind, "V1")), math.prod(tensor.dims)
    offset, length = (_count(tensor.entries.get(key)) for key in ("offset", "length"))
    size = numel * dtype.itemsize
    if dtype.kind == "V" or length not in (None, size) or (offset or 0) + size > len(payload):
        raise UserError(f"{model}: {tensor.name[:60]!r} does not lie within {model.name}.data")
    array = np.frombuffer(payload, dtype, numel, offset or 0).reshape(tensor.dims).copy()  # aligned
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{model}: its weights hold NaN or infinity; the training that made it has failed")
    return array


def _count(value: str | None) -> int | None:
    """A number of bytes; one that cannot be is larger than any file."""
    return None if value is None else int(value) if value.isascii() and value.isdigit() else 2**63
