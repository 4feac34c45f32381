"""What others want to be told while runs go on: at every checkpoint, and at the end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reincarnate.errors import FAILURES, UserError, reason_of
from reincarnate.plugins import Registry


@dataclass(frozen=True)
class Moment:
    """`what` is "checkpoint" (it has just been written) or "end" (the run is done).

    `told` is the newest evaluation's line of metrics, at the end the result; nobody reads it afterwards.
    """

    what: str
    directory: Path
    told: Mapping[str, Any]


Callback = Callable[[Moment], object]

CALLBACKS = Registry(
    "callback", {}, "reincarnate.callbacks", lambda value: None if callable(value) else "it cannot be called"
)
"""Name -> what is called at every moment of every run. It has no way to change the run that it is told of."""


def register_callback(name: str, callback: Callback) -> None:
    """Have every run of this process tell `callback` of its moments. Raises UserError for a name that is taken."""
    CALLBACKS.register(name, callback)


def tell(moment: Moment) -> None:
    """Tell all. Raises UserError where one fails, naming it: the checkpoint is written, so that nothing is lost."""
    for name, callback in CALLBACKS.items():
        try:
            callback(moment)
        except FAILURES as error:
            hint = "repair it, then `reincarnate resume` goes on" if moment.what == "checkpoint" else "the run is done"
            where = f"{moment.what} of {moment.directory}"
            raise UserError(f"the callback {name!r} failed at the {where}: {reason_of(error)}; {hint}") from error
