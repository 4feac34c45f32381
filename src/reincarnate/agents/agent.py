"""An agent: what a run leaves behind. Weights, settings, task and a card; itself a teacher for the next generation."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reincarnate.agents.acting import ask
from reincarnate.agents.places import folder_of
from reincarnate.config import from_dict, to_dict
from reincarnate.data import Dataset, Memory, open_dataset, save_dataset
from reincarnate.data.dataset import spec_from, spec_value, whole_episodes
from reincarnate.errors import UserError
from reincarnate.files.atomic import (
    FORMAT,
    publish,
    sha256_file,
    sha256_json,
    staging,
    write_bytes,
    write_json,
)
from reincarnate.files.records import Record, is_hash, load_record
from reincarnate.files.regular import within
from reincarnate.students import STUDENTS, AnyStudent
from reincarnate.types import Policy, Student, TaskSpec
from reincarnate.ui import table_of


@dataclass(frozen=True)
class Agent:
    """A stored agent. `sha256` covers weights, student settings and task, not the card."""

    path: Path
    student: Any  # the settings of the student that it was
    spec: TaskSpec
    sha256: str
    about: dict[str, Any]
    kept: dict[str, str] = field(default_factory=dict)
    """What it kept beside its weights: hash of `optimizer.safetensors`, id of the replay in `data/`; if anything."""

    def network(self) -> nn.Module:
        """Its network, frozen. Raises UserError where weights are damaged or do not fit."""
        path = within(self.path, "weights.safetensors")
        try:
            weights = load_file(path)
            with torch.device("meta"):  # settings that do not fit the file are found out before they cost memory
                self.student.network(self.spec).load_state_dict(weights, assign=True)
            net = self.student.network(self.spec)
            net.load_state_dict(weights)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        except (RuntimeError, UserError) as error:
            raise UserError(
                f"{path} does not fit the agent's settings: {str(error).splitlines()[-1].strip()}"
            ) from error
        if not all(torch.isfinite(p).all() for p in net.parameters()):
            raise UserError(f"{path} holds weights that are not finite")
        return net.requires_grad_(False).eval()

    def policy(self) -> Policy:
        """What it would do, frozen. Raises UserError where weights are damaged or do not fit."""
        return self.student.policy(self.spec, self.network())

    def predict(
        self,
        obs: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
        action_masks: Any = None,
    ) -> tuple[Any, Tensor]:
        """Actions for raw observations, as Stable-Baselines3's `predict` gives them, and the memory after them.

        `obs` is one observation [*O] (the action is then one too) or several [n, *O]. `state` is the memory that the
        last call returned, `episode_start` [n] marks who forgets it, `action_masks` [n, A] what is allowed. Unless
        `deterministic` it samples, from a generator of its own that begins at the same seed. Raises UserError for
        observations of another shape.
        """
        return ask(self._asked, self.spec, obs, state, episode_start, deterministic, action_masks)

    @cached_property
    def _asked(self) -> tuple[Policy, np.random.Generator]:
        """The policy and a generator, made when they are first asked."""
        return self.policy(), np.random.default_rng(0)

    def _repr_html_(self) -> str:
        told = {"agent": self.sha256[:12], "task": self.spec.id, "student": type(self.student).__name__}
        known = {key: self.about[key] for key in ("method", "score", "env_steps") if self.about.get(key) is not None}
        return table_of(told | known)

    def data(self) -> Dataset | None:
        """The replay it kept; None where it kept none. Raises UserError where that is damaged or another."""
        if "data" not in self.kept:
            return None
        dataset = open_dataset(within(self.path, Path("data") / self.kept["data"][:16]))
        if dataset.id != self.kept["data"]:
            raise UserError(f"{dataset.path} is not the replay that agent.json describes")
        return dataset

    def optimizer_state(self) -> dict[str, Tensor]:
        """The tensors of the student's `state()` that it kept. Raises UserError where they are damaged or missing."""
        path = within(self.path, "optimizer.safetensors")
        if not path.is_file() or sha256_file(path) != self.kept.get("optimizer"):
            raise UserError(f"{path} is missing, or not what agent.json describes")
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error


def save_agent(path: Path, student: Student, about: dict[str, Any], card: str, memory: Memory | None = None) -> Agent:
    """Write an agent's directory, whole or not at all. `about` is JSON (how it was made), `card` markdown.

    With `memory` it keeps that and the optimiser's state, to be fine-tuned from as if it had never stopped.
    """
    with staging(path.parent) as folder:
        save_file(student.weights(), folder / "weights.safetensors")
        identity = {
            "student": to_dict(student.settings, STUDENTS),
            "spec": spec_value(student.spec),
            "weights": sha256_file(folder / "weights.safetensors"),
        }
        agent = {
            "format": FORMAT,
            "kind": "agent",
            "sha256": sha256_json(identity),
            **identity,
            "about": about,
        }
        if memory is not None:
            agent["kept"] = _keep(folder, student, memory, agent["sha256"])
        write_json(folder / "agent.json", agent)
        hashes = f"\nWeights sha256 {identity['weights']}, agent sha256 {agent['sha256']}.\n"
        write_bytes(folder / "card.md", (card + hashes).encode())
        publish(folder, path)
    return open_agent(path)


def _keep(folder: Path, student: Student, memory: Memory, sha256: str) -> dict[str, str]:
    """Save the student's state and its replay, if it has one, into an agent's folder."""
    file = folder / "optimizer.safetensors"
    save_file(student.state(), file)
    kept = {"optimizer": sha256_file(file)}
    rows = memory.rows
    if not memory.fresh and any(len(whole_episodes(rows, s)) for s in range(rows.streams)):
        kept["data"] = save_dataset(rows, folder / "data", {"kind": "replay", "agent": sha256}, own=True).id
    return kept


def open_agent(path: Path | str) -> Agent:
    """Open an agent's directory, or a finished run's; `store:DIR` and `prior:NAME` name one too.

    Raises UserError where it is neither, or has changed.
    """
    path = folder_of(path)
    folder = path if (path / "agent.json").exists() else within(path, "agent")
    if not (folder / "agent.json").exists():
        state = "has no agent yet (it is not finished)" if (path / "config.json").exists() else "holds no agent"
        raise UserError(f"{path} {state}; an agent is a folder with agent.json and weights.safetensors")
    value = load_record(within(folder, "agent.json"))
    try:
        return _opened(folder, Record(value, folder / "agent.json"))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise UserError(f"{folder}/agent.json does not describe an agent: {reason}") from error


def _opened(folder: Path, value: Record) -> Agent:
    """Its identity is computed, not believed: the hash of settings, task and the weights' own hash."""
    if value.get("kind", None) != "agent":
        raise UserError(f"{folder}/agent.json does not describe an agent")
    identity: dict[str, Any] = {"student": value.record("student").value, "spec": value.record("spec").value}
    student = from_dict(AnyStudent, identity["student"], STUDENTS, "student")
    spec = spec_from(identity["spec"])
    weights, said = within(folder, "weights.safetensors"), value.hash("weights")
    found = sha256_file(weights) if weights.is_file() else None
    if found != said:
        raise UserError(f"{weights} is not what agent.json describes (sha256 {found}, expected {said})")
    identity["weights"] = said
    if sha256_json(identity) != value.hash("sha256"):
        raise UserError(f"{folder}/agent.json has changed: its settings, task or weights are not those of its hash")
    kept = value.mapping("kept", is_hash, "an object of hashes", {})
    return Agent(folder, student, spec, value.hash("sha256"), value.record("about").value, kept)
