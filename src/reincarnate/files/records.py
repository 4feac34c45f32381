"""Records of ours, which may come from anybody: JSON within limits, fields by name, each of its kind or refused."""

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.regular import read_bounded
from reincarnate.files.text import clean, printable

FORMAT: Final = 1  # of every JSON file this version writes; docs/formats.md specifies them
HEX = frozenset("0123456789abcdef")
ABSENT: Any = object()


def loads(payload: bytes | str, where: Path | str, numbers_may_be_none: bool = False) -> Any:
    """JSON as a value. UserError: not JSON, a key twice, half a letter, too deep, too much of it, or NaN among it.

    `numbers_may_be_none`: NaN and infinities are let through, as lines of metrics hold them.
    """
    try:
        value = json.loads(payload, object_pairs_hook=_object)
    except RecursionError:
        raise UserError(f"{where}: not JSON: nested over {limits.DEPTH} deep") from None
    except (ValueError, MemoryError) as error:
        raise UserError(f"{where}: not JSON: {clean(str(error), 160)}") from None
    _check(value, where, numbers_may_be_none)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands there twice")
    return value


def _check(value: Any, where: Path | str, numbers_may_be_none: bool) -> None:
    """Every value in it looked at once, without recursion."""
    waiting, count = [(value, 1)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if isinstance(value, dict | list):
            if depth > limits.DEPTH or count + len(value) > limits.VALUES:
                much = f"nested over {limits.DEPTH} deep" if depth > limits.DEPTH else f"over {limits.VALUES:,} values"
                raise UserError(f"{where}: not a record of ours: {much}; refused")
            items = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            waiting += [(item, depth + 1) for item in items]
        elif isinstance(value, str):
            if not printable(value):
                raise UserError(f"{where}: holds text that is not Unicode: half of a pair of surrogates")
        elif isinstance(value, float):
            if not math.isfinite(value) and not numbers_may_be_none:
                raise UserError(f"{where}: holds {value}, where only finite numbers may be")
        elif isinstance(value, int) and abs(value) >= 10**limits.DIGITS:
            raise UserError(f"{where}: holds a number of over {limits.DIGITS} digits")


def load_record(path: Path, most: int = limits.JSON) -> dict[str, Any]:
    """The JSON object in a file. UserError: missing, no file, torn, not an object, or of another format."""
    if not os.path.exists(path):
        raise UserError(f"{path} does not exist")
    try:
        value = loads(read_bounded(path, most), path)
    except UserError as error:
        raise UserError(f"{path} cannot be read: {str(error).removeprefix(str(path)).lstrip(' :')}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} should hold an object, not {kind_of(value)}")
    check_format(value, path)
    return value


def check_format(value: dict[str, Any], where: Path | str) -> None:
    """UserError: the record says that it is of a format that this version does not know."""
    found = value.get("format", FORMAT)
    if type(found) is not int or found != FORMAT:
        raise UserError(f"{where} has format {shown(found)}; this version reads format {FORMAT}")


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def shown(value: Any) -> str:
    """A value in a message."""
    try:
        return clean(repr(value), 80)
    except (ValueError, RecursionError):
        return kind_of(value)


class Record:
    """An object of a record, its fields read by name: `Record(value, "run/result.json").integer("seed", low=0)`.

    Each method gives a field of one kind, `default` where it is absent, if one is given. UserError says which field of
    which file is missing, or what it is instead.
    """

    def __init__(self, value: Any, where: Path | str, field: str = ""):
        self.where, self._field = where, field
        if not isinstance(value, dict):
            raise UserError(f"{where}: {field or 'the record'} should be an object, not {kind_of(value)}")
        self.value: dict[str, Any] = value

    def __contains__(self, name: str) -> bool:
        return name in self.value

    def __iter__(self) -> Iterator[str]:
        return iter(self.value)

    def get(self, name: str, default: Any = ABSENT) -> Any:
        """A field of any kind."""
        if name in self.value:
            return self.value[name]
        if default is ABSENT:
            raise UserError(f"{self.where} has no field {self.named(name)!r}")
        return default

    def named(self, name: str) -> str:
        """A field's whole name, with dots."""
        return clean(f"{self._field}.{name}" if self._field else name, 80)

    def refuse(self, name: str, expected: str, value: Any) -> UserError:
        """The error of a field that is not as expected."""
        return UserError(f"{self.where}: {self.named(name)} should be {expected}, not {shown(value)}")

    def _of(self, name: str, default: Any, expected: str, fits: Callable[[Any], bool]) -> Any:
        value = self.get(name, default)
        if value is default or fits(value):
            return value
        raise self.refuse(name, expected, value)

    def record(self, name: str, default: Any = ABSENT) -> "Record":
        """An inner object."""
        value = self.get(name, default)
        return Record(value, self.where, self.named(name))

    def records(self, name: str, default: Any = ABSENT) -> list["Record"]:
        """A list of objects."""
        value = self._of(name, default, "a list of objects", lambda x: isinstance(x, list))
        return [Record(item, self.where, f"{self.named(name)}[{i}]") for i, item in enumerate(value)]

    def text(self, name: str, default: Any = ABSENT, most: int = 100_000) -> str | Any:
        """Text."""
        return self._of(name, default, "text", lambda x: isinstance(x, str) and len(x) <= most)

    def flag(self, name: str, default: Any = ABSENT) -> bool | Any:
        """True or false."""
        return self._of(name, default, "true or false", lambda x: isinstance(x, bool))

    def integer(self, name: str, default: Any = ABSENT, low: int = -(2**63), high: int = 2**63 - 1) -> int:
        """A whole number from `low` to `high`; 3.0 is one."""
        value = self.get(name, default)
        if value is default:
            return value
        whole = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not whole or value != int(value) or not low <= value <= high:
            least = f" of at least {low}" if low > -(2**63) else ""
            raise self.refuse(name, f"a whole number{least}", value)
        return int(value)

    def number(self, name: str, default: Any = ABSENT) -> float:
        """A finite number."""
        value = self._of(name, default, "a finite number", is_finite)
        return value if value is default else float(value)

    def numbers(self, name: str, default: Any = ABSENT) -> list[float]:
        """A list of finite numbers."""
        value = self._of(
            name, default, "a list of finite numbers", lambda x: isinstance(x, list) and all(map(is_finite, x))
        )
        return [float(item) for item in value]

    def texts(self, name: str, default: Any = ABSENT) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self._of(name, default, "a list of texts", lambda x: isinstance(x, list) and all(map(is_text, x))))

    def hash(self, name: str, default: Any = ABSENT) -> str | Any:
        """A SHA-256 in lower-case hex: hashes become names of files."""
        return self._of(name, default, "a sha256", is_hash)

    def mapping(self, name: str, inner: Callable[[Any], bool], expected: str, default: Any = ABSENT) -> dict[str, Any]:
        """An object whose values all are of a kind."""
        return self._of(name, default, expected, lambda x: isinstance(x, dict) and all(map(inner, x.values())))


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_hash(value: Any) -> bool:
    """Whether a value is a SHA-256 in lower-case hex."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= HEX


def is_text(value: Any) -> bool:
    """Whether a value is text."""
    return isinstance(value, str)
