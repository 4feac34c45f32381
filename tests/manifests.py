"""Agents, runs and datasets in name only: the manifests that an index reads, without weights or rows."""

import hashlib
import json
from pathlib import Path
from typing import Any


def sha(name: str) -> str:
    """A hash for a name."""
    return hashlib.sha256(name.encode()).hexdigest()


def put(path: Path, value: Any) -> Path:
    """Write JSON; returns the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": 1, **value}))
    return path.parent


def put_agent(folder: Path, name: str, **about: Any) -> Path:
    """An agent by a name, which makes its hash."""
    return put(folder / "agent.json", {
        "kind": "agent", "sha256": sha(name), "student": {"name": "dqn"}, "weights": sha(f"{name}'s weights"),
        "spec": {"id": "CartPole-v1", "actions": 2, "protocol": {"env": "CartPole-v1"}},
        "about": {"method": "scratch", "env": "CartPole-v1", "env_steps": 100, "updates": 10, "score": 7.0,
                  "prior": {}, **about},
    })  # fmt: skip


def put_run(folder: Path, name: str, finished: bool = True, **prior: Any) -> Path:
    """A run and, once it is finished, its agent."""
    put(folder / "config.json", {"env": "CartPole-v1", "seed": 0, "method": {"name": "scratch"}, "prior": prior})
    if finished:
        put_agent(folder / "agent", name)
        put(folder / "result.json", {"prior": prior})
        (folder / "done").touch()
    return folder


def put_data(folder: Path, name: str, **about: Any) -> Path:
    """A dataset without columns, under the folder its hash names."""
    manifest = {"kind": "dataset", "id": sha(name), "spec": {"id": "CartPole-v1"}, "columns": {}, "transitions": 50}
    return put(folder / sha(name)[:16] / "manifest.json", {**manifest, "about": about})
