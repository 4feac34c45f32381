"""What a task says, checked where it says it: shapes, and numbers that are numbers. A fault names task and step."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reincarnate.errors import UserError


def number(value: Any, what: str) -> float:
    """A reward as a float; arrays of one are taken. Raises UserError for anything else."""
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"the {what} is {value!r}, not a number") from None
    if found.size != 1:
        raise UserError(f"the {what} has {found.size} numbers, and one is needed")
    return float(found.item())


def fitted(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An observation as an array of the space's shape. Raises UserError for another: nothing is broadcast."""
    try:
        found = np.asarray(value)
    except ValueError:
        raise UserError(f"the observation is {type(value).__name__} of uneven parts, not one array") from None
    if found.dtype.kind not in "biuf":
        raise UserError(f"the observation is {type(value).__name__}, and numbers are needed")
    if found.shape != shape:
        raise UserError(f"the observation is {list(found.shape)}, the task's space says {list(shape)}")
    return found


def unsound(obs: np.ndarray) -> tuple[int, str] | None:
    """The first copy whose observation is no finite number, and what to say of it; None where all are."""
    if obs.dtype.kind == "f" and not np.isfinite(obs).all():
        i, *where = (int(axis[0]) for axis in np.nonzero(~np.isfinite(obs)))
        value = obs[(i, *where)]
        return i, f"the observation is {value} at index {where[0] if len(where) == 1 else where}"
    return None


def bounds(env_id: str, low: Sequence[float], high: Sequence[float], hint: str = "") -> None:
    """Raises UserError where an action's bounds are not finite, or leave nothing between them."""
    for i, (least, most) in enumerate(zip(low, high, strict=True)):
        if not -math.inf < least < most < math.inf:
            raise UserError(
                f"{env_id}: number {i} of an action has bounds {least:g} and {most:g}: finite ones are needed, with "
                f"something between them{hint}"
            )


def acts(actions: np.ndarray, idle: np.ndarray) -> None:
    """Raises UserError where continuous actions are not numbers: a network gave NaN or infinities.

    A row of NaN alone is an idle copy (`IDLE`); but somebody must act.
    """
    if np.isfinite(actions).all():
        return
    if idle.all() or not np.isfinite(actions[~idle]).all():
        raise UserError("the actions are not finite numbers: whoever acts there predicts NaN or infinities")


class Unsound(UserError):
    """A student that acts says what is no number. Whoever asked knows when, and says it."""


def finite(predictions: np.ndarray, who: str, step: int | None = None) -> None:
    """Raises UserError where a policy's predictions [n, K] are NaN or infinite, naming it and the step.

    Without a step it was asked about observations that were stored.
    A logit of minus infinity is a probability of zero, and allowed beside finite ones.
    """
    sound = np.isfinite(predictions)
    if sound.all() or ((sound | np.isneginf(predictions)).all() and sound.any(-1).all()):
        return
    bad = predictions[~sound & ~np.isneginf(predictions)]
    when = "of a stored observation" if step is None else f"at step {step}"
    raise UserError(f"{who} predicts {bad[0] if bad.size else -np.inf} {when}: it cannot be asked what to do")
