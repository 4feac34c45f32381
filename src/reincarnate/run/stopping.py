"""`--stop-at`: when a run has done enough, looked at after each evaluation of an online phase."""

import math
from collections.abc import Callable, Sequence

from reincarnate.errors import UserError

Stop = Callable[[Sequence[float], Sequence[float]], bool]
"""Scores and normalised scores of the phase's evaluations so far, oldest first -> whether to stop."""
FORMS = "score=NUMBER, normalised=NUMBER or plateau=EVALUATIONS"


def stopping(asked: str, teacher: bool = True) -> Stop | None:
    """When to stop, None for never.

    `score=200`: an evaluation's mean return is as good. `normalised=1`: the same with random 0 and teacher 1.
    `plateau=5`: none of the last five evaluations was better than the best before. Raises UserError for anything else.
    """
    if not asked:
        return None
    what, _, said = asked.partition("=")
    if what not in ("score", "normalised", "plateau"):
        raise UserError(f"--stop-at {asked!r} is none of {FORMS}")
    try:
        value = float(said)
    except ValueError:
        raise UserError(f"--stop-at {asked!r}: {said!r} is no number; write {FORMS}") from None
    if not math.isfinite(value):
        raise UserError(f"--stop-at {asked!r}: no run gets there; write {FORMS}")
    if what == "score":
        return lambda scores, _: scores[-1] >= value
    if what == "normalised":
        if not teacher:
            raise UserError("--stop-at normalised needs a --teacher, whose score is 1; without one: --stop-at score=…")
        return lambda _, normalised: bool(normalised) and normalised[-1] >= value
    if not (value.is_integer() and value >= 1):
        raise UserError(f"--stop-at {asked!r}: a plateau is counted in evaluations, 1 or more")
    return lambda scores, _: len(scores) > value and max(scores[-int(value) :]) <= max(scores[: -int(value)])
