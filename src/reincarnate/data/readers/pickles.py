"""Large pickles of strangers: their skeleton, as `teachers.safe` reads it, while arrays stay where they are."""

import mmap
import pickle
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.pickled import BoundedUnpickler, Inert, check_nesting
from reincarnate.files.regular import open_regular
from reincarnate.files.safe import one_line

LARGE = 1 << 16  # bytes from which on content is not copied


class _Mapped:
    """A mapped file to read from: what is large comes as a view."""

    def __init__(self, content: memoryview):
        self._content, self._at = content, 0

    def read(self, size: int) -> bytes | memoryview:
        if size > len(self._content) - self._at:
            raise EOFError("it ends too early")
        self._at += size
        part = self._content[self._at - size : self._at]
        return part if size >= LARGE else bytes(part)

    def readline(self) -> bytes:
        line = bytes(self._content[self._at : self._at + LARGE]).partition(b"\n")
        if not line[1]:
            raise EOFError("a line has no end")
        self._at += len(line[0]) + 1
        return line[0] + b"\n"


class _MappedUnpickler(BoundedUnpickler):
    dispatch: ClassVar[dict[int, Any]] = dict(BoundedUnpickler.dispatch)

    def load_bytearray8(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(size))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def load(path: Path, allowed: Iterable[str]) -> Any:
    """A pickle's skeleton: plain values as they are, every object an `Inert`; nothing is imported or called.

    Arrays in it (`array`) are views of the file. UserError: names that are not `allowed`, or damage.
    """
    try:
        with open_regular(path) as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from None
    try:
        return check_nesting(_MappedUnpickler(_Mapped(memoryview(content)), allowed).load())
    except UserError as error:
        raise UserError(f"{path}: {one_line(error)}") from None
    except Exception as error:  # a damaged pickle fails in as many ways as it has opcodes
        raise UserError(f"{path}: not a pickle that can be read safely: {one_line(error)}") from None


def array(value: Any, what: str) -> np.ndarray:
    """The array of numbers that an inert NumPy pickle describes. UserError: it describes none."""
    origin = value.origin.rpartition(".")[2] if isinstance(value, Inert) else ""
    match (origin, value):
        case ("_reconstruct", Inert(state=(_, tuple() as shape, dtype, bool() as fortran, raw))):
            order = "F" if fortran else "C"
        case ("_frombuffer", Inert(args=(raw, dtype, tuple() as shape, "C" | "F" as order))):
            pass
        case _:
            raise UserError(f"{what} is not an array")
    try:
        return np.frombuffer(raw, _dtype(dtype)).reshape(shape, order=order)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{what} is not an array of numbers: {one_line(error)}") from None


def number(value: Any, what: str) -> int:
    """A whole number or boolean, Python's or NumPy's. UserError: anything else."""
    if isinstance(value, int):
        return int(value)
    match value:
        case Inert(origin=str() as origin, args=(dtype, bytes() as raw)) if origin.endswith(".scalar"):
            try:
                found = np.frombuffer(raw, _dtype(dtype))
            except ValueError as error:
                raise UserError(f"{what} is not a number: {one_line(error)}") from None
            if found.shape == (1,) and found.dtype.kind in "iub":
                return int(found[0])
    raise UserError(f"{what} is not a whole number")


def _dtype(value: Any) -> np.dtype:
    match value:
        case Inert(args=(str() as code, *_), state=(_, "<" | ">" | "=" | "|" as order, *_)):
            if code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
                return np.dtype(order + code)
    raise ValueError("an array of numbers was expected")
