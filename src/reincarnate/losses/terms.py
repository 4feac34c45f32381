"""Terms: the losses of `losses/` as values that a method hands to a student, with their hyper-parameters."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from reincarnate.losses import values
from reincarnate.types import Batch, Prediction


@dataclass(frozen=True)
class Distil:
    """KL from the teacher's softened policy to the student's, per example; see `values.distillation`."""

    temperature: float | None  # None: measured when the run begins
    teacher_temperature: float | None
    of: str = "teacher"
    name = "distil"

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        assert self.temperature and self.teacher_temperature, "a temperature that nobody has measured yet"
        return values.distillation(out.x, batch.predictions[self.of].x, self.temperature, self.teacher_temperature)

    def __str__(self) -> str:
        return f"KL(teacher ‖ student), τ = {_number(self.temperature)} / {_number(self.teacher_temperature)} (teacher)"


def _number(temperature: float | None) -> str:
    return "to be told" if temperature is None else f"{temperature:g}"


@dataclass(frozen=True)
class LargeMargin:
    """The expert's action leads all others by `margin`; see `values.large_margin`.

    The expert is the teacher (its best action), or without `teacher` whoever took the action of the batch.
    """

    margin: float
    all_actions: bool
    teacher: bool
    name = "margin"

    @property
    def of(self) -> str | None:
        """The teacher, where that is the expert."""
        return "teacher" if self.teacher else None

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        if not self.teacher:
            return values.large_margin(out.x, batch.action, self.margin, self.all_actions)
        return values.large_margin(out.x, batch.predictions["teacher"].x.argmax(-1), self.margin, self.all_actions)

    def __str__(self) -> str:
        rivals = "every action" if self.all_actions else "the best action"
        expert = "the teacher's" if self.teacher else "the data's"
        return f"margin({rivals} against {expert} + {self.margin:g})"


@dataclass(frozen=True)
class Conservative:
    """CQL(H) with a temperature: values of actions the data did not take are pushed down; `values.conservative`."""

    temperature: float
    name = "cql"
    of = None

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        return values.conservative(out.x, batch.action, self.temperature)

    def __str__(self) -> str:
        return f"CQL, τ = {self.temperature:g}"
