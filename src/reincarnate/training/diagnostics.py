"""How a student stands, on one batch as a stretch ends: whether its policy rests on its values or on its teacher's.

Of students and policies that tell values or logits of discrete actions; of others nothing is told but gradients.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from reincarnate.losses.decorrelation import feature_statistics
from reincarnate.losses.divergences import DISCRETE, categorical_kl
from reincarnate.losses.log_probs import categorical_entropy, masked
from reincarnate.losses.terms import told
from reincarnate.types import Batch, Objective, Prediction, Student, TimeStep, Weighing

EXAMPLES = 128  # in the batch


@runtime_checkable
class Norms(Protocol):
    """A student that can tell the lengths of its losses' gradients."""

    def gradient_norms(self, batch: Batch, weighing: Weighing, rng: np.random.Generator) -> dict[str, float]:
        """By the losses' names, weights included."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A student that can tell how much of its targets lies at the ends of its critic's support, if that has ends."""

    def target_ends(self, batch: Batch, rng: np.random.Generator) -> tuple[float, float] | None:
        """Shares of the targets' mass."""
        ...


@runtime_checkable
class Featured(Protocol):
    """A student that can tell its features: the last hidden layers on a batch, by name ("" where there is but one)."""

    def features(self, batch: Batch) -> dict[str, Tensor]:
        """Each [B, F], or of several networks of one shape [n, B, F]."""
        ...


def diagnose(
    student: Student, batch: Batch, objective: Objective, weighing: Weighing, rng: np.random.Generator
) -> dict[str, float]:
    """`entropy` (nats) of softmax(x / τ), `action_gap` (median), `value_scale` (mean |x|), `grad_<loss>`; and of each
    policy in the batch's predictions `agreement_<who>` of greedy actions and `kl_<who>` to it, in nats. Of bounded
    critics `at_low` and `at_high`: the share of the targets' mass on the first and on the last atom.

    τ is that of the objective's first term with one, 1 without. A gradient's length includes its loss's weight. Of
    every student that tells its features `feature_correlation`, `feature_rank`, `feature_norm` and `feature_dead`
    (`losses.decorrelation.feature_statistics`), each with the layer's name where there are several.
    """
    begins = torch.ones(len(batch.obs), dtype=torch.bool)
    with torch.no_grad():
        said = student.policy.predict(TimeStep(batch.obs, begins, mask=batch.mask), student.initial(len(begins)))[0]
        found = _of_actions(said, batch, *_temperatures(objective)) if said.kind in DISCRETE else {}
    if isinstance(student, Norms):
        norms = student.gradient_norms(batch, weighing, rng)
        found |= {f"grad_{name}": value for name, value in norms.items()}
    if isinstance(student, Bounded) and (ends := student.target_ends(batch, rng)):
        found |= {"at_low": ends[0], "at_high": ends[1]}
    return found | of_features(student, batch)


def of_features(student: Student, batch: Batch) -> dict[str, float]:
    """What of it is told of features alone, also of sequences; nothing of a student that tells none."""
    return _of_features(student.features(batch)) if isinstance(student, Featured) else {}


def _of_features(features: Mapping[str, Tensor]) -> dict[str, float]:
    """The mean over networks of one shape."""
    found = {}
    for name, layer in features.items():
        each = [feature_statistics(part) for part in layer.unflatten(-2, (1, -1)).flatten(0, -3)]
        for key in each[0]:
            found[f"feature_{key}" + (f"_{name}" if name else "")] = sum(one[key] for one in each) / len(each)
    return found


def _of_actions(said: Prediction, batch: Batch, tau: float, teacher_tau: float) -> dict[str, float]:
    """Of the actions that the task allows."""
    x = masked(said.x, batch.mask)
    best = x.topk(min(2, x.shape[-1]), -1).values
    found = {"entropy": _mean(categorical_entropy(x / tau)), "value_scale": _mean(said.x[x.isfinite()].abs())}
    gaps = (best[:, 0] - best[:, -1])[best[:, -1].isfinite()]
    if len(gaps):  # else there is never more than one action
        found["action_gap"] = float(gaps.median())
    for name, other in batch.predictions.items():
        if other.kind in DISCRETE:
            theirs, own_tau = told(batch, name).x.to(x.device), teacher_tau if name == "teacher" else tau
            found[f"agreement_{name}"] = _mean((theirs.argmax(-1) == x.argmax(-1)).float())
            found[f"kl_{name}"] = _mean(categorical_kl(theirs, x, own_tau, tau))
    return found


def _temperatures(objective: Objective) -> tuple[float, float]:
    """Of the student's policy and of the teacher's."""
    for term, _ in objective.terms:
        if own := getattr(term, "temperature", None):
            return own, getattr(term, "teacher_temperature", None) or own
    return 1.0, 1.0


def _mean(x: Tensor) -> float:
    return float(x.mean())
