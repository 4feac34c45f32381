"""What settings of methods must be, and the stretch before learning that some of them share."""

import math
from typing import TypeVar

from reincarnate.errors import UserError
from reincarnate.methods.schedules import Constant
from reincarnate.types import Guide

Number = TypeVar("Number", int, float)

THROUGHOUT = Guide(Constant(math.inf), drawn=False)
"""The teacher acts, whatever the student would do."""


def checked(flag: str, value: float) -> float:
    """A fraction. Raises UserError where it is none."""
    if not 0 <= value <= 1:
        raise UserError(f"{flag} must lie between 0 and 1, not {value:g}")
    return value


def at_least(flag: str, smallest: Number, value: Number) -> Number:
    """A number that is not smaller. Raises UserError where it is."""
    if value < smallest:
        raise UserError(f"{flag} must be at least {smallest:g}, not {value:g}")
    return value


def positive(flag: str, value: float) -> float:
    """A number above 0. Raises UserError where it is 0 or below."""
    if value <= 0:
        raise UserError(f"{flag} must be above 0, not {value:g}")
    return value


def rest(env_steps: int, flag: str, first: int) -> int:
    """Env steps left of the budget after the `first`. Raises UserError where none is left, or `first` is below 1."""
    if not 1 <= first < env_steps:
        raise UserError(f"{flag} {first} must be at least 1 and leave some of the {env_steps} env steps")
    return env_steps - first
