"""Members of a population as actors of Ray, on one machine or several: each sends its parameters to those that listen.

Nothing is shared but the filesystem that runs, store and teachers lie on. An actor keeps the newest message of each
whom it hears, and the last one of its own: whoever takes a dead neighbour's place asks for it.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.errors import UserError
from reincarnate.plugins import asked_imports, go_to, imported
from reincarnate.run.assemble import cast_of
from reincarnate.run.cluster import first_line, for_run
from reincarnate.run.execute import train_member
from reincarnate.run.hosts import GRACE, POLL, Asked
from reincarnate.run.prepare import Prepared, prepare
from reincarnate.run.settings import Run
from reincarnate.training.gossip import Parameters, Peer
from reincarnate.training.mailbox import Message
from reincarnate.training.topology import TopologyName, listeners

MAIL = {"concurrency_group": "mail"}  # what an actor does beside learning


class RayMembers:
    """Homes in actors (`run.hosts.Hosts`). Raises UserError without Ray, and on a cluster with too few CPUs."""

    def __init__(self, prepared: Prepared, seeds: tuple[int, ...]):
        own = Parameters(cast_of(prepared))
        self._dtype, self._seeds = ("float64" if own.double else "float32"), seeds
        self._homes: dict[int, RayMember] = {}
        self._gone: set[int] = set()
        self._ray: Any = None

    def __enter__(self) -> "RayMembers":
        self._connection = for_run(len(self._seeds))
        self._ray = self._connection.__enter__()
        if (there := int(self._ray.cluster_resources().get("CPU", 0))) < len(self._seeds):
            self._connection.__exit__(None, None, None)
            raise UserError(
                f"--population {len(self._seeds)} with --exchange.processes ray needs a CPU for each member; the "
                f"cluster has {there}"
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.__exit__(None, None, None)

    def home(self, asked: Asked) -> "RayMember":
        """An actor for a member."""
        self._homes[asked.number] = home = RayMember(self, asked, self._seeds)
        return home

    def leave(self, number: int) -> None:
        """Tell all who live, and who will, that nobody is to wait for this one."""
        self._gone.add(number)
        for home in self._homes.values():
            if home.actor is not None and home.asked.number != number:
                home.actor.left.options(**MAIL).remote(number, True)

    def rest(self, busy: "Sequence[RayMember]") -> None:
        """Until one has ended, or for a moment."""
        self._ray.wait([home.life for home in busy], num_returns=1, timeout=POLL)

    def born(self, home: "RayMember") -> Any:
        """A new actor, which knows the others and is known to them."""
        self._gone.discard(home.asked.number)  # who has heard of its death waits until it says that it is back
        options: Any = {"num_cpus": 1, "max_restarts": 0, "concurrency_groups": {"mail": 2}}
        topology: TopologyName = home.asked.run.exchange.topology
        actor = self._ray.remote(**options)(Learner).remote(
            home.asked.number, len(self._seeds), topology, self._dtype, self._gone, asked_imports()
        )
        others = {number: other.actor for number, other in self._homes.items() if other.actor and other is not home}
        actor.meet.options(**MAIL).remote(others)
        for other in others.values():
            other.meet.options(**MAIL).remote({home.asked.number: actor})
        return actor

    @property
    def ray(self) -> Any:
        """The module, once it is connected."""
        return self._ray


class RayMember:
    """One member's actor (`run.hosts.Host`)."""

    def __init__(self, actors: RayMembers, asked: Asked, seeds: tuple[int, ...]):
        self.asked, self.actor, self.life = asked, None, None
        self._actors, self._seeds = actors, seeds
        self._hearing: Any = None
        self._said: list[tuple[str, Any]] = []

    def begin(self, resume: bool, reborn: bool) -> None:
        """Let an actor learn; it asks the neighbours for what they know where it takes a dead one's place."""
        self.actor: Any = self._actors.born(self)
        self._hearing = None
        self.life = self.actor.learn.remote(
            self.asked.run, self._seeds, self.asked.out.resolve(), Path.cwd(), resume, reborn
        )

    def death(self) -> str | None:
        """How it ended, or None."""
        ray = self._actors.ray
        if not ray.wait([self.life], timeout=0)[0]:
            return None
        try:
            ended = ray.get(self.life)
        except ray.exceptions.RayError as error:
            return first_line(error)
        self._said += [*self._last_words(), ended]
        return None

    def _last_words(self) -> list[tuple[str, Any]]:
        try:
            return self._actors.ray.get(self.actor.said.options(**MAIL).remote(), timeout=GRACE)
        except self._actors.ray.exceptions.RayError:
            return []

    def heard(self) -> Iterator[tuple[str, Any]]:
        """What it has said since it was last asked; nobody waits for its answer."""
        ray, said = self._actors.ray, self._said
        if self._hearing is not None and ray.wait([self._hearing], timeout=0)[0]:
            with suppress(ray.exceptions.RayError):
                said = [*ray.get(self._hearing), *said]
            self._hearing = None
        if self._hearing is None:
            self._hearing = self.actor.said.options(**MAIL).remote()
        self._said = []
        yield from said

    def leave(self) -> None:
        """Tell the others."""
        self._actors.leave(self.asked.number)

    def bury(self) -> None:
        """Nobody is to write to it any more."""
        self.actor = None

    def end(self, busy: bool) -> None:
        """Kill it; a run that was busy goes on from its last checkpoint when it is resumed."""
        if self.actor is not None:
            self._actors.ray.kill(self.actor)
            self.actor = None


# ---- in an actor -----------------------------------------------------------------------------------------


class Post:
    """A mailbox over Ray (`training.mailbox.Mail`): what has arrived here, and whom to send one's own to.

    One message to each listener is on its way at a time: while one has not arrived no other follows, so that a slow
    one is sent the newest next.
    """

    def __init__(self, member: int, members: int, topology: TopologyName, dtype: str, gone: set[int]):
        self.members, self.dtype = members, np.dtype(dtype)
        self.peers: dict[int, Any] = {}
        self.own: np.ndarray | None = None
        self._member, self._listeners = member, listeners(topology, members, member)
        self._gone, self._here = set(gone), dict[int, Message]()
        self._sending: dict[int, Any] = {}

    def arrived(self, other: int, vector: np.ndarray) -> None:
        """A message from another; they are counted here, so that one that took a dead member's place is heard too."""
        before = self._here.get(other)
        self._here[other] = Message(before.version + 1 if before else 1, np.array(vector))

    def post(self, member: int, vector: np.ndarray) -> None:
        """Keep it, and send it to all who listen and have taken the one before."""
        import ray

        self.own, ref = vector.copy(), None
        for other in self._listeners:
            busy = other in self._sending and not ray.wait([self._sending[other]], timeout=0)[0]
            if other in self.peers and other not in self._gone and not busy:
                ref = ray.put(self.own) if ref is None else ref
                self._sending[other] = self.peers[other].mail.options(**MAIL).remote(member, ref)

    def latest(self, member: int, since: int = 0) -> Message | None:
        """A member's newest message, None where none has come after number `since`."""
        message = self._here.get(member)
        return message if message is not None and message.version > since else None

    def leave(self, member: int, left: bool = True) -> None:
        """Tell the others that this member has left, or is back."""
        for other in self.peers.values():
            other.left.options(**MAIL).remote(member, left)

    def mark(self, other: int, left: bool) -> None:
        """Another has left, or is back."""
        (self._gone.add if left else self._gone.discard)(other)

    def has_left(self, member: int) -> bool:
        """Whether it has."""
        return member in self._gone

    def ask(self, peers: Mapping[int, Any]) -> None:
        """Fetch what each of these last posted; who does not answer is left out."""
        import ray
        from ray.exceptions import RayError

        asked = {other: actor.last.options(**MAIL).remote() for other, actor in peers.items()}
        for other, ref in asked.items():
            try:
                vector = ray.get(ref, timeout=GRACE)
            except RayError:
                continue
            if vector is not None and self.latest(other) is None:
                self.arrived(other, np.asarray(vector))


class Learner:
    """The actor. `learn` is its life; all else comes beside it, in threads of their own."""

    def __init__(
        self,
        number: int,
        members: int,
        topology: TopologyName,
        dtype: str,
        gone: set[int],
        imports: tuple[str, ...],
    ):
        imported(imports)
        self._number, self._post = number, Post(number, members, topology, dtype, gone)
        self._words: deque[tuple[str, Any]] = deque()  # filled by one thread, emptied by another
        self._tick: tuple[Any, ...] | None = None  # the newest will do

    def learn(
        self, run: Run, seeds: tuple[int, ...], out: Path, where: Path, resume: bool, reborn: bool
    ) -> tuple[str, Any]:
        """Train the member. Returns `done` and the result, or `failed` and why."""
        go_to(where, run.imports)
        if reborn:
            self._post.ask(dict(self._post.peers))
        exchange = Peer(run.exchange, self._number, self._post, lambda text: self._say("note", text), reborn)
        quiet = (lambda text: self._say("note", text)) if self._number == 0 else (lambda text: None)
        try:
            result = train_member(prepare(run), seeds, out, resume, exchange, self._ticked, quiet)
        except UserError as error:
            return "failed", str(error)
        return "done", dict(result)

    def _say(self, kind: str, what: Any) -> None:
        self._words.append((kind, what))

    def _ticked(self, what: str, done: int, total: int) -> None:
        self._tick = (what, done, total)

    def said(self) -> list[tuple[str, Any]]:
        """What it has said since it was last asked, and how far it has come."""
        told = [self._words.popleft() for _ in range(len(self._words))]
        return [*told, ("tick", self._tick)] if self._tick else told

    def meet(self, peers: Mapping[int, Any]) -> None:
        """Others to write to, by number."""
        self._post.peers.update(peers)

    def mail(self, other: int, vector: np.ndarray) -> None:
        """A message."""
        self._post.arrived(other, vector)

    def last(self) -> np.ndarray | None:
        """What this one posted last."""
        return self._post.own

    def left(self, other: int, left: bool) -> None:
        """Another has left, or is back."""
        self._post.mark(other, left)
