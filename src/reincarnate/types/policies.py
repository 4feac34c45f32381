"""What a policy says, and who plays by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from reincarnate.types.tasks import TimeStep

if TYPE_CHECKING:
    from torch import Tensor


NOTHING: Mapping[str, Any] = {}  # never written to
VALUES, LOGITS, ACTIONS, MEANS, GAUSSIAN, SQUASHED = "values", "logits", "actions", "means", "gaussian", "squashed"
CONTINUOUS = frozenset({MEANS, GAUSSIAN, SQUASHED})
"""Kinds of predictions that speak of continuous actions; the others speak of discrete ones."""


class Prediction(NamedTuple):
    """What a policy says of observations, teacher and student alike: one vocabulary.

    `values` and `logits`: x [*L, A]. Of continuous actions, which lie in [-1, 1] here: `means` x [*L, A]; `gaussian`
    x [*L, 2A], mean and log of the standard deviation; `squashed` the same of the Gaussian before tanh.
    """

    kind: str
    x: Tensor


@runtime_checkable
class Policy(Protocol):
    """Whoever can be asked what to do: a teacher, a student's published weights, a peer, the random policy.

    It sees raw observations and preprocesses for itself; `view` names the look it wants (`TimeStep.seen`). What it
    remembers is its carry, a tensor of n rows, [n, 0] where it remembers nothing. `frozen`: what it says of an
    observation never changes, so that it can be kept.
    """

    view: str
    frozen: bool

    def initial(self, n: int) -> Tensor: ...
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]: ...


class ActorOutput(NamedTuple):
    """What somebody did: actions in the task's own form, the memory after it, columns to be kept with the step."""

    action: np.ndarray  # int64 [n], or float32 [n, A]
    carry: Tensor
    notes: Mapping[str, np.ndarray] = NOTHING  # log_prob, value: [n, …]


@runtime_checkable
class Actor(Protocol):
    """Whoever plays. `explore` is in the actor's own unit (ε of a value student); `rng` a generator, or one a seed."""

    def initial(self, n: int) -> Tensor: ...
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: Any) -> ActorOutput: ...
