"""An agent: what a run leaves behind. Weights, settings, task and a card; itself a teacher for the next generation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from reincarnate.config import from_dict, to_dict
from reincarnate.data.dataset import spec_from
from reincarnate.errors import UserError
from reincarnate.files import (
    FORMAT,
    publish,
    read_json,
    sha256_file,
    sha256_json,
    staging,
    write_bytes,
    write_json,
)
from reincarnate.nets import build
from reincarnate.students import STUDENTS, AnyStudent, ValueSettings, ValueStudent
from reincarnate.types import TaskSpec


@dataclass(frozen=True)
class Agent:
    """A stored agent. `sha256` covers weights, student settings and task, not the card."""

    path: Path
    student: ValueSettings
    spec: TaskSpec
    sha256: str
    about: dict[str, Any]

    def network(self) -> nn.Module:
        """Its value network, frozen. Raises UserError where weights are damaged or do not fit."""
        net = build(self.spec, self.student, self.student.critic(), seed=0)
        path = self.path / "weights.safetensors"
        try:
            net.load_state_dict(load_file(path))
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        except RuntimeError as error:
            raise UserError(
                f"{path} does not fit the agent's settings: {str(error).splitlines()[-1].strip()}"
            ) from error
        if not all(torch.isfinite(p).all() for p in net.parameters()):
            raise UserError(f"{path} holds weights that are not finite")
        return net.requires_grad_(False).eval()


def save_agent(path: Path, student: ValueStudent, about: dict[str, Any], card: str) -> Agent:
    """Write an agent's directory, whole or not at all. `about` is JSON (how it was made), `card` markdown."""
    with staging(path.parent) as folder:
        save_file(student.weights(), folder / "weights.safetensors")
        identity = {
            "student": to_dict(student.config, STUDENTS),
            "spec": to_dict(student.spec, {}),
            "weights": sha256_file(folder / "weights.safetensors"),
        }
        agent = {
            "format": FORMAT,
            "kind": "agent",
            "sha256": sha256_json(identity),
            **identity,
            "about": about,
        }
        write_json(folder / "agent.json", agent)
        hashes = f"\nWeights sha256 {identity['weights']}, agent sha256 {agent['sha256']}.\n"
        write_bytes(folder / "card.md", (card + hashes).encode())
        publish(folder, path)
    return open_agent(path)


def open_agent(path: Path) -> Agent:
    """Open an agent's directory, or a finished run's. Raises UserError where it is neither, or has changed."""
    folder = path if (path / "agent.json").exists() else path / "agent"
    if not (folder / "agent.json").exists():
        state = "has no agent yet (it is not finished)" if (path / "config.json").exists() else "holds no agent"
        raise UserError(f"{path} {state}; an agent is a folder with agent.json and weights.safetensors")
    value = read_json(folder / "agent.json")
    if value.get("kind") != "agent":
        raise UserError(f"{folder}/agent.json does not describe an agent")
    student = from_dict(AnyStudent, value["student"], STUDENTS, "student")
    spec = spec_from(value["spec"])
    weights = folder / "weights.safetensors"
    found = sha256_file(weights) if weights.exists() else None
    if found != value["weights"]:
        raise UserError(f"{weights} is not what agent.json describes (sha256 {found}, expected {value['weights']})")
    return Agent(folder, student, spec, value["sha256"], value["about"])
