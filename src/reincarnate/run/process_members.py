"""Members of a population in processes on this machine, which share memory (`training.mailbox`)."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from reincarnate.errors import UserError
from reincarnate.plugins import asked_imports, imported
from reincarnate.run.assemble import cast_of
from reincarnate.run.execute import train_member
from reincarnate.run.hosts import GRACE, POLL, Asked
from reincarnate.run.prepare import Prepared, prepare
from reincarnate.run.settings import Note, Run
from reincarnate.surroundings import end_with_parent, how_ended, see_ended, spawned
from reincarnate.training.gossip import Parameters, Peer
from reincarnate.training.mailbox import Mailbox


class ProcessMembers:
    """Homes in processes (`run.hosts.Hosts`), and the mailbox that they share."""

    def __init__(self, prepared: Prepared, seeds: tuple[int, ...]):
        own = Parameters(cast_of(prepared))
        self._seeds = seeds
        self._box = Mailbox(len(seeds), own.size, "float64" if own.double else "float32")

    def home(self, asked: Asked) -> "ProcessMember":
        """A process for a member."""
        return ProcessMember(asked, self._seeds, self._box)

    def leave(self, number: int) -> None:
        """Nobody is to wait for this one."""
        self._box.leave(number)

    def rest(self, busy: "Sequence[ProcessMember]") -> None:
        """Until one has something to say, or has ended."""
        wait([source for host in busy for source in host.sources()], timeout=POLL)

    def __enter__(self) -> "ProcessMembers":
        return self

    def __exit__(self, *_: object) -> None:
        self._box.close(unlink=True)


class ProcessMember:
    """One member's process and the pipe to it (`run.hosts.Host`)."""

    def __init__(self, asked: Asked, seeds: tuple[int, ...], box: Mailbox):
        self._asked, self._seeds, self._box = asked, seeds, box

    def begin(self, resume: bool, reborn: bool) -> None:
        """Start it."""
        number, run, out, _ = self._asked
        told = (number, run, self._seeds, out, resume, self._box.address, reborn, asked_imports())
        self._process, self._connection = spawned(_live, *told, name=f"member {number}")

    def sources(self) -> list[Any]:
        """What to wait for."""
        return [self._connection, self._process.sentinel]

    def death(self) -> str | None:
        """How it ended, or None."""
        return None if self._process.is_alive() else how_ended(self._process)

    def heard(self) -> Iterator[tuple[str, Any]]:
        """What came through the pipe."""
        with suppress(EOFError, OSError):
            while self._connection.poll():
                yield self._connection.recv()

    def leave(self) -> None:
        """Mark it in the mailbox."""
        self._box.leave(self._asked.number)

    def bury(self) -> None:
        """Close the pipe."""
        self._connection.close()

    def end(self, busy: bool) -> None:
        """Ask it to stop; kill it where it does not."""
        if busy:
            self._process.terminate()
        see_ended(self._process, GRACE)
        self._connection.close()


# ---- in a member's process -------------------------------------------------------------------------------


def _live(
    connection: Connection,
    number: int,
    run: Run,
    seeds: tuple[int, ...],
    out: Path,
    resume: bool,
    address: tuple[int, int, str, str],
    reborn: bool,
    imports: tuple[str, ...],
) -> None:
    """Train one member, and say how it went."""
    end_with_parent()
    imported((*imports, *run.imports))
    box = Mailbox(*address)
    try:
        exchange = Peer(run.exchange, number, box, lambda text: connection.send(("note", text)), reborn)
        tick = _Slowly(connection)
        result = train_member(prepare(run), seeds, out, resume, exchange, tick, _quiet(connection, number))
        connection.send(("done", result))
    except UserError as error:
        connection.send(("failed", str(error)))
    finally:
        box.leave(number)
        box.close()


def _quiet(connection: Connection, number: int) -> Note:
    """What all members would say, one says."""
    return (lambda text: connection.send(("note", text))) if number == 0 else (lambda text: None)


class _Slowly:
    """Progress, through a pipe."""

    def __init__(self, connection: Connection):
        self._connection = connection

    def __call__(self, what: str, done: int, total: int) -> None:
        self._connection.send(("tick", (what, done, total)))
