"""Torsos with a memory behind them, asked about rows of whole sequences: parts of off-policy actors and critics.

Layer names are stable: agents are read back for years (`docs/formats.md`).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reincarnate.nets.actorcritic import ActorCriticNetwork
from reincarnate.nets.histories import History, rows_at
from reincarnate.nets.qcritics import QCritics
from reincarnate.nets.qnet import recall


class Remembered(nn.Module):
    """A torso and a memory. `own`: the carry in a history is this memory's; others begin with an empty one."""

    def __init__(self, torso: nn.Module, memory: nn.Module, own: bool = False, half: bool = False):
        nn.Module.__init__(self)
        self.torso, self.memory, self._own, self.in_bfloat16 = torso, memory, own, half
        self.features: int = memory.features  # pyright: ignore

    def forward(self, history: History) -> Float[Tensor, "N F"]:
        """What is remembered at the rows that are asked about."""
        first, carry = history.burn_in, history.carry if self._own else None
        if carry is None:
            carry = self.memory.initial(len(history.obs))  # pyright: ignore
        if first:
            with torch.no_grad():
                carry = recall(self, history.obs[:, :first], history.begins[:, :first], carry)[1]
        features, _ = recall(self, history.obs[:, first:], history.begins[:, first:], carry)
        return rows_at(features, history.at).flatten(0, 1)


class RecurrentCritics(nn.Module):
    """n critics of (history, action) over one memory that all share, as Ni et al. (2022) have it.

    `heads`, of one hidden layer, read what is remembered, the observation and the action. Ni et al. also show the
    memory the last action and reward.
    """

    def __init__(self, remembered: Remembered, heads: QCritics):
        nn.Module.__init__(self)
        self.remembered, self.heads = remembered, heads

    def forward(self, history: History, action: Float[Tensor, "N A"]) -> Float[Tensor, "M N *K"]:
        """Their outputs of the rows that are asked about; actions in [-1, 1]."""
        return self.read(self.features(history, action))

    def features(self, history: History, action: Float[Tensor, "N A"]) -> Float[Tensor, "M N F"]:
        """What each critic's last layer reads."""
        return self.heads.features(torch.cat([self.remembered(history), history.rows], 1), action)

    def read(self, features: Float[Tensor, "M N F"]) -> Float[Tensor, "M N *K"]:
        """Their outputs."""
        return self.heads.read(features)

    def keep_first(self) -> None:
        """Be the first critic alone from now on."""
        self.heads.keep_first()


class RecurrentActorCritic(ActorCriticNetwork):
    """An off-policy actor-critic with memories; asked what to do by `tell_recalling`, not by its forward pass."""

    @property
    def kind(self) -> str:
        """What its actor tells."""
        return self.actor.kind

    @property
    def memory(self) -> nn.Module:
        """The actor's."""
        return self.actor.torso.memory  # pyright: ignore

    def tell_recalling(
        self, obs: Tensor, begins: Bool[Tensor, "n *T"], carry: Float[Tensor, "n H"]
    ) -> tuple[Float[Tensor, "n *T K"], Float[Tensor, "n H"]]:
        """What the actor says of raw observations, and its memory after them."""
        return tell_recalling(self.actor, self.norm, obs, begins, carry)


def tell_recalling(
    actor: nn.Module, norm: nn.Module, obs: Tensor, begins: Bool[Tensor, "n *T"], carry: Float[Tensor, "n H"]
) -> tuple[Float[Tensor, "n *T K"], Float[Tensor, "n H"]]:
    """What an actor with a memory says of raw rows [n, *O] or segments [n, T, *O], and its memory after the last."""
    features, after = recall(actor.torso, norm(obs), begins, carry)  # pyright: ignore
    if begins.ndim == 1:
        return actor.head(features), after  # pyright: ignore
    return actor.head(features.flatten(0, 1)).unflatten(0, begins.shape), after  # pyright: ignore
