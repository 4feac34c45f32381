"""A teacher that has the same numbers in another order than the task: screens turned, a Dict's entries sorted anew."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.types import Prediction, TaskSpec, Teacher, TimeStep

SIDES = 3  # rows, columns, channels


class Turned(nn.Module):
    """A teacher, asked about observations whose numbers are brought into its own order first."""

    def __init__(self, teacher: Teacher, spec: TaskSpec, order: Tensor | None, why: str):
        nn.Module.__init__(self)
        self.teacher, self.view, self.frozen = teacher, teacher.view, teacher.frozen
        before = "" if teacher.card.preprocessing == "none" else f"; {teacher.card.preprocessing}"
        self.card = replace(teacher.card, obs_shape=spec.obs_shape, preprocessing=f"{why}{before}")
        self._order = None if order is None else nn.Buffer(order)
        self.eval()

    def initial(self, n: int) -> Tensor:
        """The memory of n new episodes."""
        return self.teacher.initial(n)

    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What the teacher says."""
        seen = step.obs.movedim(-1, 1) if self._order is None else step.obs[:, self._order.to(step.obs.device)]
        return self.teacher.predict(step._replace(obs=seen), carry)


def turned(teacher: Teacher, spec: TaskSpec) -> Teacher:
    """The teacher as it is to be asked on a task whose screens have channels last, or whose Dict has another order.

    UserError: a Dict of other entries. A teacher with a view of its own is left alone.
    """
    shape = teacher.card.obs_shape
    if teacher.view != "student" or shape is None:
        return teacher
    if len(shape) == SIDES == len(spec.obs_shape) and shape != spec.obs_shape and spec.stack == 1:
        last = (*shape[1:], shape[0]) == tuple(spec.obs_shape)
        return Turned(teacher, spec, None, "channels brought first") if last else teacher
    entries, parts = getattr(teacher, "entries", ()), spec.entries
    if not entries or not parts:
        return teacher
    order = _order(entries, parts)
    if order is None:
        told = ", ".join(f"{entry.key} {entry.shape}" for entry in entries)
        shown = ", ".join(f"{part[0]} {part[2] or (part[1],)}" for part in parts)
        raise UserError(f"the teacher {teacher.card.uri} does not fit {spec.id}: it sees {told}; that shows {shown}")
    same = bool((order == torch.arange(len(order))).all())
    return teacher if same else Turned(teacher, spec, order, "a Dict's numbers brought into its own order")


def _order(entries: Sequence[Any], parts: Sequence[Any]) -> Tensor | None:
    """Where the teacher's numbers are in the task's row; None where it does not show them."""
    if {entry.key for entry in entries} != {part[0] for part in parts} or len(entries) != len(parts):
        return None
    begins, found = 0, {}
    for key, size, shape, _ in parts:
        found[key] = (torch.arange(begins, begins + size), shape)
        begins += size
    order = []
    for entry in entries:
        rows, shape = found[entry.key]
        if len(rows) != entry.size:
            return None
        turn = len(shape) == SIDES and shape != entry.shape and (shape[2], *shape[:2]) == entry.shape
        order.append(rows.reshape(shape).permute(2, 0, 1).flatten() if turn else rows)
    return torch.cat(order)
