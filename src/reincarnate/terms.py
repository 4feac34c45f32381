"""Terms: the losses of `losses.py` as values that a method hands to a student, with their hyper-parameters."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from reincarnate import losses
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
        return f"KL(teacher ‖ student), τ = {self.temperature:g} / {self.teacher_temperature:g} (teacher)"
