"""An actor with state values over two plain MLPs as one node of autograd: small networks cost overhead, not arithmetic.

As `nets.fused`, for two towers, with tanh or ReLU. Results equal the modules' but for the order of additions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.nets.actors import ActorCritic, CategoricalHead, GaussianHead
from reincarnate.nets.dense import Dense
from reincarnate.nets.torsos import as_float

Layer = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""weight [out, in], bias [out], and the windows of the flat gradient they write to (None where not trained)."""


class Tower(NamedTuple):
    """Linear layers with tanh or ReLU between them."""

    layers: list[Layer]
    tanh: bool

    def forward(self, x: Tensor) -> list[Tensor]:
        """Every layer's input, and the output last."""
        steps = [x]
        for weight, bias, _, _ in self.layers[:-1]:
            y = F.linear(steps[-1], weight, bias)
            steps.append(y.tanh_() if self.tanh else y.relu_())
        weight, bias, _, _ = self.layers[-1]
        return [*steps, F.linear(steps[-1], weight, bias)]

    def backward(self, steps: list[Tensor], grad: Tensor) -> None:
        """Write the gradients of weights and biases into their windows."""
        for i in range(len(self.layers) - 1, -1, -1):
            weight, _, weight_grad, bias_grad = self.layers[i]
            torch.mm(grad.t(), steps[i], out=weight_grad)
            torch.sum(grad, 0, out=bias_grad)
            if i:
                behind = grad.mm(weight)
                slope = torch.ops.aten.tanh_backward if self.tanh else torch.ops.aten.threshold_backward
                grad = slope(behind, steps[i]) if self.tanh else slope(behind, steps[i], 0)


class FusedActorCritic:
    """The passes of an actor-critic, reading its parameters where they lie; observations as its layers see them."""

    def __init__(self, network: ActorCritic):
        assert fits(network)
        head = network.head
        last = head.logits if isinstance(head, CategoricalHead) else head.mean
        self.actor = _tower(network.torso, last)  # pyright: ignore[reportArgumentType]
        self.critic = _tower(network.critic_torso, network.value)  # pyright: ignore[reportArgumentType]
        self.log_std = None if isinstance(head, CategoricalHead) else head.log_std
        self._anchor = torch.zeros((), requires_grad=True)

    def __call__(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions [B, K] and values [B], differentiable."""
        out, value = _Node.apply(self._anchor, self.actor, self.critic, _flat(obs))  # pyright: ignore
        return self._told(out), value[:, 0]

    def descend(self, obs: Tensor, loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Any]]) -> Any:
        """Fill the flat gradient with a loss's, which knows its derivatives by predictions [B, K] and values [B].

        `loss` says both, and anything else, which is returned.
        """
        (*acting, out), (*judging, value) = self.actor.forward(x := _flat(obs)), self.critic.forward(x)
        of_x, of_value, found = loss(self._told(out), value[:, 0])
        if isinstance(self.log_std, Tensor):
            torch.sum(of_x[:, out.shape[1] :], 0, out=self.log_std.grad)
        self.actor.backward(acting, of_x[:, : out.shape[1]])
        self.critic.backward(judging, of_value[:, None])
        return found

    def tell(self, obs: Tensor) -> Tensor:
        """Predictions [B, K], without gradient."""
        return self._told(self.actor.forward(_flat(obs))[-1])

    def values(self, obs: Tensor) -> Tensor:
        """Values [B], without gradient."""
        return self.critic.forward(_flat(obs))[-1][:, 0]

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
    linears: list[Any] = [*torso.layers, last]
    layers = [(m.weight.detach(), m.bias.detach(), m.weight.grad, m.bias.grad) for m in linears]
    return Tower(layers, torso._activations[0] is torch.tanh)


def _flat(obs: Tensor) -> Tensor:
    return obs if obs.ndim == 2 and obs.dtype == torch.float32 else as_float(obs).flatten(1)


class _Node(torch.autograd.Function):
    """Both towers. The anchor ties them into the graph; gradients of weights are side effects of `backward`."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, actor: Tower, critic: Tower, x: Tensor) -> tuple[Tensor, Tensor]:
        (*acting, out), (*judging, value) = actor.forward(x), critic.forward(x)
        # the inputs alone: outputs know this node, and kept in it both would live for ever
        ctx.towers, ctx.steps = (actor, critic), (acting, judging)
        return out, value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None, None]:
        for tower, steps, grad in zip(ctx.towers, ctx.steps, grads, strict=True):
            tower.backward(steps, grad)
        return None, None, None, None
