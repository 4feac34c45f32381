"""What a run stands on, as its agent will record it: its parents, and all that is known of their ancestry."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from reincarnate.agents.agent import Agent, open_agent
from reincarnate.agents.imported import Imported
from reincarnate.data import Dataset
from reincarnate.errors import UserError
from reincarnate.store.nodes import (
    Amount,
    Node,
    Parent,
    ancestors_in,
    described,
    of_agent,
    of_card,
    of_data,
    pulled_from,
    record,
)
from reincarnate.teachers.by_task import ByTask
from reincarnate.training.flops import teacher_flops
from reincarnate.types import TaskSpec, Teacher

Nodes = dict[str, Node]


def origin(
    spec: TaskSpec,
    addresses: Mapping[str, str | None],
    teacher: Teacher | None,
    teaches: bool,
    data: Dataset | None,
    agent: Agent | None,
    score: dict[str, Any] | None,
) -> dict[str, Any]:
    """`parents` of a run and `ancestors`, as JSON values.

    `addresses` are those of teacher, data and weights, as the user gave them. `teaches`: the run asks the teacher
    itself; one that only sets the scale, or only played the data, is no parent. `score` is what the teacher got.
    """
    parents: list[Parent] = []
    nodes: Nodes = {}
    if isinstance(teacher, ByTask) and teaches:
        for place in teacher.places:
            parents.append(Parent("teacher", place.teacher.card.sha256, place.address))
            nodes |= of_teacher(place.teacher, place.address, None)
    elif teacher and teaches:
        parents.append(Parent("teacher", teacher.card.sha256, addresses["teacher"]))
        nodes |= of_teacher(teacher, addresses["teacher"], score)
    if data:
        parents.append(Parent("data", data.id, addresses["data"]))
        nodes = _of_dataset(data, addresses, teacher, score, spec) | nodes
    if agent:
        parents.append(Parent("weights", agent.sha256, addresses["weights"]))
        nodes |= _of_opened(agent, addresses["weights"])
    records = {sha256: record(node) for sha256, node in nodes.items()}
    return {"parents": [parent._asdict() for parent in parents], "ancestors": records}


def of_teacher(teacher: Teacher, address: str | None, score: dict[str, Any] | None) -> Nodes:
    """A teacher's node and its ancestry: an agent of ours knows its own, an imported one has none that is known."""
    agent = getattr(teacher, "agent", None)
    if isinstance(agent, Agent):
        return _of_opened(agent, address)
    return {teacher.card.sha256: replace(of_card(teacher.card, score), address=address)}


def _of_opened(agent: Agent, address: str | None) -> Nodes:
    if isinstance(agent, Imported) and agent.card is not None:
        return {agent.sha256: replace(of_card(agent.card), address=address)}
    value = described(agent)
    return {**ancestors_in(value), agent.sha256: of_agent(value, pulled_from(agent.path) or address)}


def _of_dataset(
    data: Dataset,
    addresses: Mapping[str, str | None],
    teacher: Teacher | None,
    score: dict[str, Any] | None,
    spec: TaskSpec,
) -> Nodes:
    node, nodes = of_data(data.manifest, addresses["data"]), Nodes()
    role, source = next(((parent.role, parent.sha256) for parent in node.parents), ("", None))
    if teacher and source == teacher.card.sha256:
        nodes = of_teacher(teacher, addresses["teacher"], score)
        each = teacher_flops(teacher, spec)
        if each is not None:
            node = replace(node, cost={**node.cost, "flops": Amount(each * data.transitions, True)})
    elif role == "replay":
        nodes = _of_keeper(data.path.parent.parent, source)
    return {**nodes, data.id: node}


def _of_keeper(folder: Path, sha256: str | None) -> Nodes:
    """The agent whose replay it is, where the data still lies in its folder."""
    with suppress(UserError):
        agent = open_agent(folder)
        if agent.sha256 == sha256:
            return _of_opened(agent, f"store:{folder}")
    return {}
