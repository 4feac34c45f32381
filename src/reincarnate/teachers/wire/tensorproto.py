"""TensorFlow's tensors in protocol buffers: dtypes, shapes, constants. Nothing is allocated that is not there."""

import math

import numpy as np

from reincarnate.files.protobuf import fields, inner, number

DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}
"""Of TensorFlow's enumeration, those found among weights."""
MOST_SPREAD = 65_536
"""How many numbers a single one may stand for: TensorFlow shortens a constant of equal numbers to one of them."""
NUMBERS = {5: "<f4", 6: "<f8"}  # float_val, double_val


def shape_of(message: memoryview) -> tuple[int, ...]:
    """The sizes in a TensorShapeProto. ValueError: none that an array can have."""
    sizes = []
    for field, value in fields(message):
        if field == 2:  # dim
            sizes.append(next((number(size) for key, size in fields(inner(value)) if key == 1), 0))
        elif field == 3 and value:
            raise ValueError("a tensor of unknown rank")
    if len(sizes) > 8 or any(size >= 2**40 for size in sizes):
        raise ValueError(f"a tensor of shape {sizes[:8]}")
    return tuple(sizes)


def array_of(dtype: int, shape: tuple[int, ...], raw: bytes | memoryview) -> np.ndarray:
    """An array over `raw`. ValueError: another number of bytes than the shape needs, or an unknown dtype."""
    if dtype not in DTYPES:
        raise ValueError(f"numbers of TensorFlow's type {dtype}")
    return _shaped(np.frombuffer(raw, DTYPES[dtype]), shape)


def _shaped(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if math.prod(shape) != len(values):
        raise ValueError(f"a tensor of shape {shape} with {len(values)} numbers")
    return values.reshape(shape)


def constant_of(message: memoryview) -> np.ndarray:
    """The array in a TensorProto. ValueError: shape and content do not fit, or it is not of numbers."""
    dtype, shape, content, listed = 0, (), None, list[np.ndarray]()
    for field, value in fields(message):
        if field == 1:
            dtype = number(value)
        elif field == 2:
            shape = shape_of(inner(value))
        elif field == 4:
            content = inner(value)
        elif field in NUMBERS:
            listed.append(np.frombuffer(inner(value), NUMBERS[field]))
    if content is not None:
        return array_of(dtype, shape, content)
    values, count = np.concatenate(listed) if listed else np.empty(0), math.prod(shape)
    if len(values) == 1 and 1 < count <= MOST_SPREAD:
        values = np.repeat(values, count)
    return _shaped(values, shape)
