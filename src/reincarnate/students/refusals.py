"""Numbers that a student's settings cannot mean, refused in one line each. All raise UserError and name the flag."""

from collections.abc import Mapping
from typing import Any

from reincarnate.errors import UserError

MOST_LAYERS = 1000  # of one network, each made for itself: the deepest that are trained have as many


def flag(name: str) -> str:
    """Of a setting."""
    return f"--student.{name.replace('_', '-')}"


def refuse_below(settings: Any, least: Mapping[str, int]) -> None:
    """Of these settings those that are smaller than they may be."""
    for name, smallest in least.items():
        if (value := getattr(settings, name)) < smallest:
            raise UserError(f"{flag(name)} {value} is too small; at least {smallest} is needed")


def refuse_above(settings: Any, most: Mapping[str, int]) -> None:
    """Of these settings those that are larger than they may be."""
    for name, largest in most.items():
        if (value := getattr(settings, name)) > largest:
            raise UserError(f"{flag(name)} {value} is too many; at most {largest:,}")


def refuse_outside(settings: Any, *names: str) -> None:
    """Of these settings those that do not lie between 0 and 1."""
    for name in names:
        if not 0 <= (value := getattr(settings, name)) <= 1:
            raise UserError(f"{flag(name)} must lie between 0 and 1, not {value:g}")


def refuse_empty_layers(settings: Any, *names: str) -> None:
    """Of these lists of layers' sizes those that hold one below 1."""
    for name in names:
        if min(sizes := getattr(settings, name), default=1) < 1:
            raise UserError(f"{flag(name)} holds layers' sizes, each at least 1, not {sizes}")
