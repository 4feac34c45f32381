"""What learning sees: batches, where they are drawn from, what an update tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from reincarnate.types.policies import NOTHING, Prediction

if TYPE_CHECKING:
    from torch import Tensor


class Batch(NamedTuple):
    """What a student learns from, as its layout cut it. Leading shape L: [B], or [B, T] of sequences and rollouts.

    `discount` multiplies the bootstrap value: zero after a termination, untouched by a time limit. `next_obs` are the
    true successors [*L, *O] (of sequences: [B, *O], of the last row alone); without, `reward` is the whole target (a
    λ-return). `predictions` holds what others say of `obs`, by name. `weight` multiplies every loss (importance
    weights, or 0 where a row is no step); `rows` are those that prioritised replay will hear about (`Source.learnt`).
    """

    obs: Tensor  # [*L, *O]
    action: Tensor  # int64 [*L], or float32 [*L, A] in [-1, 1]
    reward: Tensor  # float32 [*L]
    discount: Tensor  # float32 [*L]
    next_obs: Tensor | None
    predictions: Mapping[str, Prediction] = NOTHING
    weight: Tensor | None = None  # float32 [*L]
    rows: np.ndarray | None = None
    begins: Tensor | None = None  # bool [*L]: an episode starts here
    ended: Tensor | None = None  # bool [*L]: one ends with this step, by a termination or a limit
    carry: Tensor | None = None  # [B, H]: the reader's memory before the first row
    notes: Mapping[str, Tensor] = NOTHING  # what the actor noted: log_prob, value; advantages after `prepare`
    mask: Tensor | None = None  # bool [*L, A]: actions that were allowed
    next_mask: Tensor | None = None  # the same in the successors, as `next_obs`
    task: Tensor | None = None  # int64 [*L]


@runtime_checkable
class Layout(Protocol):
    """How stored steps are cut for a learner."""

    @property
    def gamma(self) -> float: ...


Predictor = Callable[..., Prediction]
"""Observations [N, *O] -> what a policy without memory says of them; of several tasks, the task [N] comes second."""
FEATURES = "features"
"""Whose prediction a term reads that follows the teacher's features: its last hidden layer, x [*L, F]."""


@runtime_checkable
class Source(Protocol):
    """Anything a batch can be drawn from: own replay, prior data, a mixture of both.

    `ask` names whose predictions the batch shall hold, and how rows that lack them get them.
    """

    def __len__(self) -> int: ...
    def sample(self, n: int, rng: np.random.Generator, ask: Mapping[str, Predictor] = NOTHING) -> Batch: ...
    def learnt(self, batch: Batch, losses: Float32[Tensor, "B"]) -> None: ...


class Learnt(NamedTuple):
    """What an update says: the losses' means, unweighted, and each example's own loss."""

    means: Mapping[str, Tensor | float]
    each: Float32[Tensor, "B"]
