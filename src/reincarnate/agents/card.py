"""The card of an agent: what it is, how it was made, what it scores, and how to make it again."""

import shlex
from typing import Any

from reincarnate.files import limits
from reincarnate.files.text import fenced, markdown
from reincarnate.ui import with_interval


def command(config: dict[str, Any], defaults: dict[str, Any]) -> str:
    """The command line that repeats a run from its record; what equals `defaults` (a record too) is left out."""
    parts = ["reincarnate", "train", config["method"]["name"], "--env", config["env"]]
    if config["student"]["name"] != USUAL_STUDENT or config["weights"]:
        parts += ["--student", config["student"]["name"]]
    for prefix, key in (("", None), ("", "method"), ("student.", "student")):
        said, usual = (config[key], defaults[key]) if key else (config, defaults)
        for name, value in said.items():
            if name != "seed" or not config.get("exchange"):
                parts += _flag(prefix, name, value, usual.get(name))
    if exchange := config.get("exchange"):  # of a population: the command makes all of its members
        parts += ["--seed", str(config["first_seed"]), "--exchange", exchange["name"]]
        for name, value in exchange.items():
            parts += _flag("exchange.", name, value, [])
    parts += [part for module in config.get("imports", ()) for part in ("--import", module)]
    return " ".join(shlex.quote(part) for part in parts)


USUAL_STUDENT = "dqn"  # the one without --student or --weights
SKIPPED = {
    "format",
    "versions",
    "method",
    "student",
    "env",
    "name",
    "store",
    "threads",
    "overlap",
    "compile",
    "keep_checkpoints",
    "command",
    "imports",
    "exchange",
    "first_seed",
}


def _flag(prefix: str, key: str, value: Any, usual: Any) -> list[str]:
    if key in SKIPPED or value == usual or value is None:
        return []
    name = f"--{prefix}{key.replace('_', '-')}"
    if isinstance(value, dict):
        return [part for inner, item in value.items() for part in _flag(f"{prefix}{key}.", inner, item, usual[inner])]
    if isinstance(value, bool):
        return [name if value else f"--{prefix}no-{key.replace('_', '-')}"]
    return [name, *map(str, value)] if isinstance(value, list) else [name, str(value)]


def final_score(result: dict[str, Any]) -> str:
    """The final evaluation of a result, in words."""
    score = with_interval(result["score"], result["interval"], len(result["returns"]))
    if result["normalised"] is not None:
        score += f" (normalised {result['normalised']:.3f}: random 0, teacher 1)"
    measures, metric = result.get("measures", {}), result.get("metric")
    return score + "".join(f"; {markdown(n)} {m['mean']:.4g}" for n, m in measures.items() if n != metric)


def best_score(best: dict[str, Any], episodes: int) -> str:
    """The evaluation that an agent was chosen by, in words."""
    over = f"{episodes} episode{'s' * (episodes != 1)}"
    return (
        f"{best['score']:.4g} over {over}, the best evaluation of its run (number {best['evaluation']}): chosen for "
        "being high, so most likely higher than another one would be"
    )


def agent_card(result: dict[str, Any], config: dict[str, Any], score: str) -> str:
    """Markdown for people, with the score in words; `save_agent` adds the hashes."""
    cost = f"{result['updates']:,} updates online, {result['offline_updates']:,} offline, {result['seconds']:.0f} s"
    teacher, data = result["prior"]["teacher"], result["prior"]["data"]
    return f"""# {markdown(result["env"])} by {markdown(result["method"])}

- score: {score}
- trained for {result["env_steps"]:,} env steps, {cost} on {result["machine"]} with {result["threads"]} torch thread(s)
- student: {config["student"]}
- teacher: {f"sha256 {teacher}" if teacher else "none"}
- data: {f"sha256 {data}" if data else "none"}
- weights: {f"those of agent {start}" if (start := result["prior"]["weights"]) else "its own initialisation"}
- protocol: {markdown(str(result["protocol"]), limits.LINE)}
- versions: {config["versions"]}

Made by:

{fenced(config["command"])}
"""
