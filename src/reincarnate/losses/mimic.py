"""Actor-Mimic's two losses (Parisotto et al., 2016): the teacher's policy by cross-entropy, its features by a map."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from reincarnate.losses.terms import told
from reincarnate.types import FEATURES, LOGITS, VALUES, Batch, Prediction

MAPPED = "mapped_features"  # among a batch's notes: the student's features as its map to the teacher's has them


def policy_regression(
    teacher: Float[Tensor, "*L A"], student: Float[Tensor, "*L A"], temperature: float
) -> Float[Tensor, "*L"]:
    """−Σ_a π_T(a) ln π(a), π_T = softmax(x_T / τ), π = softmax(x) over the actions the task has (eq. 3 and 4).

    The temperature divides the teacher's numbers alone. Actions that a task has not are minus infinity in the
    teacher's; they have probability zero in both, and no gradient. The paper prints it without the minus.
    """
    there = ~torch.isneginf(teacher.detach())
    mass = (teacher.detach() / temperature).softmax(-1)
    log_p = student.masked_fill(~there, -torch.inf).log_softmax(-1)
    return -(mass * log_p.masked_fill(~there, 0.0)).sum(-1)


def feature_regression(mapped: Float[Tensor, "*L F"], told: Float[Tensor, "*L F"]) -> Float[Tensor, "*L"]:
    """‖f(h) − h_T‖²: the student's features, mapped, against the teacher's (eq. 5). Zeros behind both add nothing."""
    return (mapped - told.detach()).square().sum(-1)


@dataclass(frozen=True)
class PolicyRegression:
    """`policy_regression` as a term; `teacher_temperature` None is told when the run begins."""

    teacher_temperature: float | None
    temperature = 1.0  # of the student's policy
    name = "mimic"
    of = "teacher"
    suits = frozenset({VALUES, LOGITS})

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "*L"]:
        """One number for each example."""
        assert self.teacher_temperature, "a temperature that nobody has told yet"
        return policy_regression(told(batch, self.of).x, out.x, self.teacher_temperature)

    def __str__(self) -> str:
        tau = "to be told" if self.teacher_temperature is None else f"{self.teacher_temperature:g}"
        return f"cross-entropy(teacher, student), τ = {tau} (teacher)"


@dataclass(frozen=True)
class FeatureRegression:
    """`feature_regression` as a term: of students that learn a map to the teacher's features (`students.maps`)."""

    name = "features"
    of = FEATURES
    suits = frozenset({VALUES, LOGITS})

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "*L"]:
        """One number for each example."""
        return feature_regression(batch.notes[MAPPED], batch.predictions[self.of].x)

    def __str__(self) -> str:
        return "‖f(h) − h_teacher‖², f linear, one for each teacher"
