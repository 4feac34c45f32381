"""An agent that others trained, in the form of ours: the student that fits it, and tensors by that student's names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from reincarnate.agents.agent import Agent
from reincarnate.data.dataset import Dataset
from reincarnate.errors import UserError
from reincarnate.nets import Flat
from reincarnate.types import Student, TeacherCard


@dataclass(frozen=True)
class Moments:
    """An optimiser's memory: `slots` by our names (`mean`, `square`), each by parameters' names; steps taken."""

    slots: Mapping[str, Mapping[str, Tensor]]
    steps: int


@dataclass(frozen=True)
class Imported(Agent):
    """Somebody else's agent. `path` is its file, `kept` says which of `lagging` and `optimizer` it holds.

    `lagging` are target networks under the names of the networks that they follow. `moments` are by the parts that a
    student's optimisers are of ("" where it has one). `said` tells what was done and what could not be taken.
    """

    card: TeacherCard | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    lagging: Mapping[str, Tensor] = field(default_factory=dict)
    moments: Mapping[str, Moments] = field(default_factory=dict)
    said: tuple[str, ...] = ()

    def network(self) -> nn.Module:
        """Its network, frozen. Raises UserError where the tensors are not those of the student's network."""
        network = self.student.network(self.spec)
        check_shapes(dict(self.tensors), dict(network.state_dict()), str(self.path))
        network.load_state_dict({name: tensor.clone() for name, tensor in self.tensors.items()})
        return network.requires_grad_(False).eval()

    def data(self) -> Dataset | None:
        """None: files of other frameworks are read without their replay."""
        return None

    def optimizer_state(self) -> dict[str, Tensor]:
        """The student's `state()` as it would be had it been this agent. Raises UserError where the file holds none."""
        if not self.kept:
            raise UserError(f"{self.path}: holds neither target networks nor the optimiser's state")
        student: Student = self.student.newborn(self.spec, 0)
        student.load({name: tensor.clone() for name, tensor in self.tensors.items()})
        state = {name: tensor.clone() for name, tensor in student.state().items()}
        flats = flats_of(student)
        for part, moments in self.moments.items():
            prefix = f"adam.{part}" if part else student.settings.optimizer
            for slot, tensors in moments.slots.items():
                state[f"{prefix}.{slot}"] = flats[part].join(dict(tensors))
            if f"{prefix}.steps" in state:
                state[f"{prefix}.steps"] = torch.tensor(float(moments.steps))
        return {**state, **self._lagging(flats)}

    def _lagging(self, flats: Mapping[str, Flat]) -> dict[str, Tensor]:
        """The target networks as flat vectors, under the names that students keep them by."""
        if not self.lagging:
            return {}
        if "" in flats:
            return {"target": flats[""].join(dict(self.lagging))}
        parts = {name: inside(self.lagging, name) for name in flats}
        return {f"target.{name}": flats[name].join(part) for name, part in parts.items() if part}


def flats_of(student: Any) -> Mapping[str, Flat]:
    """The parameters that a student's optimisers move, by part."""
    return student.online if isinstance(student.online, dict) else {"": student.online}


def inside(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Those below a part's name, without it."""
    return {name.removeprefix(f"{part}."): t for name, t in tensors.items() if not part or name.startswith(f"{part}.")}


def check_shapes(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str) -> None:
    """Raise UserError where names or shapes differ, with the first that does, there and here."""
    for name in (*wanted, *given):
        there, here = (list(tensors[name].shape) if name in tensors else "nothing" for tensors in (given, wanted))
        if there != here:
            raise UserError(f"{what}: {name} is {there} there and {here} in the student")
