"""What changed from one agent to another: only what differs, by section."""

from typing import Any, NamedTuple

from reincarnate.files import limits
from reincarnate.files.text import clean
from reincarnate.store.nodes import of_agent
from reincarnate.store.render import amount, score

SECTIONS = {
    "student": ("student",),
    "method": ("about", "settings"),
    "task": ("spec",),
    "priors": ("about", "prior"),
    "versions": ("about", "versions"),
}
NOT_SETTINGS = {"parents", "ancestors"}  # priors are told by their hashes


class Difference(NamedTuple):
    """A setting that is not the same; None where an agent does not have it."""

    section: str
    name: str
    before: str | None
    after: str | None


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[Difference]:
    """What differs between two `agent.json`: settings of student and method, task, priors, versions, score, cost."""
    found = []
    for section, keys in SECTIONS.items():
        old, new = _flat(_inner(before, keys)), _flat(_inner(after, keys))
        names = [*old, *(name for name in new if name not in old)]
        found += [Difference(section, n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)]
    old, new = _outcome(before), _outcome(after)
    return found + [Difference("outcome", name, old[name], new[name]) for name in old if old[name] != new[name]]


def _inner(value: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return {k: v for k, v in value.items() if k not in NOT_SETTINGS} if isinstance(value, dict) else {}


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Inner mappings by dotted names, values as text; what is not set is left out."""
    flat: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            flat |= _flat(item, f"{prefix}{key}.")
        elif item is not None:
            flat[f"{prefix}{key}"] = _text(item)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_text, value)) or "(none)"
    text = clean(f"{value:g}" if isinstance(value, float) else str(value), limits.NAME)
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text


def _outcome(value: dict[str, Any]) -> dict[str, str]:
    node = of_agent(value)
    return {"score": score(node), **{name.replace("_", " "): amount(name, x) for name, x in node.cost.items()}}
