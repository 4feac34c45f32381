"""Careful reading of manifests, which may come from anybody: what is not of its kind is as good as absent."""

from typing import Any

from reincarnate.errors import UserError

Number = int | float


def mapping(value: dict[str, Any], key: str) -> dict[str, Any]:
    """An inner object; empty where there is none."""
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}


def text(value: Any) -> str:
    """One line of at most 300 letters, none of which commands a terminal; "" for what is no text."""
    return "".join(c for c in " ".join(value.split())[:300] if c.isprintable()) if isinstance(value, str) else ""


def number(value: Any) -> Number | None:
    """A finite number; None for anything else."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    return value if usable else None


def interval_of(value: Any) -> tuple[Number, Number] | None:
    """Two finite numbers; None for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = map(number, value)
    return None if low is None or high is None else (low, high)


def hash_of(value: Any) -> str:
    """A SHA-256 in lower-case hex. Raises UserError for anything else: hashes become names of files."""
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise UserError(f"a sha256 was expected, not {str(value)[:80]!r}")
    return value
