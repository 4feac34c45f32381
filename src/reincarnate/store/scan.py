"""Finding agents, runs and datasets in folders by their manifests. Nothing but small JSON files is read."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reincarnate.agents.bundles import find
from reincarnate.agents.places import priors, shipped
from reincarnate.errors import UserError
from reincarnate.files.records import load_record, shown
from reincarnate.files.regular import within
from reincarnate.store.nodes import AGENT, DATA, TEACHER, ancestors_in, of_agent, of_data
from reincarnate.store.reading import text

RUN, STUDY = "run", "study"
MANIFESTS = ("agent.json", "manifest.json", "config.json", "study.json")
OF_RUNS = {"tb", "checkpoints", "replay"}  # folders of a run in which nothing is to be found
Tell = Callable[[str], object]


@dataclass(frozen=True)
class Found:
    """What lies somewhere. A run has its agent's hash once it is finished, "" before; `words` say what it is."""

    path: Path
    kind: str
    sha256: str
    task: str
    words: str

    @property
    def finished(self) -> bool:
        """Whether it is whole: only runs may not be."""
        return self.kind != RUN or bool(self.sha256)


def scan(roots: Iterable[Path], tell: Tell = lambda _: None) -> Iterator[Found]:
    """Everything in and below these folders; `tell` is given a line about each manifest that cannot be read.

    Links are not followed; folders whose names begin with a dot are unfinished work (a root may be named so).
    """
    for root in roots:
        for folder, below, files in os.walk(root):
            hidden = OF_RUNS if "config.json" in files else set()
            below[:] = sorted(name for name in below if not name.startswith(".") and name not in hidden)
            for name in (name for name in MANIFESTS if name in files):
                yield from _look(Path(folder) / name, tell)


def look(folder: Path, tell: Tell = lambda _: None) -> list[Found]:
    """What lies in one folder: a run with its agent and the data it kept, an agent, a dataset; else nothing."""
    return list(scan([folder], tell)) if any((folder / name).exists() for name in MANIFESTS) else []


def _look(file: Path, tell: Tell) -> Iterator[Found]:
    """What a manifest describes; others' files of these names are passed over in silence."""
    try:
        value = load_record(within(file.parent, file.name))
        if file.name == "config.json":
            yield from _run(file.parent, value)
        elif file.name == "study.json" and value.get("kind") == "study":
            yield Found(file.parent.absolute(), STUDY, "", "", text(value.get("title")))
        elif file.name == "manifest.json" and value.get("kind") == "dataset":
            node = of_data(value)
            yield Found(file.parent.absolute(), DATA, node.sha256, node.task, f"{node.name}, {node.detail}")
        elif file.name == "agent.json" and value.get("kind") == "agent":
            yield from _agent(file.parent.absolute(), value)
    except UserError as error:
        tell(str(error) if str(file) in str(error) else f"{file}: {error}")


def _run(folder: Path, config: dict[str, Any]) -> Iterator[Found]:
    method = config.get("method")
    if not isinstance(method, dict) or not isinstance(config.get("env"), str):
        return
    sha256 = ""
    if (folder / "done").exists():
        with suppress(UserError):
            sha256 = of_agent(load_record(within(folder, "agent/agent.json"))).sha256
    words = text(f"{text(method.get('name'))}, seed {shown(config.get('seed'))}")
    yield Found(folder.absolute(), RUN, sha256, text(config["env"]), words)


def _agent(folder: Path, value: dict[str, Any]) -> Iterator[Found]:
    """The agent, and the files of teachers it names, where they lie here: as it was given, or from its run's place."""
    node = of_agent(value)
    yield Found(folder, AGENT, node.sha256, node.task, f"{node.name}, {node.detail}")
    for teacher in ancestors_in(value).values():
        path = local(teacher.address) if teacher.kind == TEACHER else None
        if path is not None and os.path.exists(path):
            yield Found(path.absolute(), TEACHER, teacher.sha256, teacher.task, f"{teacher.name}, {teacher.detail}")


def split_view(address: str) -> tuple[str, str]:
    """`view:KEY:` of an address, "" where it has none, and the address of the teacher that is shown that view."""
    scheme, _, rest = address.partition(":")
    view, colon, inner = rest.partition(":")
    return (f"view:{view}:", inner) if scheme == "view" and colon else ("", address)


def parts(address: str | None) -> list[str]:
    """The teachers that an address names, without their views: several of `several:HOW:ADDRESS,ADDRESS`, else one."""
    if not address:
        return []
    _, inner = split_view(address)
    scheme, _, rest = inner.partition(":")
    if scheme != "several":
        return [inner]
    return [split_view(one.strip())[1] for one in rest.partition(":")[2].split(",")]


def local(address: str | None) -> Path | None:
    """The file or folder that an address names, if it names one: `sb3:FILE`, `store:DIR`, a plain path, `py:FILE:…`.

    Of `view:KEY:ADDRESS` that of the address; of several teachers none.
    """
    named = parts(address)
    if len(named) != 1:
        return None
    address = named[0]
    scheme, colon, rest = address.partition(":")
    if scheme == "prior" and colon:
        if rest in priors():
            return shipped(rest)
        with suppress(UserError):  # it is no bundle, or not here
            return local(find(rest).here())
        return None
    if not colon:
        return Path(address)
    path = rest.partition("?")[0]
    return Path(path.rpartition(":")[0] or path) if scheme == "py" else Path(path)
