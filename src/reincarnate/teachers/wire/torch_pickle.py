"""What torch's pickles declare: storages and the tensors over them, by their numbers; nothing is imported or run."""

import io
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from reincarnate.errors import UserError
from reincarnate.files.pickled import BoundedUnpickler, check_nesting
from reincarnate.files.safe import one_line

DTYPES = {
    f"torch.{name}Storage": dtype
    for name, dtype in {
        **{"Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16},
        **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
        "Bool": torch.bool,
    }.items()
}


class Storage(NamedTuple):
    """A run of numbers that lies outside the pickle, under `key`."""

    key: str
    dtype: torch.dtype
    numel: int


class Declared(NamedTuple):
    """A tensor over a storage, checked to lie within it and to be no larger than it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Table(dict):
    """A dictionary that may be told attributes, as torch does with a state dict's metadata; they are dropped."""

    def __setstate__(self, state: Any) -> None:
        """Nothing of it is kept."""


def rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Declared:
    """`torch._utils._rebuild_tensor_v2`, with no tensor made. ValueError: it would reach beyond its storage."""
    numbers = [offset, *shape, *strides]
    if not isinstance(storage, Storage) or len(shape) != len(strides):
        raise ValueError("a tensor that is none")
    if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        raise ValueError("a tensor of impossible shape")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and (last >= storage.numel or math.prod(shape) > storage.numel):
        raise ValueError(f"a tensor declares shape {shape}, more than the file holds")
    return Declared(storage, offset, shape, strides)


SizeOf = Callable[[str], int]
Known = Mapping[str, Callable[..., Any]]
KNOWN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": Table,
    "torch._utils._rebuild_tensor_v2": rebuild,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
}


class _Unpickler(BoundedUnpickler):
    def __init__(self, file: io.BytesIO, allowed: Iterable[str], size_of: SizeOf | None, known: dict[str, Callable]):
        BoundedUnpickler.__init__(self, file, allowed)
        self.size_of, self.known = size_of, KNOWN | known

    def find_class(self, module: str, name: str, /) -> Any:
        origin = f"{module}.{name}"
        if origin in self.known:
            return self.known[origin]
        return DTYPES[origin] if origin in DTYPES else BoundedUnpickler.find_class(self, module, name)

    def persistent_load(self, pid: Any) -> Storage:
        match pid:
            case ("storage", torch.dtype() as dtype, str() as key, str(), int() as numel, *view) if view in (
                [],
                [None],
            ):
                storage = Storage(key, dtype, numel)
            case _:
                raise ValueError("something else where a storage was expected")
        if not 0 <= numel < 2**40 or (self.size_of and numel * dtype.itemsize > self.size_of(key)):
            raise ValueError(f"storage {key[:20]} declares {numel} numbers, more than the file holds")
        return storage


def read_declared(
    file: io.BytesIO,
    allowed: Iterable[str],
    what: str,
    size_of: SizeOf | None = None,
    known: Known = MappingProxyType({}),
) -> Any:
    """The next pickle in `file`: plain values, `Declared` tensors, `Inert` objects of names that `allowed` matches.

    `size_of` gives the bytes that the file holds of a storage; without it the caller must compare them. `known` are
    harmless stand-ins for more functions, by their full names.
    UserError: any other name, a tensor beyond its storage, a storage beyond the file, or damage.
    """
    try:
        return check_nesting(_Unpickler(file, allowed, size_of, dict(known)).load())
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    except Exception as error:  # a damaged pickle fails in as many ways as it has opcodes
        raise UserError(f"{what}: damaged, or not a pickle that can be read safely: {one_line(error)}") from None
