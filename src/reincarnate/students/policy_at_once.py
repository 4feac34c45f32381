"""An on-policy student's update without autograd, where its networks are plain and nobody teaches."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reincarnate.losses.policy_slopes import NAMES, Taken, ppo_at_once
from reincarnate.losses.returns import standardised
from reincarnate.native import Ppo
from reincarnate.nets.fused_policy import FusedActorCritic
from reincarnate.nets.towers import flat
from reincarnate.students.at_once import pulls
from reincarnate.types import Batch, Learnt, Weighing

if TYPE_CHECKING:
    from reincarnate.students.policy import PolicyStudent


@torch.no_grad()
def at_once(student: "PolicyStudent", quick: FusedActorCritic, batch: Batch, weighing: Weighing) -> Learnt:
    """Fill the gradient with that of PPO's own losses."""
    if quick.kernels:
        return _by_kernels(student, quick, batch, weighing)
    s, notes = student.settings, batch.notes
    advantage = standardised(notes["advantage"]) if s.norm_advantage else notes["advantage"]
    taken = Taken(batch.action, notes["log_prob"], advantage, notes["value"], batch.reward)
    weights = student.own_weights(weighing)

    def loss(x: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Any]:
        found = ppo_at_once(student.kind, x, value, taken, s.clip, s.clip_value, weights)
        return found.of_x, found.of_value, found.rows

    rows = quick.descend(student.network.seen(batch.obs), loss)
    sums = student.weights_of(weighing, NAMES) @ rows
    return Learnt(dict(zip(NAMES, rows.mean(1).unbind(), strict=True)), sums)


def _by_kernels(student: "PolicyStudent", quick: FusedActorCritic, batch: Batch, weighing: Weighing) -> Learnt:
    """The same by a compiled kernel, of discrete actions with what terms pull towards."""
    assert quick.kernels
    s, notes, terms = student.settings, batch.notes, [term for _, term in weighing.terms]
    how = Ppo(s.clip, s.clip_value, s.norm_advantage, *student.own_weights(weighing))
    taken = batch.action, notes["log_prob"], notes["advantage"], notes["value"], batch.reward
    weights = [weight for weight, _ in weighing.terms]
    obs = flat(student.network.seen(batch.obs))
    others = pulls(terms, batch)
    means, each = quick.kernels.learn_ppo(quick.told, obs, taken, how, others, weights, quick.log_std)  # pyright: ignore
    return Learnt(dict(zip([*NAMES, *(term.name for term in terms)], means, strict=True)), each)
