"""Clearing a store of what nothing refers to any more. Whatever is deleted can be measured or collected again."""

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reincarnate.envs.task import divided
from reincarnate.errors import UserError
from reincarnate.files.atomic import disk_errors, sha256_json
from reincarnate.files.records import Record, is_text, load_record
from reincarnate.files.regular import within
from reincarnate.store.index import Index
from reincarnate.store.nodes import AGENT, ancestors_in, of_agent
from reincarnate.store.scan import RUN, STUDY, Found, Tell

DAY = 86_400.0
LEFTOVER = "left by a process that was killed"  # within a day it may be one that is alive
KINDS = ("data", "scores", "logits", "requests")  # the folders of a store that are looked into


@dataclass(frozen=True)
class Orphan:
    """A file or folder of the store that nothing refers to."""

    path: Path
    kind: str
    bytes: int
    days: float
    words: str


@dataclass
class References:
    """What agents and runs that exist refer to: hashes of data and teachers, tasks that are played."""

    hashes: set[str] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)  # ids, whatever the settings, alone or beside others

    def play(self, address: str) -> None:
        """Note what is played at an address."""
        self.tasks |= {_id_of(piece) for piece in divided(address)}

    def logits(self) -> set[str]:
        """Names of all files of logits that they may use."""
        pairs = [(data, teacher) for data in self.hashes for teacher in self.hashes]
        requests = [{"kind": "logits", "data": data, "teacher": teacher} for data, teacher in pairs]
        return {f"{sha256_json(request)[:16]}.npy" for request in requests}


def _id_of(address: str) -> str:
    return address.partition("?")[0]


def references(found: Iterable[Found], tell: Tell = lambda _: None) -> References:
    """All that the agents, and the runs whether or not they are finished, stand on, and all their ancestors do.

    One that is damaged can refer to nothing; `tell` is given a line about it.
    """
    refers = References()
    for x in found:
        try:
            if x.kind == AGENT:
                _of_agent(load_record(within(x.path, "agent.json")), refers)
            elif x.kind == RUN:
                _of_run(x.path, refers)
            elif x.kind == STUDY:
                _of_study(Record(load_record(within(x.path, "study.json")), x.path / "study.json"), refers)
        except (UserError, KeyError, AttributeError, TypeError) as error:
            tell(f"what {x.path} needs is not known: {error}")
    return refers


def _of_agent(value: dict[str, Any], refers: References) -> None:
    node, ancestors = of_agent(value), ancestors_in(value)
    refers.play(node.task)
    refers.hashes |= {node.sha256, *ancestors, *(parent.sha256 for parent in node.parents)}
    refers.hashes |= {parent.sha256 for ancestor in ancestors.values() for parent in ancestor.parents}


def _of_run(folder: Path, refers: References) -> None:
    """A run also uses a teacher that only sets its scale. Its priors are in its config from its first moment on."""
    for name in ("config.json", "result.json"):
        if name == "config.json" or (folder / name).exists():
            record = Record(load_record(within(folder, name)), folder / name)
            refers.play(record.text("env", ""))
            prior = record.record("prior", None) if record.get("prior", None) is not None else Record({}, folder / name)
            refers.hashes |= {prior.text(kind) for kind in ("teacher", "data", "weights") if prior.get(kind, None)}


def _of_study(study: Record, refers: References) -> None:
    """A study pins the priors of runs that it has not begun yet."""
    pinned = study.record("pins")
    for task in pinned:
        refers.play(task)
        for kind in ("teacher", "data", "weights"):
            refers.hashes |= set(pinned.record(task).mapping(kind, is_text, "an object of hashes", {}).values())


def orphans(store: Path, refers: References, days: float, tell: Tell = lambda _: None) -> list[Orphan]:
    """What in a store nothing refers to, of at least this age; links, and what is not the store's own, are left."""
    found = [orphan for kind in KINDS for orphan in _orphans(store / kind, kind, refers, tell)]
    return [orphan for orphan in found if orphan.days >= (max(days, 1) if orphan.words == LEFTOVER else days)]


def _orphans(folder: Path, kind: str, refers: References, tell: Tell) -> Iterator[Orphan]:
    logits = refers.logits() if kind == "logits" else set()
    for path in sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else ():
        if path.is_symlink():
            continue
        if path.name.startswith(".staging-"):
            yield _orphan(path, kind, LEFTOVER)
            continue
        try:
            words = _unused(path, kind, refers, logits)
        except UserError as error:
            tell(f"left alone: {error}")  # what cannot be read is not ours to delete
            continue
        if words:
            yield _orphan(path, kind, words)


def _unused(path: Path, kind: str, refers: References, logits: set[str]) -> str | None:
    """What something is, if nothing refers to it; None if something does, or it is nothing of the store's."""
    if kind == "data":
        manifest = Record(load_record(within(path, "manifest.json")), path / "manifest.json")
        ours = manifest.get("kind", None) == "dataset" and path.name == manifest.hash("id")[:16]
        kind, rows = manifest.record("about").text("kind", "data"), manifest.integer("transitions")
        words = f"{manifest.record('spec').text('id')}, {kind}, {rows:,} rows"
        return words if ours and manifest.hash("id") not in refers.hashes else None
    if kind == "logits":
        return None if path.name in logits or path.suffix != ".npy" else "a teacher's logits"
    record = Record(load_record(path), path)
    request = record.record("request")
    task = request.record("protocol", {}).text("env", "") if request.get("protocol", {}) is not None else ""
    if kind == "requests":
        gone = record.hash("data") not in refers.hashes
        return f"where {request.text('kind')} lies" if gone else None
    who = request.text("who")
    used = _id_of(task) in refers.tasks and (who == "random" or who in refers.hashes)
    return None if used else f"{task}, score of {who[:12]}"


def _orphan(path: Path, kind: str, words: str) -> Orphan:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    stats = [p.stat() for p in files] or [path.stat()]
    newest = max(stat.st_mtime for stat in stats)
    return Orphan(path, kind, sum(stat.st_size for stat in stats), (time.time() - newest) / DAY, words)


def delete(found: Iterable[Orphan]) -> None:
    """Delete orphans, each as one step: a folder is renamed first. Raises UserError where that is forbidden."""
    for orphan in found:
        with disk_errors(orphan.path):
            if orphan.path.is_dir():
                aside = orphan.path.with_name(f".staging-{orphan.path.name.lstrip('.')}-{os.getpid()}")
                os.rename(orphan.path, aside)
                shutil.rmtree(aside)
            else:
                orphan.path.unlink(missing_ok=True)


def collectable(
    store: Path, roots: Iterable[Path], days: float, tell: Tell = lambda _: None
) -> tuple[list[Orphan], int]:
    """What may be deleted from a store, and how many agents, runs and studies were asked whether they need it.

    The index, `roots` and the folder that the store lies in are looked through; `tell` is given a line about each
    record that cannot be read, whose needs nobody knows. Raises UserError where no agent or run is found at all.
    """
    if not store.is_dir():
        raise UserError(f"{store}: there is no such store")
    with Index(store, tell) as index:
        index.refresh([store, store.absolute().parent, *roots], tell)
        users = [found for found in index.all() if found.kind in (AGENT, RUN, STUDY)]
    if not users:
        raise UserError(f"{store} knows of no run or agent, so nothing says what is needed; name folders with --roots")
    return orphans(store, references(users, tell), days, tell), len(users)
