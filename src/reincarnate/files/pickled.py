"""Pickles of strangers read as data: plain values and inert objects, no more of either than the file is long.

What a pickle can do even where nothing in it is called: ask for memory by a number in it (BYTEARRAY8), take for ever
over the hash of a key (tuples that hold the same tuple twice, thirty deep), nest lists until whoever walks them
falls over. All three are refused here.
"""

import pickle
import re
import struct
from collections.abc import Iterable
from typing import Any, ClassVar

from reincarnate.errors import UserError
from reincarnate.files import limits

KEY_PARTS = 64  # members of a tuple that is a key
ORDERED = "collections.OrderedDict"  # the one object that items are put into
PLAIN_KEYS = (str, bytes, int, float, bool, type(None))


class Inert:
    """What a name in a pickle becomes here: it remembers how it was made, and does nothing."""

    origin = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any):
        """Whatever the pickle would have built it with."""
        self = super().__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state


class BoundedUnpickler(pickle._Unpickler):  # the one in Python: the C one allocates by the file's own numbers
    """Reads from what has `read` and `readline`; names that match `allowed` become `Inert`, others are a UserError."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    read: Any  # pickle sets these while it loads
    append: Any
    stack: list[Any]
    pop_mark: Any

    def __init__(self, file: Any, allowed: Iterable[str]):
        super().__init__(file)
        self.allowed = re.compile("|".join(allowed))
        self.names: dict[str, type[Inert]] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        """An inert class of that name."""
        origin = f"{module}.{name}"
        if not self.allowed.fullmatch(origin):
            raise UserError(f"refers to {origin[:80]}, which has no business there; refused, nothing was run")
        if len(self.names) > limits.PICKLE_NAMES:
            raise UserError(f"refers to over {limits.PICKLE_NAMES:,} names; refused")
        return self.names.setdefault(origin, type("Named", (Inert,), {"origin": origin}))

    def load_bytearray8(self) -> None:
        """As many bytes as there are, not as many as are claimed."""
        (size,) = struct.unpack("<Q", self.read(8))
        content = self.read(size)
        if len(content) < size:
            raise EOFError("it ends too early")
        self.append(bytearray(content))

    def load_setitem(self) -> None:
        """A key, and what it stands for."""
        value, key = self.stack.pop(), self.stack.pop()
        _refuse_key(key)
        _table(self.stack[-1])[key] = value

    def load_setitems(self) -> None:
        """Keys, and what they stand for."""
        items = self.pop_mark()
        for key in items[::2]:
            _refuse_key(key)
        table = _table(self.stack[-1])
        for i in range(0, len(items), 2):
            table[items[i]] = items[i + 1]

    def load_dict(self) -> None:
        """A dictionary whole."""
        items = self.pop_mark()
        for key in items[::2]:
            _refuse_key(key)
        self.append(dict(zip(items[::2], items[1::2], strict=True)))

    def load_additems(self) -> None:
        """Members of a set."""
        items = self.pop_mark()
        for item in items:
            _refuse_key(item)
        self.stack[-1].update(items)

    def load_frozenset(self) -> None:
        """A frozen set whole."""
        items = self.pop_mark()
        for item in items:
            _refuse_key(item)
        self.append(frozenset(items))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.FROZENSET[0]] = load_frozenset


def _table(target: Any) -> Any:
    """What items go into: the target, or what an inert OrderedDict keeps as its state."""
    if not isinstance(target, Inert) or target.origin != ORDERED:
        return target
    if target.state is None:
        target.state = {}
    return target.state


def entries(value: Any) -> dict[Any, Any] | None:
    """What a dictionary, or an inert OrderedDict, holds; None of anything else."""
    found = value.state if isinstance(value, Inert) and value.origin == ORDERED else value
    return found if isinstance(found, dict) else None


def _refuse_key(key: Any) -> None:
    """Keys are hashed: of plain values and flat tuples that takes no time."""
    if isinstance(key, (*PLAIN_KEYS, type)):
        return
    if isinstance(key, tuple) and len(key) <= KEY_PARTS and all(isinstance(part, PLAIN_KEYS) for part in key):
        return
    if isinstance(key, Inert) and type(key).__hash__ is object.__hash__:
        return
    raise UserError(f"has a {type(key).__name__} for a key, which no agent and no log has; refused")


def check_nesting(value: Any, deepest: int = limits.DEPTH) -> Any:
    """The value itself. UserError: what is in it lies over `deepest` deep in each other, or in itself."""
    depth: dict[int, int] = {}  # of what has been looked at; 0 while it is being looked at
    waiting: list[tuple[Any, bool]] = [(value, False)]
    while waiting:
        node, done = waiting.pop()
        parts = _parts(node)
        if parts is None or (not done and depth.get(id(node), -1) > 0):
            continue
        if not done:
            if depth.get(id(node)) == 0 or len(waiting) > limits.VALUES:
                raise UserError("holds itself, or too many values; refused")
            depth[id(node)] = 0
            waiting.append((node, True))
            waiting += [(part, False) for part in parts if _parts(part) is not None and depth.get(id(part), 0) < 1]
            continue
        depth[id(node)] = 1 + max((depth.get(id(part), 0) for part in parts), default=0)
        if depth[id(node)] > deepest:
            raise UserError(f"values in it are nested over {deepest} deep; refused")
    return value


def _parts(node: Any) -> list[Any] | None:
    """What a container or an object holds; None of anything else."""
    if isinstance(node, dict):
        return [*node.values(), *node.keys()]
    if isinstance(node, list | tuple | set | frozenset):
        return list(node)
    return [node.state, *node.args] if isinstance(node, Inert) else None
