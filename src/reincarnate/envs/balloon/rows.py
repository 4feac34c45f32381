"""Structures of arrays: one row per balloon, written and read by row."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

Rows = slice | np.ndarray
EVERY = slice(None)


def take(block: Any, rows: Rows) -> Any:
    """The same block of arrays, of these rows alone (views where `rows` is a slice)."""
    return replace(block, **{field.name: getattr(block, field.name)[rows] for field in fields(block)})


def put(block: Any, rows: Rows, new: Any) -> None:
    """Write the rows of `new` over these rows."""
    for field in fields(block):
        getattr(block, field.name)[rows] = getattr(new, field.name)
