"""An on-policy student's update without autograd, where its networks are plain and nobody teaches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reincarnate.losses.policy_slopes import NAMES, Taken, ppo_at_once
from reincarnate.losses.returns import standardised
from reincarnate.nets.fused_policy import FusedActorCritic
from reincarnate.types import Batch, Weighing

if TYPE_CHECKING:
    from reincarnate.students.policy import PolicyStudent


@torch.no_grad()
def at_once(
    student: "PolicyStudent", quick: FusedActorCritic, batch: Batch, weighing: Weighing
) -> tuple[Sequence[str], Tensor, Tensor]:
    """Fill the gradient with that of PPO's own losses. Their names, each example's [4, B], and what each weighs."""
    s, notes = student.settings, batch.notes
    advantage = standardised(notes["advantage"]) if s.norm_advantage else notes["advantage"]
    taken = Taken(batch.action, notes["log_prob"], advantage, notes["value"], batch.reward)
    weights = student.own_weights(weighing)

    def loss(x: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Any]:
        found = ppo_at_once(student.kind, x, value, taken, s.clip, s.clip_value, weights)
        return found.of_x, found.of_value, found.rows

    rows = quick.descend(student.network.seen(batch.obs), loss)
    return NAMES, rows, student.weights_of(weighing, NAMES)
