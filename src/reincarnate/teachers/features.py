"""A teacher's features: what its last hidden layer holds of an observation, for a student that follows it (FitNets).

Torch networks are watched at their last linear layer; a teacher in Python has them where it says so (`features`).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reincarnate.nets.probe import blank
from reincarnate.types import TaskSpec, Teacher, TimeStep

Read = Callable[[Tensor, Tensor | None], Tensor]
HEAD = "advantage"  # the layer behind the features of our value networks


class Features(NamedTuple):
    """How many features each task's teacher tells, 0 for none, and how they are read.

    `read` takes raw observations [n, *O] and the tasks [n] (None of one task) and gives [n, max(sizes)], with zeros
    behind each teacher's own.
    """

    sizes: tuple[int, ...]
    read: Read


NONE = Features((0,), lambda obs, task: torch.zeros(len(obs), 0))


def features_of(teacher: Teacher, spec: TaskSpec) -> Features:
    """The features of a teacher on its task; `NONE` where it tells none, or nobody knows which layer holds them."""
    own = getattr(teacher, "features", None)
    if isinstance(own, Features):
        return own
    if teacher.view != "student" or teacher.initial(1).shape[-1]:
        return NONE
    probe = blank(spec)
    read = own if own is not None else _watched(teacher, spec)
    if read is None or (told := read(probe)).ndim != 2 or len(told) != 1:
        return NONE
    return Features((told.shape[1],), lambda obs, task: read(obs).detach())


def _watched(teacher: Teacher, spec: TaskSpec) -> Callable[[Tensor], Tensor] | None:
    """Reads what goes into the last linear layer of a torch network, where one gives the actions' numbers."""
    if not isinstance(teacher, nn.Module):
        return None
    policy = getattr(teacher, "_policy", teacher)
    modules = dict(policy.named_modules()) if isinstance(policy, nn.Module) else {}
    heads = [module for name, module in modules.items() if name.rpartition(".")[2] == HEAD]
    heads = heads or [m for m in modules.values() if isinstance(m, nn.Linear) and m.out_features == spec.actions]
    return Watched(teacher, heads[-1]).read if heads else None


class Watched:
    """A teacher, asked for what enters one of its layers."""

    def __init__(self, teacher: Teacher, layer: nn.Module):
        self._teacher, self._layer = teacher, layer

    @torch.no_grad()
    def read(self, obs: Tensor) -> Tensor:
        """The layer's last input [n, F] as the teacher looks at observations."""
        seen: list[Tensor] = []
        hook = self._layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        try:
            begins = torch.ones(len(obs), dtype=torch.bool)
            self._teacher.predict(TimeStep(obs, begins), self._teacher.initial(len(obs)))
        finally:
            hook.remove()
        return seen[-1] if seen else torch.zeros(len(obs), 0)
