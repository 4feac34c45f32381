"""The graph of an agent's ancestors, put together from manifests that are found and from what descendants recorded."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reincarnate.agents.places import folder_of
from reincarnate.errors import UserError
from reincarnate.files.records import Record, load_record
from reincarnate.files.regular import within
from reincarnate.store.index import NAME, Index
from reincarnate.store.nodes import (
    AGENT,
    DATA,
    TEACHER,
    Cost,
    Node,
    Parent,
    ancestors_in,
    of_agent,
    of_data,
    pulled_from,
    total,
)
from reincarnate.store.scan import RUN, Found, Tell, local, look, parts, scan

KINDS = {"weights": AGENT, "replay": AGENT, "data": DATA}  # of a parent in a role; teachers may be anything

Places = Mapping[str, list[Found]]
"""Where what has a hash lies, as far as is known; the folders exist."""


@dataclass(frozen=True)
class Lineage:
    """An agent and its ancestors by hash. `places`: where each was found; what is missing has none."""

    root: Node
    nodes: dict[str, Node]
    places: dict[str, Path]

    def node(self, parent: Parent) -> Node:
        """What an edge leads to; of some nothing is known but the role they had."""
        return self.nodes.get(parent.sha256) or Node(
            parent.sha256, KINDS.get(parent.role, TEACHER), address=parent.address
        )

    def ancestors(self, sha256: str | None = None) -> list[Node]:
        """Every ancestor of a node (the root) once, however many ways lead to it; nearest first."""
        start = self.nodes[sha256] if sha256 else self.root
        seen, queue = {start.sha256}, list(start.parents)
        found: list[Node] = []
        while queue:
            parent = queue.pop(0)
            if parent.sha256 in seen:
                continue
            seen.add(parent.sha256)
            node = self.node(parent)
            found.append(node)
            queue += node.parents
        return found

    def total(self, sha256: str | None = None) -> Cost:
        """What a node (the root) and all its ancestors cost, each counted once."""
        start = self.nodes[sha256] if sha256 else self.root
        return total([start.cost, *(node.cost for node in self.ancestors(start.sha256))])


def known_places(store: Path, roots: Iterable[Path], tell: Tell = lambda _: None) -> Places:
    """What lies where, by a store's index and by looking into the store and `roots`; looking changes nothing."""
    found = list(scan([store, *roots], tell))
    if (store / NAME).exists():
        with Index(store, tell) as index:
            known = index.all()
        found += known
        found += [y for x in known if not x.finished and (x.path / "done").exists() for y in look(x.path)]
    places: dict[str, list[Found]] = {}
    for x in dict.fromkeys(found):
        if x.sha256 and os.path.exists(x.path):
            places.setdefault(x.sha256, []).append(x)
    return places


def lineage_of(address: str, places: Places) -> Lineage:
    """The lineage of an agent: its folder or run, `store:DIR`, or the first digits of an indexed agent's hash.

    Raises UserError where there is no such agent, or several.
    """
    folder = find_agent(address, places)
    value = read_agent(folder)
    root = of_agent(value, address)
    nodes, where = {**ancestors_in(value), root.sha256: root}, {root.sha256: folder}
    waiting = list(root.parents)
    looked = {root.sha256}
    while waiting:
        parent = waiting.pop(0)
        if parent.sha256 in looked:
            continue
        looked.add(parent.sha256)
        found = _found(parent, nodes.get(parent.sha256), places)
        if found:
            node, more, where[parent.sha256] = found
            nodes = {**more, **nodes, parent.sha256: _merged(node, nodes.get(parent.sha256))}
        if parent.sha256 in nodes:
            waiting += nodes[parent.sha256].parents
    return Lineage(root, nodes, where)


def find_agent(address: str, places: Places) -> Path:
    """The folder with the `agent.json` of an agent."""
    folder = folder_of(address)
    for candidate in (folder, folder / "agent"):
        if (candidate / "agent.json").exists():
            return candidate
    if re.fullmatch(r"[0-9a-f]{6,64}", address):
        named = {x.sha256: x.path for found in places.values() for x in found if x.kind == AGENT}
        matching = [sha256 for sha256 in named if sha256.startswith(address)]
        if len(matching) == 1:
            return named[matching[0]]
        found = f"{len(matching)} agents have" if matching else "no indexed agent has"
        raise UserError(f"{found} a hash that begins with {address}; `reincarnate lineage index DIR …` adds folders")
    state = "is a run that is not finished" if (folder / "config.json").exists() else "is no agent"
    raise UserError(f"{address} {state}; name an agent's folder, a finished run's, or six digits or more of its hash")


def read_agent(folder: Path) -> dict[str, Any]:
    """An `agent.json`. Raises UserError where it is none."""
    value = load_record(within(folder, "agent.json"))
    if value.get("kind") != "agent":
        raise UserError(f"{folder}/agent.json does not describe an agent")
    Record(value, folder / "agent.json").record("spec")
    return value


def _found(parent: Parent, told: Node | None, places: Places) -> tuple[Node, dict[str, Node], Path] | None:
    """An ancestor as its own manifest describes it, its ancestors, and where it is; None where it is not found."""
    for path, kind in _candidates(parent, told, places):
        with suppress(UserError):  # a manifest that cannot be read is as good as none; `verify` names it
            node, more = _read(path, kind, parent, told)
            if node.sha256 == parent.sha256:
                return node, more, path
    return None


def _read(path: Path, kind: str, parent: Parent, told: Node | None) -> tuple[Node, dict[str, Node]]:
    if kind == AGENT:
        value = read_agent(path)
        return of_agent(value, pulled_from(path) or parent.address), ancestors_in(value)
    if kind == DATA:
        return of_data(load_record(within(path, "manifest.json")), parent.address), {}
    return told or Node(parent.sha256, TEACHER, address=parent.address), {}


def _candidates(parent: Parent, told: Node | None, places: Places) -> Iterator[tuple[Path, str]]:
    """Where an ancestor may lie: where the index says, else where its address points from here."""
    for found in places.get(parent.sha256, []):
        if found.kind != RUN:
            yield found.path, found.kind
    for address in (parent.address, told.address if told else None):
        if composed := _composed(address):
            yield composed, TEACHER
            continue
        folder = local(address)
        if folder is None or not os.path.exists(folder):
            continue
        for path in (folder, folder / "agent"):
            kept = path / "data" / parent.sha256[:16]
            if (kept / "manifest.json").exists():
                yield kept, DATA
            elif (path / "agent.json").exists():
                yield path, AGENT
            elif (path / "manifest.json").exists():
                yield path, DATA
        if folder.is_file():
            yield folder, TEACHER


def _composed(address: str | None) -> Path | None:
    """Where a teacher lies that is made of others, or shown a view: the first of its parts, if all of them are here."""
    named = parts(address)
    if not named or named == [address]:
        return None
    places = [place for part in named if (place := local(part)) and os.path.exists(place)]
    return places[0] if len(places) == len(named) else None


def _merged(own: Node, told: Node | None) -> Node:
    """What a manifest says of itself, and what a descendant knows besides: a teacher's score, what data cost.

    An address on the Hub, which holds everywhere, goes before one that holds here.
    """
    if told is None:
        return own
    cost = {name: max(own.cost[name], told.cost[name], key=lambda x: (x.whole, x.value)) for name in own.cost}
    score, interval = (own.score, own.interval) if own.score is not None else (told.score, told.interval)
    addresses = [address for address in (own.address, told.address) if address]
    best = next((address for address in addresses if address.startswith("hf:")), addresses[0] if addresses else None)
    return replace(own, cost=cost, score=score, interval=interval, address=best)
