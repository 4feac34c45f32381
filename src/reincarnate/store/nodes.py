"""The nodes of a lineage: agents, imported teachers and data, each by its content hash, with what it cost by itself."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from reincarnate.agents.agent import Agent
from reincarnate.config import to_dict
from reincarnate.data.dataset import spec_value
from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.records import load_record
from reincarnate.files.regular import within
from reincarnate.store.reading import Number, hash_of, interval_of, mapping, number, text
from reincarnate.students import STUDENTS
from reincarnate.types import TeacherCard

ORIGIN = "origin.json"  # in an agent's folder that was pulled: where from
KINDS = AGENT, TEACHER, DATA = "agent", "teacher", "data"
MOST_NAMED = 8  # members of a population, in words
COSTS: tuple[str, ...] = ("env_steps", "eval_env_steps", "updates", "seconds", "flops")


@dataclass(frozen=True)
class Amount:
    """A quantity as far as it is known: not `whole` means that it is at least this."""

    value: Number = 0
    whole: bool = False

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.value + other.value, self.whole and other.whole)


Cost = dict[str, Amount]
"""For each of `COSTS` what something took by itself, its ancestors not counted."""


class Parent(NamedTuple):
    """An edge: by `role` (teacher, data, weights; of data: player, replay) a node stands on another."""

    role: str
    sha256: str
    address: str | None = None


@dataclass(frozen=True)
class Node:
    """An agent, teacher or dataset. `name` says how it came to be (a method, an algorithm), `detail` what it is."""

    sha256: str
    kind: str
    name: str = "unknown"
    detail: str = ""
    task: str = ""
    address: str | None = None
    score: Number | None = None
    interval: tuple[Number, Number] | None = None
    cost: Cost = field(default_factory=lambda: exact())
    parents: tuple[Parent, ...] = ()


def exact(**known: Number | None) -> Cost:
    """A cost of which these parts are known; the others (and None) are not."""
    return {name: Amount() if known.get(name) is None else Amount(known[name], True) for name in COSTS}  # pyright: ignore


def total(costs: Iterable[Cost]) -> Cost:
    """The sum; whole only where every part is."""
    summed = dict.fromkeys(COSTS, Amount(0, True))
    for cost in costs:
        summed = {name: summed[name] + cost[name] for name in COSTS}
    return summed


# ---- from manifests ------------------------------------------------------------------------------------


def described(agent: Agent) -> dict[str, Any]:
    """What of an opened agent's `agent.json` a node is made of."""
    student = to_dict(agent.student, STUDENTS)
    return {"sha256": agent.sha256, "student": student, "spec": spec_value(agent.spec), "about": agent.about}


def of_agent(value: dict[str, Any], address: str | None = None) -> Node:
    """The node of an `agent.json`, also of an older one that says less. Raises UserError where it describes none."""
    about = mapping(value, "about")
    method = text(about.get("method")) or "unknown"
    return Node(
        sha256=hash_of(value.get("sha256")),
        kind=AGENT,
        name=text(about.get("label")) or method,
        detail="; ".join(filter(None, (student_words(mapping(value, "student")), company_words(about)))),
        task=text(mapping(value, "spec").get("id")),
        address=address,
        score=number(about.get("score")),
        interval=interval_of(about.get("interval")),
        cost=_cost_of(about, method),
        parents=_parents(mapping(about, "prior"), method),
    )


def made_by(config: dict[str, Any]) -> dict[str, Any]:
    """What of a run's record goes into its agent's `about`: enough to repeat it, and to tell it from another."""
    kept = ("label", "command", "versions", *(("imports",) if config.get("imports") else ()))
    return {"settings": config["method"], **{key: config[key] for key in kept}}


def ancestors_in(value: dict[str, Any]) -> dict[str, Node]:
    """What an `agent.json` says of the agent's ancestors, by hash."""
    told = mapping(mapping(mapping(value, "about"), "prior"), "ancestors")
    if len(told) > limits.ANCESTORS:
        raise UserError(f"it names {len(told):,} ancestors; a lineage has at most {limits.ANCESTORS:,}")
    return {hash_of(sha256): from_record(sha256, record) for sha256, record in told.items()}


def pulled_from(folder: Path) -> str | None:
    """The address that an agent's folder was pulled from, if it was: truer than where it lies now."""
    try:
        return text(load_record(within(folder, ORIGIN)).get("address")) or None
    except UserError:
        return None


def of_data(manifest: dict[str, Any], address: str | None = None) -> Node:
    """The node of a dataset's `manifest.json`. An agent's own replay cost nothing: its run has paid for it."""
    about, steps = mapping(manifest, "about"), number(manifest.get("transitions"))
    kind, name = text(about.get("kind")), "logged"
    parents, cost = (), exact(env_steps=steps, eval_env_steps=0, updates=0)
    if kind == "teacher-data":
        name = "a teacher's play"
        parents = (Parent("player", hash_of(about.get("teacher"))),)
        cost = exact(env_steps=steps, eval_env_steps=0, updates=0, seconds=number(about.get("seconds")))
    elif kind == "replay":
        name = "an agent's replay"
        parents = (Parent("replay", hash_of(about.get("agent"))),)
        cost = exact(**dict.fromkeys(COSTS, 0))
    elif kind == "import":
        name = f"{text(about.get('reader'))} log"
    return Node(
        sha256=hash_of(manifest.get("id")),
        kind=DATA,
        name=name,
        detail="" if steps is None else f"{int(steps):,} transitions",
        task=text(mapping(manifest, "spec").get("id")),
        address=address,
        cost=cost,
        parents=parents,
    )


def of_card(card: TeacherCard, score: dict[str, Any] | None = None) -> Node:
    """The node of somebody else's teacher; `score`: what it was measured to get on the task."""
    return Node(
        sha256=card.sha256,
        kind=TEACHER,
        name=card.algorithm,
        detail=card.format,
        task=card.env or "",
        address=card.uri,
        score=score["mean"] if score else None,
        interval=(score["low"], score["high"]) if score else None,
        cost=exact(env_steps=card.trained_env_steps),
    )


def student_words(student: dict[str, Any]) -> str:
    """A student's settings in a few words: its family, and what shapes its network where that is not usual."""
    words = [text(student.get("name"))]
    if student.get("torso", "auto") != "auto":
        words.append(text(student["torso"]))
    if (width := number(student.get("width", 1))) != 1:
        words.append(f"×{width}")
    if isinstance(hidden := student.get("hidden"), list) and hidden:
        words.append("-".join(str(number(size)) for size in hidden[:8]))
    return " ".join(words + [name for name in ("dueling", "noisy") if student.get(name)])


def company_words(about: dict[str, Any]) -> str:
    """Of a member of a population: how many they are, and the last that it took over; nothing of one alone."""
    if (members := number(about.get("population"))) is None:
        return ""
    told = f"one of a population of {members}"
    copied = about.get("copied")
    if not isinstance(copied, list) or not copied or not isinstance(last := copied[-1], dict):
        return told
    whom = last.get("mean_of", [last.get("from")])
    seeds = [seed for one in (whom if isinstance(whom, list) else []) if (seed := number(one)) is not None]
    steps, named = number(last.get("env_steps")), " and ".join(str(seed) for seed in seeds[:MOST_NAMED])
    more = f", {len(copied)} times in all" if len(copied) > 1 else ""
    how = "went on from the mean of seeds" if "mean_of" in last else "took over seed"
    return f"{told}, {how} {named} at {steps:,} env steps{more}" if seeds and steps is not None else told


def _cost_of(about: dict[str, Any], method: str) -> Cost:
    """Older agents do not say how many offline updates and evaluation steps there were."""
    offline = number(about.get("offline_updates", 0 if method == "scratch" else None))
    online, flops = number(about.get("updates")), mapping(about, "flops")
    cost = exact(
        env_steps=number(about.get("env_steps")),
        eval_env_steps=number(about.get("eval_env_steps")),
        updates=online + offline if online is not None and offline is not None else None,
        seconds=number(about.get("seconds")),
    )
    if online is not None and offline is None:
        cost["updates"] = Amount(online, False)
    known = [number(flops.get(part)) for part in ("acting", "learning", "teacher")]
    cost["flops"] = Amount(sum(x for x in known if x is not None), None not in known)
    if about.get("population") is not None:  # what the others learnt is in it too
        cost = {name: Amount(amount.value, False) for name, amount in cost.items()}
    return cost


def _parents(prior: dict[str, Any], method: str) -> tuple[Parent, ...]:
    if "parents" in prior:
        return _edges(prior["parents"])
    used = prior.get("uses_teacher", method != "scratch")  # older agents give hashes alone
    roles = [role for role in ("teacher", "data", "weights") if prior.get(role) and (role != "teacher" or used)]
    return tuple(Parent(role, hash_of(prior[role])) for role in roles)


# ---- as others keep them -------------------------------------------------------------------------------


def record(node: Node) -> dict[str, Any]:
    """A node as JSON values, for its descendants' manifests."""
    known = {name: amount.value for name, amount in node.cost.items() if amount.whole or amount.value}
    return {
        "kind": node.kind,
        "name": node.name,
        "detail": node.detail,
        "task": node.task,
        "address": node.address,
        "score": node.score,
        "interval": list(node.interval) if node.interval else None,
        "cost": known,
        "at_least": [name for name in known if not node.cost[name].whole],
        "parents": [parent._asdict() for parent in node.parents],
    }


def from_record(sha256: str, value: Any) -> Node:
    """A node from its record. Raises UserError where it is none."""
    if not isinstance(value, dict) or not isinstance(kind := value.get("kind"), str) or kind not in KINDS:
        raise UserError(f"not a record of an agent, a teacher or data: {str(value)[:80]}")
    known, least = mapping(value, "cost"), value.get("at_least")
    least = least if isinstance(least, list) else []
    numbers = {name: number(known.get(name)) for name in COSTS}
    return Node(
        sha256=hash_of(sha256),
        kind=value["kind"],
        name=text(value.get("name")),
        detail=text(value.get("detail")),
        task=text(value.get("task")),
        address=text(value.get("address")) or None,
        score=number(value.get("score")),
        interval=interval_of(value.get("interval")),
        cost={name: Amount() if x is None else Amount(x, name not in least) for name, x in numbers.items()},
        parents=_edges(value.get("parents") or []),
    )


def _edges(value: Any) -> tuple[Parent, ...]:
    if not isinstance(value, list) or not all(isinstance(edge, dict) for edge in value):
        raise UserError(f"parents should be a list of objects, not {str(value)[:80]}")
    return tuple(Parent(text(e.get("role")), hash_of(e.get("sha256")), text(e.get("address")) or None) for e in value)
