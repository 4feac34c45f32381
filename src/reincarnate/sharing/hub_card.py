"""The card of an agent on the Hugging Face Hub: YAML that the Hub reads, and a page for people."""

import re
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from reincarnate.files import limits
from reincarnate.files.text import clean, fenced, markdown
from reincarnate.store.lineage import Lineage
from reincarnate.store.nodes import COSTS, DATA
from reincarnate.store.render import HEADINGS, amount, as_text, score

CURVE, FILM = "learning_curve.png", "replay.gif"
ADDRESS = re.compile(r"hf:(?:(datasets)/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?::.*)?")
"""Somebody's repository on the Hub, perhaps of data, perhaps a revision, perhaps a file in it."""


def hub_card(
    lineage: Lineage, value: dict[str, Any], returns: Sequence[float], repo: str, curve: bool, film: bool = False
) -> str:
    """`README.md` of an agent. `value` is its `agent.json`, `returns` its final episodes where they are known.

    `repo` is where it will lie, ORG/NAME; `curve`: a picture of its learning lies beside it, `film`: one of its play.
    """
    front = yaml.safe_dump(front_matter(lineage, value, returns, repo), sort_keys=False)
    return f"---\n{front}---\n\n{_body(lineage, value, repo, curve, film)}"


def front_matter(lineage: Lineage, value: dict[str, Any], returns: Sequence[float], repo: str) -> dict[str, Any]:
    """What the Hub reads: the library, tags, the models and data it stands on that lie there too, its score."""
    node = lineage.root
    student = str(value["student"].get("name"))
    matter: dict[str, Any] = {
        "library_name": "reincarnate",
        "tags": ["reinforcement-learning", "reincarnate", node.name, student, node.task],
    }
    matter |= {key: found for key, found in _on_the_hub(lineage).items() if found}
    if node.score is not None:
        metric = {"type": "mean_reward", "value": _mean(node.score, returns), "name": "mean_reward", "verified": False}
        result = {
            "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
            "dataset": {"name": node.task, "type": node.task},
            "metrics": [metric],
        }
        matter["model-index"] = [{"name": repo.rpartition("/")[2], "results": [result]}]
    return matter


def _mean(mean: float, returns: Sequence[float]) -> str:
    """`14.08 +/- 6.31`, as the Hub's boards of scores read it: mean and standard deviation of episodes."""
    return f"{mean:.2f} +/- {np.std(returns):.2f}" if len(returns) > 1 else f"{mean:.2f}"


def _on_the_hub(lineage: Lineage) -> dict[str, list[str]]:
    """Repositories of the nearest ancestors that came from the Hub: models it stands on, and data."""
    found: dict[str, list[str]] = {"base_model": [], "datasets": []}
    for parent in lineage.root.parents:
        node = lineage.node(parent)
        address = ADDRESS.fullmatch(node.address or parent.address or "")
        if address:
            key = "datasets" if node.kind == DATA or address[1] else "base_model"
            found[key] += [address[2]] * (address[2] not in found[key])
    return found


def _body(lineage: Lineage, value: dict[str, Any], repo: str, curve: bool, film: bool) -> str:
    node, about, total = lineage.root, value["about"], lineage.total()
    rows = [
        f"| {HEADINGS.get(name, 'FLOPs')} | {amount(name, node.cost[name])} | {amount(name, total[name])} |"
        for name in COSTS
    ]
    task = shlex.quote(clean(node.task, limits.NAME))
    use = (
        f"reincarnate pull hf:{repo} --out agent\nreincarnate evaluate store:agent\n"
        f"reincarnate train qdagger --env {task} --teacher store:agent"
    )
    picture = f"![An episode of it]({FILM})\n\n" if film else ""
    picture += f"![Its evaluations while it learnt]({CURVE})\n\n" if curve else ""
    return f"""# {markdown(node.task)} by {markdown(node.name)}

A {markdown(node.detail)} agent for {markdown(node.task)}, trained by `reincarnate` with {markdown(node.name)}.
Score: **{score(node)}** (mean return with its 95 % interval).

{picture}| cost | this run alone | with all it stands on |
|---|---|---|
{chr(10).join(rows)}

≥: a part is not known.

## Use it

{fenced(use)}

## Make it again

{fenced(str(about.get("command", "see card.md")))}

## What it stands on

{fenced(as_text(lineage))}

- agent sha256 `{node.sha256}`
- weights sha256 `{value["weights"]}`
- protocol {markdown(str(value["spec"].get("protocol")), limits.LINE)}
- versions {markdown(str(about.get("versions", "not recorded")), limits.LINE)}
"""
