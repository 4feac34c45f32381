"""Careful reading of manifests, which may come from anybody: what is not of its kind is as good as absent."""

from typing import Any

from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.records import is_hash, shown
from reincarnate.files.text import clean

Number = int | float


def mapping(value: dict[str, Any], key: str) -> dict[str, Any]:
    """An inner object; empty where there is none."""
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}


def text(value: Any) -> str:
    """One line of at most 300 letters, none of which commands a terminal; "" for what is no text."""
    return clean(" ".join(value[: limits.LINE].split()), limits.NAME) if isinstance(value, str) else ""


def number(value: Any) -> Number | None:
    """A finite number; None for anything else."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e40
    return value if usable else None


def interval_of(value: Any) -> tuple[Number, Number] | None:
    """Two finite numbers; None for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = map(number, value)
    return None if low is None or high is None else (low, high)


def hash_of(value: Any) -> str:
    """A SHA-256 in lower-case hex. Raises UserError for anything else: hashes become names of files."""
    if not is_hash(value):
        raise UserError(f"a sha256 was expected, not {shown(value)}")
    return value
