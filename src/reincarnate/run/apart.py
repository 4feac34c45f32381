"""A population with a process for each member: they share memory and no locks; one that dies is replaced.

A member that dies is marked as having left, so that nobody waits for it, and begun again from its last checkpoint, with
the mean of its neighbours' parameters in place of its own (ours: Assran et al., 2019, have no such thing).
"""

import multiprocessing
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from reincarnate.errors import UserError
from reincarnate.plugins import asked_imports, imported
from reincarnate.priors.reference import Tick
from reincarnate.run.assemble import cast_of
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import train_member
from reincarnate.run.prepare import Prepared, measure_priors, prepare
from reincarnate.run.settings import Note, Run
from reincarnate.surroundings import end_with_parent
from reincarnate.training.gossip import Parameters, Peer
from reincarnate.training.mailbox import Mailbox

REBIRTHS = 3  # of one member
POLL = 0.5  # seconds between looks at processes that have said nothing
GRACE = 10.0  # seconds for members to tidy up when the whole is stopped


def train_apart(
    prepared: Sequence[Prepared], outs: Sequence[Path], resume: Sequence[bool], tick: Tick, note: Note
) -> list[dict[str, Any]]:
    """Train a population to its end. Raises UserError where a member could not go on; the others are then done."""
    first = measure_priors(prepared[0], tick, note)  # once, into the store, before all members ask for it
    _refuse_taken(outs, resume)
    run, box = first.run, _mailbox(first)
    seeds = tuple(one.seed for one in replace(run, seed=run.first_seed or 0).members())
    asked = zip(prepared, outs, resume, strict=True)
    members = [_Member(seeds.index(p.run.seed), p.recorded, out, again, box) for p, out, again in asked]
    for number in {*range(len(seeds))} - {member.number for member in members}:
        box.leave(number)  # those that are done
    try:
        for member in members:
            member.start(seeds)
        while any(member.busy for member in members):
            wait([w for member in members if member.busy for w in member.sources()], timeout=POLL)
            for member in members:
                member.look(tick, note)
        failed = [member for member in members if member.reason]
        if failed:
            told = "; ".join(f"{member.out}: {member.reason}" for member in failed)
            raise UserError(f"{len(failed)} of {len(members)} members failed, the others are done: {told}")
        return [member.result for member in members]
    finally:
        for member in members:
            member.end()
        box.close(unlink=True)


def _refuse_taken(outs: Sequence[Path], resume: Sequence[bool]) -> None:
    """Raises UserError before anything is written where a member has no place."""
    for out, again in zip(outs, resume, strict=True):
        RunDirectory.reopen(out) if again else RunDirectory.fresh(out)


def _mailbox(prepared: Prepared) -> Mailbox:
    own = Parameters(cast_of(prepared))
    return Mailbox(prepared.run.population, own.size, "float64" if own.double else "float32")


class _Member:
    """One process, and what it said."""

    def __init__(self, number: int, run: Run, out: Path, resume: bool, box: Mailbox):
        self.number, self.run, self.out, self._resume, self._box = number, run, out, resume, box
        self.result: dict[str, Any] = {}
        self.reason, self.busy, self._births = "", False, 0
        self._seeds: tuple[int, ...] = ()

    def start(self, seeds: tuple[int, ...], reborn: bool = False) -> None:
        """Begin, or go on in the place of one that has died."""
        self._seeds = seeds
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._box.leave(self.number, False)
        resume = self._resume or (reborn and (self.out / "config.json").exists())
        told = (self.number, self.run, seeds, self.out, resume, self._box.address, reborn, asked_imports())
        self.process = context.Process(target=_live, args=(theirs, *told), name=f"member {self.number}")
        self.process.start()
        theirs.close()
        self.busy, self._births = True, self._births + 1

    def sources(self) -> list[Any]:
        """What to wait for."""
        return [self._connection, self.process.sentinel]

    def look(self, tick: Tick, note: Note) -> None:
        """Take in what it said; where it has died begin it anew."""
        if not self.busy:
            return
        ended = not self.process.is_alive()
        with suppress(EOFError, OSError):
            while self.busy and self._connection.poll():
                self._take(self._connection.recv(), tick, note)
        if self.busy and ended:
            self._box.leave(self.number)
            self._replace(note)

    def _take(self, said: tuple[str, Any], tick: Tick, note: Note) -> None:
        kind, what = said
        if kind == "tick" and self.number == 0:
            tick(*what)
        elif kind == "note":
            note(what)
        elif kind == "done":
            self.result, self.busy = what, False
        elif kind == "failed":
            self.reason, self.busy = what, False
            note(f"warning: member {self.number} has failed ({what}); the others go on without it")

    def _replace(self, note: Note) -> None:
        self.process.join()
        code = self.process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if self._births > REBIRTHS:
            self.reason, self.busy = f"its process died {self._births} times, at last {how}", False
            return
        note(f"warning: member {self.number} died ({how}): another takes its place")
        self._connection.close()
        self.start(self._seeds, reborn=True)

    def end(self) -> None:
        """See that nothing of it is left."""
        if not self._births:
            return
        if self.busy:
            self.process.terminate()
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its members itself
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
