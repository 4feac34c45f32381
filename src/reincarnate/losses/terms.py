"""Terms: the losses of `losses.py` as values that a method hands to a student, with their hyper-parameters."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from reincarnate.losses import values as losses
from reincarnate.types import Batch, Outputs


@dataclass(frozen=True)
class Distil:
    """KL from the teacher's softened policy to the student's, per example; see `losses.distillation`."""

    temperature: float
    teacher_temperature: float
    name = "distil"
    needs_teacher = True

    def __call__(self, out: Outputs, batch: Batch) -> Float[Tensor, "B"]:
        assert batch.teacher is not None, "the phase did not ask for the teacher's logits"
        return losses.distillation(out.q, batch.teacher, self.temperature, self.teacher_temperature)

    def __str__(self) -> str:
        return f"KL(teacher ‖ student), τ = {_number(self.temperature)} / {_number(self.teacher_temperature)} (teacher)"


def _number(temperature: float) -> str:
    """A temperature in words; NaN stands for one that is measured when the run begins."""
    return "auto" if math.isnan(temperature) else f"{temperature:g}"


@dataclass(frozen=True)
class LargeMargin:
    """The expert's action leads all others by `margin`; see `losses.large_margin`.

    The expert is the teacher (its best action), or without `teacher` whoever took the action of the batch.
    """

    margin: float
    all_actions: bool
    teacher: bool
    name = "margin"

    @property
    def needs_teacher(self) -> bool:
        """Whether the expert is the teacher."""
        return self.teacher

    def __call__(self, out: Outputs, batch: Batch) -> Float[Tensor, "B"]:
        if not self.teacher:
            return losses.large_margin(out.q, batch.action, self.margin, self.all_actions)
        assert batch.teacher is not None, "the phase did not ask for the teacher's logits"
        return losses.large_margin(out.q, batch.teacher.argmax(-1), self.margin, self.all_actions)

    def __str__(self) -> str:
        rivals = "every action" if self.all_actions else "the best action"
        expert = "the teacher's" if self.teacher else "the data's"
        return f"margin({rivals} against {expert} + {self.margin:g})"


@dataclass(frozen=True)
class Conservative:
    """CQL(H) with a temperature: values of actions the data did not take are pushed down; `losses.conservative`."""

    temperature: float
    name = "cql"
    needs_teacher = False

    def __call__(self, out: Outputs, batch: Batch) -> Float[Tensor, "B"]:
        return losses.conservative(out.q, batch.action, self.temperature)

    def __str__(self) -> str:
        return f"CQL, τ = {self.temperature:g}"
