"""The wire format of protocol buffers: fields by number, without their schema and without copying."""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Value = int | memoryview


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a message: an integer, or the bytes of what is longer.

    Fixed-width numbers come as their bytes. ValueError: the message ends early, or holds a wire type unknown here.
    """
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        kind = tag & 7
        if kind == VARINT:
            value, position = varint(message, position)
            yield tag >> 3, value
            continue
        if kind == BYTES:
            size, position = varint(message, position)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} in a message")
        if size > len(message) - position:
            raise ValueError("a message ends before its field does")
        yield tag >> 3, message[position : position + size]
        position += size


def varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and the position after it. ValueError: it does not end within ten bytes."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number without an end")


def number(value: Value) -> int:
    """A field that must be an integer. ValueError: it is not."""
    if not isinstance(value, int):
        raise ValueError("bytes where a number was expected")
    return value


def inner(value: Value) -> memoryview:
    """A field that must be a message, text or bytes. ValueError: it is a number."""
    if isinstance(value, int):
        raise ValueError("a number where a message was expected")
    return value


def text(value: Value) -> str:
    """A field of UTF-8 text. ValueError: it is none."""
    return bytes(inner(value)).decode()
