"""An on-policy student with memories: torso, memory and head of the actor; the critic reads them or has its own."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reincarnate.nets import memory as memories
from reincarnate.nets.actors import ActorCritic, ActorKind, Spread, actor_head, check_kind
from reincarnate.nets.dense import DenseShape, head_for, torso_for
from reincarnate.nets.memory import Remembering
from reincarnate.nets.normalise import ObservationNorm, RewardNorm
from reincarnate.students.policy_network import PolicyNetwork
from reincarnate.types import Prediction, TaskSpec, TimeStep


class RecurrentNetwork(PolicyNetwork):
    """An actor with state values, and what they remember. The carry [n, H] is the actor's, then the critic's own.

    The critic reads what the actor remembers, or has a torso and a memory of its own, which only learning needs
    (`critic_torso` and `critic_memory`; asymmetric where they differ): then `acting` is the part that acts.
    """

    def __init__(
        self,
        parts: ActorCritic,
        memory: nn.Module,
        critic_memory: nn.Module | None,
        obs_norm: ObservationNorm | None,
        reward_norm: RewardNorm | None,
    ):
        PolicyNetwork.__init__(self, parts, obs_norm, reward_norm)
        self.memory: Any = memory
        self.critic_memory: Any = critic_memory

    @property
    def width(self) -> int:
        """Numbers in the actor's carry."""
        return self.memory.carry

    def initial(self, n: int) -> Float[Tensor, "n H"]:
        """The carry of n new episodes, the critic's too."""
        carry = self.memory.initial(n)
        return carry if self.critic_memory is None else torch.cat([carry, self.critic_memory.initial(n)], 1)

    def recall(
        self, obs: Tensor, begins: Bool[Tensor, "n *T"], carry: Float[Tensor, "n H"]
    ) -> tuple[Float[Tensor, "n *T K"], Float[Tensor, "n *T"], Float[Tensor, "n H"]]:
        """Predictions and state values of rows [n, *O] or segments [n, T, *O], and the carry after them."""
        x, value, after, _ = self.recall_all(obs, begins, carry)
        return x, value, after

    def recall_all(
        self, obs: Tensor, begins: Bool[Tensor, "n *T"], carry: Float[Tensor, "n H"]
    ) -> tuple[Float[Tensor, "n *T K"], Float[Tensor, "n *T"], Float[Tensor, "n H"], tuple[Tensor, ...]]:
        """The same, and the features [n, *T, F] that heads read: what the actor's memory says, and the critic's own."""
        seen = self.seen(obs.flatten(0, begins.ndim - 1))
        features, after = self._tower(self.torso, self.memory, seen, begins, carry[:, : self.width])
        read: tuple[Tensor, ...] = (features,)
        x = self.head(features.flatten(0, -2)).unflatten(0, begins.shape)
        if self.critic_memory is not None:
            features, own = self._tower(self.critic_torso, self.critic_memory, seen, begins, carry[:, self.width :])
            after, read = torch.cat([after, own], 1), (*read, features)
        return x, self.value(features)[..., 0], after, read

    def tell_recalling(
        self, obs: Tensor, begins: Bool[Tensor, "n *T"], carry: Float[Tensor, "n H"]
    ) -> tuple[Float[Tensor, "n *T K"], Float[Tensor, "n H"]]:
        """The actor's part alone."""
        seen = self.seen(obs.flatten(0, begins.ndim - 1))
        features, after = self._tower(self.torso, self.memory, seen, begins, carry)
        if begins.ndim == 1:
            return self.head(features), after
        return self.head(features.flatten(0, 1)).unflatten(0, begins.shape), after

    def _tower(
        self, torso: Any, memory: nn.Module, seen: Tensor, begins: Tensor, carry: Tensor
    ) -> tuple[Tensor, Tensor]:
        features = torso(seen)
        return memory(features.unflatten(0, begins.shape) if begins.ndim > 1 else features, begins, carry)


class RecurrentActorPolicy(nn.Module):
    """An actor with a memory as a frozen policy; also its graph, memory in and memory out.

    Of a `RecurrentNetwork`, or of an off-policy student's `nets.remembering.RecurrentActorCritic`.
    """

    view, frozen = "student", True

    def __init__(self, network: nn.Module):
        nn.Module.__init__(self)
        self.network: Any = network
        self.kind = self.network.kind

    def initial(self, n: int) -> Tensor:
        """The actor's memory of n new episodes."""
        return self.network.memory.initial(n)

    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What it says of observations [n, *O], or sequences [B, T, *O], and its memory after them."""
        device = next(self.network.parameters()).device
        x, carry = self(step.obs.to(device), step.begins.to(device), carry.to(device))
        return Prediction(self.kind, x), carry

    def forward(self, obs: Tensor, begins: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """The same of tensors on the network's device."""
        return self.network.tell_recalling(obs, begins, carry)


def fresh(
    spec: TaskSpec,
    actor: DenseShape,
    critic: DenseShape | None,
    kind: ActorKind,
    seed: int,
    spread: Spread,
    memory: Remembering,
    critic_memory: Remembering,
) -> tuple[ActorCritic, nn.Module, nn.Module | None]:
    """Parts and memories drawn from `seed` alone; `critic` None shares the actor's torso and memory."""
    check_kind(spec, kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torso = torso_for(spec, actor)
        remembers = memories.build(torso.features, memory)  # pyright: ignore
        head = actor_head(remembers.features, spec.actions, actor, kind, spread, False)
        other = None if critic is None else torso_for(spec, critic)
        own = None if other is None else memories.build(other.features, critic_memory)  # pyright: ignore
        value = head_for((own or remembers).features, 1, critic or replace(actor, head_gain=None), 1.0)
        return ActorCritic(torso, head, other, value, kind), remembers, own
