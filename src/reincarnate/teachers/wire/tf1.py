"""TensorFlow's checkpoints, `PREFIX.index` and `PREFIX.data-00000-of-00001`, read without TensorFlow.

The index is a table of LevelDB's form: blocks of entries whose keys share prefixes, an index block of where they are,
a footer of where that is. Under the key "" is a header, under every other the name of a variable and where its bytes
lie in the data file. Every checksum that covers what is read is checked.
"""

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.crc32c import masked_crc32c
from reincarnate.files.protobuf import fields, inner, number, varint
from reincarnate.files.safe import MIB, one_line, read_file, sha256
from reincarnate.teachers.wire.tensorproto import DTYPES, array_of, shape_of

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
FOOTER = 48
INDEX_LIMIT = 64 * MIB
MOST_VARIABLES = 10_000


class Entry(NamedTuple):
    """Where a variable's bytes are, and what they should be."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int | None


def looks_like_index(path: Path) -> bool:
    """Whether a file is a checkpoint's index, by its last bytes."""
    if path.suffix != ".index" or not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - len(MAGIC)))
        return file.read() == MAGIC


def read_variables(index: Path, wanted: str) -> tuple[dict[str, np.ndarray], str]:
    """The variables whose names match all of `wanted`, a regular expression; and the sha256 of index and data.

    UserError: not a checkpoint, damaged (a checksum differs), data that is missing, or shapes beyond what it holds.
    """
    payload = read_file(index, INDEX_LIMIT)
    try:
        shards, entries = _read_index(payload)
        entries = {name: entry for name, entry in entries.items() if re.fullmatch(wanted, name)}
        paths = {entry.shard: _shard(index, entry.shard, shards) for entry in entries.values()}
        data = {shard: read_file(path) for shard, path in paths.items()}
        if sum(entry.size for entry in entries.values()) > sum(map(len, data.values())):
            raise ValueError("its variables are larger than its data")
        variables = {name: _variable(name, entry, data[entry.shard]) for name, entry in entries.items()}
    except (ValueError, struct.error) as error:
        raise UserError(f"{index}: not a TensorFlow checkpoint, or damaged: {one_line(error)}") from None
    return variables, sha256(payload, *(data[shard] for shard in sorted(data)))


def _shard(index: Path, shard: int, shards: int) -> Path:
    if not 0 <= shard < shards <= 99_999:
        raise ValueError(f"part {shard} of {shards}")
    return index.with_name(f"{index.stem}.data-{shard:05d}-of-{shards:05d}")


def _variable(name: str, entry: Entry, data: bytes) -> np.ndarray:
    if entry.dtype not in DTYPES:
        raise ValueError(f"{name[:60]} holds numbers of TensorFlow's type {entry.dtype}")
    size = math.prod(entry.shape) * np.dtype(DTYPES[entry.dtype]).itemsize
    if size != entry.size or entry.offset + size > len(data):
        raise ValueError(f"{name[:60]} declares shape {entry.shape}, more or less than the data holds")
    raw = memoryview(data)[entry.offset : entry.offset + size]
    if entry.crc is not None and masked_crc32c(raw) != entry.crc:
        raise ValueError(f"the checksum of {name[:60]} differs: its data has changed")
    return array_of(entry.dtype, entry.shape, raw)


# ---- the index -------------------------------------------------------------------------------------


def _read_index(payload: bytes) -> tuple[int, dict[str, Entry]]:
    """How many data files there are, and the variables in them."""
    if len(payload) < FOOTER or payload[-len(MAGIC) :] != MAGIC:
        raise ValueError("its index does not end as one does")
    shards, entries, footer = 1, dict[str, Entry](), memoryview(payload)[-FOOTER:]
    position = _handle(footer, 0)[1]  # skips what says where the (empty) meta index is
    room = len(payload)
    for _, where in _block(payload, _handle(footer, position)[0]):
        (offset, size), _ = _handle(where, 0)
        room -= size + 5
        if room < 0:
            raise ValueError("its blocks overlap")
        for key, value in _block(payload, (offset, size)):
            if not key:
                shards = next((number(count) for field, count in fields(value) if field == 1), 1)
            else:
                entries[key.decode()] = _entry(value)
            if len(entries) > MOST_VARIABLES:
                raise ValueError(f"more than {MOST_VARIABLES} variables")
    return shards, entries


def _handle(message: memoryview, position: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and the position after them."""
    offset, position = varint(message, position)
    size, position = varint(message, position)
    return (offset, size), position


def _block(payload: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of a block; each key is what it shares with the one before it, and the rest."""
    offset, size = handle
    if offset + size + 5 > len(payload):
        raise ValueError("a block beyond the end of the index")
    block = memoryview(payload)[offset : offset + size + 5]
    if block[size] != 0:
        raise ValueError("its index is compressed, which TensorFlow's never is")
    if masked_crc32c(block[: size + 1]) != struct.unpack("<I", block[size + 1 :])[0]:
        raise ValueError("the checksum of its index differs")
    restarts = struct.unpack("<I", block[size - 4 : size])[0] if size >= 4 else 0
    end = size - 4 - 4 * restarts
    if not 0 <= end <= size - 4:
        raise ValueError("a block without entries")
    yield from _entries(block[:end])


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    key, position = b"", 0
    while position < len(block):
        shared, position = varint(block, position)
        rest, position = varint(block, position)
        size, position = varint(block, position)
        if shared > len(key) or shared + rest > 4096 or position + rest + size > len(block):
            raise ValueError("an entry beyond the end of its block")
        key = key[:shared] + bytes(block[position : position + rest])
        position += rest + size
        yield key, block[position - size : position]


def _entry(message: memoryview) -> Entry:
    found: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    crc = None
    for field, value in fields(message):
        if field == 2:
            shape = shape_of(inner(value))
        elif field == 6:
            crc = int.from_bytes(inner(value), "little")
        elif field == 7:
            raise ValueError("a variable in slices")
        else:
            found[field] = number(value)
    return Entry(found.get(1, 0), shape, found.get(3, 0), found.get(4, 0), found.get(5, 0), crc)
