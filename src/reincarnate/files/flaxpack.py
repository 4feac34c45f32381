"""Trees of arrays as flax stores them in msgpack, read without flax: only numbers, text and arrays come out."""

from typing import Any

import msgpack
import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.safe import one_line

ARRAY, SCALAR = 1, 3
"""Flax's codes for extension types; 2, a complex number, has no business among weights."""
DTYPES = {"float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint32", "uint64", "bool"}
MOST_ITEMS = 4096
"""In one map or list: what its header claims is allocated before anything is read."""


def looks_packed(head: bytes) -> bool:
    """Whether a file begins like a small map whose first key is one that flax or CleanRL writes."""
    return head[:1] in (b"\x81", b"\x82", b"\x83") and head[1:].startswith(
        (b"\xa6params", b"\xadmodel_weights", b"\xa10")
    )


def unpack(payload: bytes, what: str) -> dict[str, Any]:
    """The tree in `flax.serialization.to_bytes`: dictionaries by name, with numpy arrays for leaves.

    UserError: not msgpack, damaged, other types in it, or arrays that declare more than they hold.
    """
    try:
        tree = msgpack.unpackb(
            payload,
            ext_hook=_extension,
            raw=False,
            strict_map_key=True,
            max_map_len=MOST_ITEMS,
            max_array_len=MOST_ITEMS,
            max_str_len=2**16,
        )
    except Exception as error:  # msgpack raises whatever its reader meets in damaged bytes
        raise UserError(f"{what}: not weights in flax's msgpack, or damaged: {one_line(error)}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{what}: not weights in flax's msgpack: it holds a {type(tree).__name__}")
    return tree


def _extension(code: int, data: bytes) -> Any:
    if code not in (ARRAY, SCALAR):
        raise ValueError(f"extension type {code} is none of flax's for arrays")
    shape, name, raw = msgpack.unpackb(data, raw=True, max_array_len=64, max_map_len=0)
    array = array_of(shape, name.decode("ascii"), raw)
    return array if code == ARRAY else array[()].item()


def array_of(shape: Any, dtype: str, raw: bytes) -> np.ndarray:
    """An array over `raw`. ValueError: a dtype without business among weights, or a shape that does not fit."""
    if dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(tuple(shape))
    if dtype not in DTYPES:
        raise ValueError(f"numbers of type {dtype[:20]!r} are not known here")
    return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(tuple(shape))
