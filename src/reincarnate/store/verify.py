"""Checking a lineage: every ancestor is there, and every file of it is what its hash says."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reincarnate.agents.agent import open_agent
from reincarnate.data import Dataset, open_dataset
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_file
from reincarnate.files.finished import check_done
from reincarnate.store.lineage import Lineage
from reincarnate.store.nodes import AGENT, DATA, Node
from reincarnate.store.render import short_path
from reincarnate.store.scan import local, parts, split_view
from reincarnate.teachers import SCHEMES, open_teacher, recognise

READ = frozenset(SCHEMES.ours) - {"py", "hf"}  # kinds of teachers that are read without running anybody's code
SOUND, MISSING, WRONG, UNCHECKED = "sound", "missing", "wrong", "not checked"


@dataclass(frozen=True)
class Checked:
    """What was found of one node: its state, and where it lies or what is wrong."""

    node: Node
    state: str
    words: str


def verify(lineage: Lineage, actions: int | None = None) -> Iterator[Checked]:
    """Each node of a lineage, the agent first. Nothing of anybody's is run: a teacher in Python is not checked.

    `actions` is the number of the task's, for readers of teachers that need to know it.
    """
    for node in (lineage.root, *lineage.ancestors()):
        path = lineage.places.get(node.sha256)
        if path is None:
            known = f"it was {node.address}" if node.address else "nothing says where it was"
            yield Checked(node, MISSING, f"{known}; `--roots DIR` looks there too")
            continue
        try:
            yield _check(node, path, actions)
        except UserError as error:
            yield Checked(node, WRONG, str(error))
        except OSError as error:
            yield Checked(node, WRONG, f"{path} cannot be read: {error}")


def _check(node: Node, path: Path, actions: int | None) -> Checked:
    if node.kind == AGENT:
        check_agent(path)
    elif node.kind == DATA:
        check_dataset(path, node.sha256)
    elif code := _code(node, path):
        return Checked(node, UNCHECKED, f"{code} is code, which is not run to look at it")
    elif len(parts(node.address)) > 1:
        return Checked(node, SOUND, _check_several(node, actions))
    else:
        _check_teacher(node, path, actions)
    return Checked(node, SOUND, short_path(path))


def _code(node: Node, path: Path) -> Path | None:
    """Of a teacher that is written in Python, or has such a one among its parts, the file."""
    named = parts(node.address)
    written = [part for part in named if part.startswith("py:")]
    if len(named) > 1:
        return local(written[0]) if written else None
    return path if written or path.suffix == ".py" else None


def _check_several(node: Node, actions: int | None) -> str:
    """Several teachers in one, each where its address says; returns where. UserError: they are others by now."""
    places = {part: place for part in parts(node.address) if (place := local(part))}
    for part, place in places.items():
        _refuse_unread(part.partition(":")[0] if ":" in part else recognise(place.absolute()), place)
    where = ", ".join(map(short_path, places.values()))
    _compare(str(node.address), node, where, actions)
    return where


def check_agent(folder: Path) -> str:
    """Hash every file of an agent, and its identity; returns its hash. Raises UserError naming what is wrong."""
    agent = open_agent(folder)  # hashes the weights, and computes its identity
    run = agent.path.parent
    if agent.path.name in ("agent", "agent-best") and (run / "done").is_file():
        check_done(run)
    agent.network()  # they fit, and are finite
    if "optimizer" in agent.kept:
        agent.optimizer_state()
    data = agent.data()
    if data is not None:
        check_dataset(data.path, data.id)
    return agent.sha256


def check_dataset(folder: Path, sha256: str) -> Dataset:
    """Hash every column of a dataset, and its identity. Raises UserError naming what is wrong."""
    dataset = open_dataset(folder)  # hashes every column, and computes its identity
    if dataset.id != sha256:
        raise UserError(f"{folder}/manifest.json has changed: it is another dataset than the one of that hash")
    return dataset


def _check_teacher(node: Node, path: Path, actions: int | None) -> None:
    """A file whose hash it is, or a teacher whose reader says so; of the address only how it is to be read is taken."""
    if path.is_file() and sha256_file(path) == node.sha256:
        return
    view, address = split_view(node.address or "")
    scheme, _, rest = address.partition(":")
    _, question, query = rest.partition("?")  # how it is to be read is part of what it is
    place = path.absolute()  # so that no name of a file can be taken for a scheme
    kind = scheme if scheme in READ else recognise(place)
    _refuse_unread(kind, path)
    _compare(f"{view}{kind}:{place}{question}{query}", node, str(path), actions)


def _refuse_unread(kind: str, path: Path) -> None:
    if kind not in READ:
        raise UserError(f"{path} is read by {kind}:, which may run code or ask the network; it is not looked at")


def _compare(address: str, node: Node, place: str, actions: int | None) -> None:
    found = open_teacher(address, actions).card.sha256
    if found != node.sha256:
        raise UserError(f"{place} has changed: {found[:12]}… but was {node.sha256[:12]}…")
