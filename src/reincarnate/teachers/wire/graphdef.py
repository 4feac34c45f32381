"""Frozen TensorFlow graphs (`GraphDef`, .pb): their constants, read from the wire format without TensorFlow."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.protobuf import fields, inner, text
from reincarnate.files.safe import one_line
from reincarnate.teachers.wire.tensorproto import constant_of

MOST_NODES = 100_000


class Node(NamedTuple):
    """A node of a graph; `value` is the TensorProto of a constant, else None."""

    name: str
    op: str
    value: memoryview | None


def read_constants(payload: bytes, wanted: str, what: str) -> dict[str, np.ndarray]:
    """The constants whose names match all of `wanted`, a regular expression. UserError: no frozen graph, or damaged."""
    try:
        nodes = [(node.name, node.value) for node in _nodes(memoryview(payload)) if re.fullmatch(wanted, node.name)]
        return {name: constant_of(value) for name, value in nodes if value is not None}
    except (ValueError, TypeError) as error:
        raise UserError(f"{what}: not a frozen TensorFlow graph, or damaged: {one_line(error)}") from None


def looks_like_graph(path: Path, wanted: str) -> bool:
    """Whether a file begins like a `GraphDef` and holds `wanted`: a node, whose first field is its name."""
    if path.suffix != ".pb" or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(2**16)
    return head[:1] == b"\x0a" and wanted.encode() in head


def _nodes(graph: memoryview) -> Iterator[Node]:
    count = 0
    for field, value in fields(graph):
        if field == 1:  # node
            count += 1
            if count > MOST_NODES:
                raise ValueError(f"more than {MOST_NODES} nodes")
            yield _node(inner(value))


def _node(message: memoryview) -> Node:
    name = op = ""
    value = None
    for field, content in fields(message):
        if field == 1:
            name = text(content)
        elif field == 2:
            op = text(content)
        elif field == 5:  # an entry of the map of attributes
            entry = dict(fields(inner(content)))
            if 1 in entry and 2 in entry and text(entry[1]) == "value":
                value = next((inner(tensor) for key, tensor in fields(inner(entry[2])) if key == 8), None)
    return Node(name, op, value if op == "Const" else None)
