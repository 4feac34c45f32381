"""A multi-layer perceptron as one node of autograd, for networks so small that overhead is their cost.

Its gradients are written straight into the flat gradient vector. `benchmarks/training.py` measures the whole.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.nets.qnet import QNetwork
from reincarnate.nets.torsos import MLP, as_float

Layer = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""weight [out, in], bias [out], and the windows of the flat gradient they write to (None where not trained)."""


class FusedMLP:
    """The forward pass of a plain (not dueling) QNetwork over an MLP, reading its parameters where they lie."""

    alone = True

    def __init__(self, network: QNetwork):
        assert fits(network)
        linears = [*network.torso.layers, network.advantage]  # pyright: ignore
        self._layers: list[Layer] = [(m.weight.detach(), m.bias.detach(), m.weight.grad, m.bias.grad) for m in linears]
        self._turned = [
            (bias, weight.t()) for weight, bias, _, _ in self._layers
        ]  # the same numbers, ready to multiply
        self._outputs = network.outputs
        self._anchor = torch.zeros((), requires_grad=True)

    def __call__(self, obs: Tensor) -> Float[Tensor, "B A *K"]:
        """The network's outputs; differentiable exactly where autograd is on."""
        x = _flat(obs)
        out = _Node.apply(self._anchor, self._layers, x) if torch.is_grad_enabled() else self._through(x)
        return out if self._outputs == 1 else out.unflatten(-1, (-1, self._outputs))  # pyright: ignore

    def descend(self, obs: Tensor, loss: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        """Fill the flat gradient with a loss's, which knows its derivative by the outputs [B, A]; returns the loss.

        Without autograd, which on so small a network costs more than what it finds.
        """
        *steps, out = _forward(self._layers, _flat(obs))
        found, slope = loss(out)
        _backward(self._layers, steps, slope)
        return found

    def _through(self, x: Tensor) -> Tensor:
        """The output alone, in as few calls as there are: acting on one observation is nothing but calls."""
        *hidden, (bias, weight) = self._turned
        for own, turned in hidden:
            x = torch.addmm(own, x, turned).relu_()
        return torch.addmm(bias, x, weight)


def fits(network: nn.Module) -> bool:
    """Whether a network is one that FusedMLP computes: linear layers and ReLUs alone."""
    if (
        not isinstance(network, QNetwork)
        or not isinstance(network.torso, MLP)
        or network.value is not None
        or network.memory is not None
        or network.in_bfloat16
    ):
        return False
    layers = [*network.torso.layers, network.advantage]
    plain_norms = all(isinstance(norm, nn.Identity) for norm in network.torso.norms)
    plain = plain_norms and network.torso.activation == "relu"
    return plain and all(isinstance(layer, nn.Linear) for layer in layers)


def _forward(layers: list[Layer], x: Tensor) -> list[Tensor]:
    """Every layer's input, and the output last."""
    steps = [x]
    for weight, bias, _, _ in layers[:-1]:
        steps.append(F.linear(steps[-1], weight, bias).relu_())
    weight, bias, _, _ = layers[-1]
    return [*steps, F.linear(steps[-1], weight, bias)]


def _backward(layers: list[Layer], steps: list[Tensor], grad: Tensor) -> None:
    """Write the gradients of weights and biases into their windows; `steps` are the layers' inputs."""
    for i in range(len(layers) - 1, -1, -1):
        weight, _, weight_grad, bias_grad = layers[i]
        torch.mm(grad.t(), steps[i], out=weight_grad)
        torch.sum(grad, 0, out=bias_grad)
        if i:
            grad = torch.ops.aten.threshold_backward(grad.mm(weight), steps[i], 0)


def _flat(obs: Tensor) -> Tensor:
    return obs if obs.ndim == 2 and obs.dtype == torch.float32 else as_float(obs).flatten(1)


class _Node(torch.autograd.Function):
    """The whole network. The anchor ties it into the graph; gradients of weights are side effects of `backward`."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, layers: list[Layer], x: Tensor) -> Tensor:
        steps = _forward(layers, x)
        ctx.layers, ctx.steps = layers, steps[:-1]
        return steps[-1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:
        _backward(ctx.layers, ctx.steps, grads[0])
        return None, None, None
