"""The network of an off-policy actor-critic: all that its agent keeps. Layer names are stable (`docs/formats.md`)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from reincarnate.nets.actors import Actor, ValueNetwork
from reincarnate.nets.normalise import ObservationNorm


class Entropy(nn.Module):
    """ln α, the weight of SAC's entropy, as a parameter."""

    def __init__(self, alpha: float):
        nn.Module.__init__(self)
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha)))


class ActorCriticNetwork(nn.Module):
    """An actor and n critics, behind one normalisation of observations where there is one; perhaps state values too.

    `largest_reward` is that of all batches so far, 0 before: the scale of rewards, where they are scaled.
    """

    largest_reward: Tensor

    def __init__(
        self,
        actor: Actor,
        critic: nn.Module,
        norm: ObservationNorm | None,
        entropy: Entropy | None,
        value: ValueNetwork | None = None,
    ):
        nn.Module.__init__(self)
        self.norm, self.actor = norm or nn.Identity(), actor
        self.critic: Any = critic  # `nets.qcritics.QCritics`, or `nets.remembering.RecurrentCritics`
        self.entropy = entropy
        self.value = value
        self.register_buffer("largest_reward", torch.zeros(()))

    def forward(self, obs: Tensor) -> Tensor:
        """What the actor says of raw observations [B, *O], [B, K]."""
        return self.actor(self.norm(obs))

    tell = forward  # by the name that the networks of all actors have

    @torch.no_grad()
    def notice(self, reward: Tensor) -> None:
        """Take in rewards of one step each, of any shape."""
        self.largest_reward.copy_(torch.maximum(self.largest_reward, reward.abs().max()))

    def scaled(self, reward: Tensor, worth: float, gamma: float) -> Tensor:
        """Rewards, where the largest that was noticed, earned for ever, is worth so much; until one is, as they are."""
        forever = self.largest_reward / (1 - gamma)
        return reward * torch.where(forever > 0, worth / forever, torch.ones_like(forever))
