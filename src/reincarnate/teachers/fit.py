"""Whether a teacher fits a task: what must be equal, and what differs, in words."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from reincarnate.envs.several import is_several
from reincarnate.errors import UserError
from reincarnate.teachers import open_teacher
from reincarnate.teachers.by_task import by_task
from reincarnate.teachers.turned import turned
from reincarnate.types import GAUSSIAN, MEANS, SQUASHED, Prediction, TaskSpec, Teacher, TeacherCard, TimeStep

CLOSE = 1e-4  # of bounds' distance: files hold float32, and NumPy prints eight digits


def open_for(address: str, spec: TaskSpec | None) -> Teacher:
    """The teacher at an address, to be asked on this task (None: on none); of several tasks one for each.

    Raises UserError.
    """
    if spec and is_several(spec):
        return by_task(address, spec, open_for)
    teacher = open_teacher(address, spec.actions if spec else None)
    return suited(teacher, spec) if spec else teacher


def suited(teacher: Teacher, spec: TaskSpec) -> Teacher:
    """The teacher as it is to be asked on a task: with the task's bounds where it is silent about its actions', and
    with numbers in its own order where the task has them in another.
    """
    teacher = turned(teacher, spec)
    card = teacher.card
    silent = card.continuous and card.bounds is None and spec.continuous
    return InUnits(teacher, spec) if silent and card.actions in (None, spec.actions) else teacher


class InUnits(nn.Module):
    """A teacher of continuous actions whose files do not hold their bounds: it speaks in the task's units.

    Predictions are of actions in [-1, 1], which only the task can bring its words to.
    """

    def __init__(self, teacher: Teacher, spec: TaskSpec):
        nn.Module.__init__(self)
        assert spec.bounds is not None
        self.teacher, self.view, self.frozen = teacher, teacher.view, teacher.frozen
        self.card = replace(teacher.card, bounds=spec.bounds)
        low, high = (torch.tensor(bound, dtype=torch.float32) for bound in spec.bounds)
        self.middle: Tensor
        self.reach: Tensor
        self.register_buffer("middle", (high + low) / 2)
        self.register_buffer("reach", (high - low) / 2)

    def initial(self, n: int) -> Tensor:
        """The memory of n new episodes."""
        return self.teacher.initial(n)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What the teacher says, of actions in [-1, 1]."""
        said, carry = self.teacher.predict(step, carry)
        if said.kind == SQUASHED:  # before tanh there is no unit
            return said, carry
        if said.kind == MEANS:
            return Prediction(MEANS, (said.x - self.middle) / self.reach), carry
        assert said.kind == GAUSSIAN, said.kind
        mean, log_std = said.x.chunk(2, -1)
        told = torch.cat([(mean - self.middle) / self.reach, log_std - self.reach.log()], -1)
        return Prediction(GAUSSIAN, told), carry


def check_fit(card: TeacherCard, spec: TaskSpec) -> list[str]:
    """What differs between the teacher's own task and this one, as warnings: dtype, protocol.

    The shape is compared where the card gives one; a teacher with a view of its own (Atari: "rgb") has none there.
    UserError: it has another number of actions, other bounds, or sees observations of another shape.
    """
    if card.continuous != spec.continuous:
        kinds = [("discrete", "continuous")[kind] for kind in (card.continuous, spec.continuous)]
        raise UserError(f"the teacher {card.uri} has {kinds[0]} actions, {spec.id} {kinds[1]} ones")
    if card.actions is not None and card.actions != spec.actions:
        raise _misfit(card, spec)
    if card.obs_shape is not None and tuple(card.obs_shape) != tuple(spec.obs_shape):
        raise _misfit(card, spec)
    _refuse_bounds(card, spec)
    return _protocol_differences(card, spec) + _other_numbers(card, spec)


def _other_numbers(card: TeacherCard, spec: TaskSpec) -> list[str]:
    """A warning where the same picture may be other numbers: bytes from 0 to 255 here, fractions or flags there.

    Tasks cast vectors to float32 themselves, and networks what they are given; that changes nothing but digits.
    """
    if card.obs_dtype is None or card.obs_dtype == spec.obs_dtype or len(spec.obs_shape) < 3:
        return []
    if _is_byte(card.obs_dtype) == _is_byte(spec.obs_dtype):
        return []
    return [f"the teacher was trained on {card.obs_dtype} observations, {spec.id} gives {spec.obs_dtype}"]


def _is_byte(dtype: str) -> bool:
    try:
        return np.dtype(dtype) == np.uint8
    except TypeError:
        return False


def _misfit(card: TeacherCard, spec: TaskSpec) -> UserError:
    shape = "?" if card.obs_shape is None else card.obs_shape
    actions = "?" if card.actions is None else card.actions
    return UserError(
        f"the teacher {card.uri} does not fit {spec.id}: it sees {shape} and has {actions} actions, "
        f"the task shows {spec.obs_shape} and has {spec.actions}"
    )


def _refuse_bounds(card: TeacherCard, spec: TaskSpec) -> None:
    """Raises UserError where continuous actions have other bounds: the same word would be another action."""
    if card.bounds is None or spec.bounds is None:
        return
    (low, high), (least, most) = (tuple(map(np.asarray, bounds)) for bounds in (card.bounds, spec.bounds))
    if (np.abs(np.stack([low - least, high - most])) <= CLOSE * (most - least)).all():
        return
    raise UserError(
        f"the teacher {card.uri} has actions from {_said(low)} to {_said(high)}, {spec.id} takes {_said(least)} to "
        f"{_said(most)}: one word would be two actions; a --wrapper module:Class can bring the task to its bounds"
    )


def _said(bound: np.ndarray) -> str:
    """A bound, as one number where it is the same for all."""
    return f"{bound[0]:g}" if (bound == bound[0]).all() else f"[{', '.join(f'{number:g}' for number in bound)}]"


def _protocol_differences(card: TeacherCard, spec: TaskSpec) -> list[str]:
    return [
        f"the teacher was trained with {key} = {card.protocol[key]}, {spec.id} has {spec.protocol[key]}"
        for key in sorted(card.protocol.keys() & spec.protocol.keys())
        if card.protocol[key] != spec.protocol[key]
    ]
