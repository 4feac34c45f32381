"""The card of an agent: what it is, how it was made, what it scores, and how to make it again."""

import shlex
from typing import Any


def command(config: dict[str, Any]) -> str:
    """The command line that repeats a run from its record, leaving out what only says where things are."""
    parts = ["reincarnate", "train", config["method"]["name"], "--env", config["env"]]
    parts += ["--student", config["student"]["name"]]
    for prefix, settings in (("", config), ("", config["method"]), ("student.", config["student"])):
        for key, value in settings.items():
            parts += _flag(prefix, key, value)
    return " ".join(shlex.quote(part) for part in parts)


SKIPPED = {"format", "versions", "method", "student", "env", "name", "store", "threads", "overlap"}


def _flag(prefix: str, key: str, value: Any) -> list[str]:
    if key in SKIPPED or value is None or value == []:
        return []
    name = f"--{prefix}{key.replace('_', '-')}"
    if isinstance(value, dict):
        return [part for inner, item in value.items() for part in _flag(f"{prefix}{key}.", inner, item)]
    if isinstance(value, bool):
        return [name if value else f"--{prefix}no-{key.replace('_', '-')}"]
    return [name, *map(str, value)] if isinstance(value, list) else [name, str(value)]


def agent_card(result: dict[str, Any], config: dict[str, Any]) -> str:
    """Markdown for people."""
    low, high = result["interval"]
    relative = (
        f" (normalised {result['normalised']:.3f}: random 0, teacher 1)" if result["normalised"] is not None else ""
    )
    teacher = result["prior"]["teacher"]
    return f"""# {result["env"]} by {result["method"]}

- score: {result["score"]:.4g}, 95 % interval [{low:.4g}, {high:.4g}] over {len(result["returns"])} episodes{relative}
- trained for {result["env_steps"]:,} env steps, {result["updates"]:,} updates online, {result["offline_updates"]:,} offline,
  {result["seconds"]:.0f} s on {result["machine"]} with {result["threads"]} torch thread(s)
- student: {config["student"]}
- teacher: {f"sha256 {teacher}" if teacher else "none"}
- data: {f"sha256 {result['prior']['data']}" if result["prior"]["data"] else "none"}
- protocol: {result["protocol"]}
- versions: {config["versions"]}

Made by:

    {command(config)}
"""
