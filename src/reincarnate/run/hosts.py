"""Where members of a population live when they do not share a process: in processes here, or as actors of Ray."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from reincarnate.run.settings import Run

POLL = 0.5  # seconds between looks at members that have said nothing
GRACE = 10.0  # seconds for members to tidy up when the whole is stopped


class Asked(NamedTuple):
    """One member's part: its number, its run, where that is written, whether it goes on there."""

    number: int
    run: Run
    out: Path
    resume: bool


@runtime_checkable
class Host(Protocol):
    """One member's home. What it says are pairs of a kind and a value: `tick`, `note`, `done` with the result,
    `failed` with the reason."""

    def begin(self, resume: bool, reborn: bool) -> None: ...  # live, or live again
    def death(self) -> str | None: ...  # how it ended, None while it lives; asked before what it said is heard
    def heard(self) -> Iterable[tuple[str, Any]]: ...
    def leave(self) -> None: ...  # tell the others that it has left; one that is born again says so itself
    def bury(self) -> None: ...  # see that nothing is left of one that has died
    def end(self, busy: bool) -> None: ...  # see that it ends


@runtime_checkable
class Hosts(Protocol):
    """`with` it: homes for members, gone afterwards."""

    def home(self, asked: Asked) -> Host: ...
    def leave(self, number: int) -> None: ...  # of one that has no part any more
    def rest(self, busy: Sequence[Any]) -> None: ...  # until one has something to say, or for a while
    def __enter__(self) -> "Hosts": ...
    def __exit__(self, *_: object) -> None: ...
