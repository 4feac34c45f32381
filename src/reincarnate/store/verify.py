"""Checking a lineage: every ancestor is there, and every file of it is what its hash says."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reincarnate.agents.agent import open_agent
from reincarnate.data import Dataset, open_dataset
from reincarnate.data.dataset import verify as verify_columns
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_file, sha256_json
from reincarnate.store.lineage import Lineage, read_agent
from reincarnate.store.nodes import AGENT, DATA, Node
from reincarnate.store.render import short_path
from reincarnate.teachers import open_teacher

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
    elif (node.address or "").startswith("py:"):
        return Checked(node, UNCHECKED, f"{path} is code, which is not run to look at it")
    else:
        _check_teacher(node, path, actions)
    return Checked(node, SOUND, short_path(path))


def check_agent(folder: Path) -> str:
    """Hash every file of an agent, and its identity; returns its hash. Raises UserError naming what is wrong."""
    value = read_agent(folder)
    identity = {key: value.get(key) for key in ("student", "spec", "weights")}
    if sha256_json(identity) != value.get("sha256"):
        raise UserError(f"{folder}/agent.json has changed: its settings, task or weights are not those of its hash")
    agent = open_agent(folder)  # hashes the weights
    agent.network()  # they fit, and are finite
    if "optimizer" in agent.kept:
        agent.optimizer_state()
    data = agent.data()
    if data is not None:
        check_dataset(data.path, data.id)
    return agent.sha256


def check_dataset(folder: Path, sha256: str) -> Dataset:
    """Hash every column of a dataset, and its identity. Raises UserError naming what is wrong."""
    dataset = open_dataset(folder)
    identity = {"spec": dataset.manifest["spec"], "columns": dataset.manifest["columns"]}
    if sha256_json(identity) != dataset.id or dataset.id != sha256:
        raise UserError(f"{folder}/manifest.json has changed: its columns are not those of its hash")
    verify_columns(dataset)
    return dataset


def _check_teacher(node: Node, path: Path, actions: int | None) -> None:
    """A file whose hash it is, or a teacher whose reader says so."""
    if path.is_file() and sha256_file(path) == node.sha256:
        return
    scheme, colon, rest = (node.address or "").partition(":")
    _, question, query = rest.partition("?")  # how it is to be read is part of what it is
    found = open_teacher(f"{scheme}:{path}{question}{query}" if colon else str(path), actions).card.sha256
    if found != node.sha256:
        raise UserError(f"{path} has changed: {found[:12]}… but was {node.sha256[:12]}…")
