"""A population whose members live apart, in processes or as actors of Ray: no locks, and one that dies is replaced.

A member that dies is marked as having left, so that nobody waits for it, and begun again from its last checkpoint, with
the mean of its neighbours' parameters in place of its own (ours: Assran et al., 2019, have no such thing).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reincarnate.errors import UserError
from reincarnate.priors.played import Tick
from reincarnate.run.directory import RunDirectory
from reincarnate.run.hosts import Asked, Host, Hosts
from reincarnate.run.prepare import Prepared, measure_priors
from reincarnate.run.settings import Note

REBIRTHS = 3  # of one member


def train_apart(
    prepared: Sequence[Prepared], outs: Sequence[Path], resume: Sequence[bool], tick: Tick, note: Note
) -> list[dict[str, Any]]:
    """Train a population to its end. Raises UserError where a member could not go on; the others are then done."""
    run = prepared[0].run
    seeds = tuple(one.seed for one in replace(run, seed=run.first_seed or 0).members())
    whose = zip(prepared, outs, resume, strict=True)
    asked = [Asked(seeds.index(p.run.seed), p.recorded, out, again) for p, out, again in whose]
    _refuse_taken(asked)
    with _hosts(prepared[0], seeds) as hosts:
        measure_priors(prepared[0], tick, note)  # once, into the store, before all members ask for it
        for number in {*range(len(seeds))} - {one.number for one in asked}:
            hosts.leave(number)  # those that are done
        members = [_Member(one, hosts.home(one)) for one in asked]
        try:
            return _raised(members, hosts, tick, note)
        finally:
            for member in members:
                member.end()


def _hosts(prepared: Prepared, seeds: tuple[int, ...]) -> Hosts:
    if prepared.run.exchange.processes == "ray":
        from reincarnate.run.ray_members import RayMembers

        return RayMembers(prepared, seeds)
    from reincarnate.run.process_members import ProcessMembers

    return ProcessMembers(prepared, seeds)


def _raised(members: "Sequence[_Member]", hosts: Hosts, tick: Tick, note: Note) -> list[dict[str, Any]]:
    for member in members:
        member.begin()
    while any(member.busy for member in members):
        hosts.rest([member.host for member in members if member.busy])
        for member in members:
            member.look(tick, note)
    if failed := [member for member in members if member.reason]:
        told = "; ".join(f"{member.asked.out}: {member.reason}" for member in failed)
        raise UserError(f"{len(failed)} of {len(members)} members failed, the others are done: {told}")
    return [member.result for member in members]


def _refuse_taken(asked: Sequence[Asked]) -> None:
    """Raises UserError before anything is written where a member has no place."""
    for one in asked:
        RunDirectory.reopen(one.out) if one.resume else RunDirectory.fresh(one.out)


class _Member:
    """One learner, and what it said."""

    def __init__(self, asked: Asked, host: Host):
        self.asked, self.host = asked, host
        self.result: dict[str, Any] = {}
        self.reason, self.busy, self._births = "", False, 0

    def begin(self, reborn: bool = False) -> None:
        """Begin, or go on in the place of one that has died."""
        self.host.begin(self.asked.resume or (reborn and (self.asked.out / "config.json").exists()), reborn)
        self.busy, self._births = True, self._births + 1

    def look(self, tick: Tick, note: Note) -> None:
        """Take in what it said; where it has died begin it anew."""
        if not self.busy:
            return
        how = self.host.death()
        for kind, what in self.host.heard():
            self._take(kind, what, tick, note)
        if self.busy and how:
            self.host.leave()
            self._replace(how, note)

    def _take(self, kind: str, what: Any, tick: Tick, note: Note) -> None:
        if kind == "tick" and self.asked.number == 0:
            tick(*what)
        elif kind == "note":
            note(what)
        elif kind == "done":
            self.result, self.busy = what, False
        elif kind == "failed":
            self.reason, self.busy = what, False
            note(f"warning: member {self.asked.number} has failed ({what}); the others go on without it")
        if not self.busy:
            self.host.leave()

    def _replace(self, how: str, note: Note) -> None:
        self.host.bury()
        number = self.asked.number
        if self._births > REBIRTHS:
            self.reason, self.busy = f"its process died {self._births} times, at last {how}", False
            note(f"warning: member {number} died once too often ({how}): the others go on without it")
            return
        note(f"warning: member {number} died ({how}): another takes its place")
        self.begin(reborn=True)

    def end(self) -> None:
        """See that nothing of it is left."""
        if self._births:
            self.host.end(self.busy)
