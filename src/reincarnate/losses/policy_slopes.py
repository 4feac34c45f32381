"""PPO's own losses and the gradient of their sum at once, by hand: on a small network autograd is what costs.

What `losses.policy` and `losses.log_probs` say, with the derivatives written down; `tests/test_losses_policy.py` holds
both together.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from reincarnate.losses.log_probs import LOG_2PI, gaussian_entropy
from reincarnate.losses.policy import clipped_value_error, value_error
from reincarnate.types import LOGITS

NAMES = ("policy", "value", "entropy", "kl")
"""Of the rows of `AtOnce.rows`."""


class Weights(NamedTuple):
    """What each of PPO's losses weighs in their sum."""

    policy: float
    value: float
    entropy: float


class AtOnce(NamedTuple):
    """Each example's losses, in the order of `NAMES`, and the gradient of Σ weight · mean over the batch."""

    rows: Float[Tensor, "4 B"]
    of_x: Float[Tensor, "B K"]
    of_value: Float[Tensor, "B"]


class Surrogate(NamedTuple):
    """PPO's clipped surrogate: each example's loss, its derivative by ln π(a|s), and Schulman's k3."""

    loss: Float[Tensor, "B"]
    slope: Float[Tensor, "B"]
    kl: Float[Tensor, "B"]


class Taken(NamedTuple):
    """What was done, and what was known of it: the action, its probability then, its advantage; the value then, and
    what it should become."""

    action: Tensor
    log_prob: Float[Tensor, "B"]
    advantage: Float[Tensor, "B"]
    value: Float[Tensor, "B"]
    target: Float[Tensor, "B"]


def ppo_at_once(
    kind: str,
    x: Float[Tensor, "B K"],
    value: Float[Tensor, "B"],
    taken: Taken,
    clip: float,
    clip_value: float,
    w: Weights,
) -> AtOnce:
    """PPO's losses of what the network says, `logits` or `gaussian`; `clip_value` 0: the value's is not clipped."""
    of_policy = categorical_at_once if kind == LOGITS else gaussian_at_once
    found, entropy, of_x = of_policy(x, taken, clip, w)
    error, of_value = valued(value, taken.value, taken.target, clip_value)
    return AtOnce(torch.stack([found.loss, error, entropy, found.kl]), of_x, of_value * (w.value / len(value)))


def surrogate_of(
    log_prob: Float[Tensor, "B"], old: Float[Tensor, "B"], advantage: Float[Tensor, "B"], clip: float
) -> Surrogate:
    """`losses.policy.clipped_surrogate` and `approximate_kl`, and −ρA where the ratio ρ is not clipped, 0 elsewhere."""
    log_ratio = log_prob - old
    more = torch.expm1(log_ratio)
    ratio = more + 1
    gain, clipped = ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage
    slope = gain.neg().masked_fill_(gain > clipped, 0)
    return Surrogate(torch.minimum(gain, clipped).neg_(), slope, more - log_ratio)


def valued(
    value: Float[Tensor, "B"], old: Float[Tensor, "B"], target: Float[Tensor, "B"], clip: float
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """`value_error`, or with a `clip` above 0 `clipped_value_error`, and its derivative by the value."""
    slope = value - target
    if not clip:
        return value_error(value, target), slope
    moved = value - old
    near = old + moved.clamp(-clip, clip) - target
    worse = near.abs() > slope.abs()
    return clipped_value_error(value, old, target, clip), torch.where(worse, near * (moved.abs() < clip), slope)


def categorical_at_once(
    x: Float[Tensor, "B A"], taken: Taken, clip: float, weights: Weights
) -> tuple[Surrogate, Float[Tensor, "B"], Float[Tensor, "B A"]]:
    """Of logits, all of them allowed: the surrogate, the entropy, the gradient.

    ∂ ln π_a/∂x = 1_a − π, and of the entropy H: −π(ln π + H).
    """
    log_p, action = F.log_softmax(x, -1), taken.action[:, None]
    p = log_p.exp()
    found = surrogate_of(log_p.gather(1, action)[:, 0], taken.log_prob, taken.advantage, clip)
    entropy = -(p * log_p).sum(-1)
    pull = (found.slope * (weights.policy / len(x)))[:, None]
    slope = (p * -pull).scatter_add_(1, action, pull)
    if weights.entropy:
        slope.addcmul_(p, log_p + entropy[:, None], value=-weights.entropy / len(x))
    return found, entropy, slope


def gaussian_at_once(
    x: Float[Tensor, "B AA"], taken: Taken, clip: float, weights: Weights
) -> tuple[Surrogate, Float[Tensor, "B"], Float[Tensor, "B AA"]]:
    """Of means and log σ: the surrogate, the entropy, the gradient.

    With z = (a − μ)/σ: ∂ ln π/∂μ = z/σ and ∂ ln π/∂ ln σ = z² − 1; the entropy's derivative by ln σ is 1.
    """
    mean, log_std = x.chunk(2, -1)
    narrow = (-log_std).exp()
    z = (taken.action - mean) * narrow
    square = z.square()
    log_prob = (-0.5 * square - log_std - 0.5 * LOG_2PI).sum(-1)
    found = surrogate_of(log_prob, taken.log_prob, taken.advantage, clip)
    pull = (found.slope * (weights.policy / len(x)))[:, None]
    of_spread = (square - 1) * pull
    if weights.entropy:
        of_spread += weights.entropy / len(x)
    return found, gaussian_entropy(log_std), torch.cat([z * narrow * pull, of_spread], -1)
