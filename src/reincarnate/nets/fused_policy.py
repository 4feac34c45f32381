"""An actor with state values over two plain MLPs, with tanh or ReLU, by way of `nets.towers`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.native import Kernels
from reincarnate.native import Tower as Told
from reincarnate.nets.actors import ActorCritic, CategoricalHead, GaussianHead
from reincarnate.nets.compiled import CompiledTower
from reincarnate.nets.dense import Dense
from reincarnate.nets.few import FewRows
from reincarnate.nets.towers import Graded, Tower, flat


class FusedActorCritic:
    """The passes of an actor-critic, reading its parameters where they lie; observations as its layers see them."""

    def __init__(self, network: ActorCritic, kernels: Kernels | None = None):
        assert fits(network)
        self.kernels = kernels
        head = network.head
        last = head.logits if isinstance(head, CategoricalHead) else head.mean
        towers = _tower(network.torso, last), _tower(network.critic_torso, network.value)  # pyright: ignore
        self.actor, self.critic = (CompiledTower(kernels, tower) if kernels else tower for tower in towers)
        self.log_std = None if isinstance(head, CategoricalHead) else head.log_std
        self._graded = Graded([self.actor, self.critic])
        by_numpy = network.value.weight.device.type == "cpu" and not kernels
        self._few = FewRows(towers[0], self.log_std) if by_numpy else None  # pyright: ignore[reportArgumentType]

    def __call__(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions [B, K] and values [B], differentiable."""
        out, value = self._graded(flat(obs))
        return self._told(out), value[:, 0]

    def descend(self, obs: Tensor, loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Any]]) -> Any:
        """Fill the flat gradient with a loss's, which knows its derivatives by predictions [B, K] and values [B].

        `loss` says both, and anything else, which is returned.
        """
        (*acting, out), (*judging, value) = self.actor.forward(x := flat(obs)), self.critic.forward(x)
        of_x, of_value, found = loss(self._told(out), value[:, 0])
        if isinstance(self.log_std, Tensor):
            torch.sum(of_x[:, out.shape[1] :], 0, out=self.log_std.grad)
        self.actor.backward(acting, of_x[:, : out.shape[1]])
        self.critic.backward(judging, of_value[:, None])
        return found

    @property
    def told(self) -> tuple[Told, Told]:
        """The layers of actor and critic, for a kernel."""
        return self.actor.told, self.critic.told  # pyright: ignore[reportAttributeAccessIssue]

    def tell(self, obs: Tensor) -> Tensor:
        """Predictions [B, K], without gradient."""
        if self._few and self._few.suits(len(obs)):
            return torch.from_numpy(self._few(flat(obs).numpy()))
        return self._told(self.actor.forward(flat(obs))[-1])

    def values(self, obs: Tensor) -> Tensor:
        """Values [B], without gradient."""
        return self.critic.forward(flat(obs))[-1][:, 0]

    def _told(self, out: Tensor) -> Tensor:
        if self.log_std is None:
            return out
        return torch.cat([out, self.log_std.expand_as(out)], -1)  # pyright: ignore


def fits(network: nn.Module) -> bool:
    """Whether a network is one that FusedActorCritic computes: two plain MLPs, a Gaussian's spread a free vector."""
    if not isinstance(network, ActorCritic) or getattr(network, "memory", None) is not None:
        return False
    towers = (network.torso, network.critic_torso)
    head = network.head
    free = isinstance(head, GaussianHead) and isinstance(head.log_std, nn.Parameter)
    plain = free and not head.tanh_mean and head.spread.bound == "none"  # pyright: ignore[reportAttributeAccessIssue]
    return (isinstance(head, CategoricalHead) or plain) and all(_plain(tower) for tower in towers)


def _plain(torso: nn.Module | None) -> bool:
    if not isinstance(torso, Dense) or len(set(torso._activations)) != 1:
        return False
    return torso._activations[0] in (torch.tanh, F.relu) and all(isinstance(n, nn.Identity) for n in torso.norms)


def _tower(torso: Dense, last: nn.Linear) -> Tower:
    return Tower.of([*torso.layers, last], torso._activations[0] is torch.tanh)  # pyright: ignore[reportArgumentType]
