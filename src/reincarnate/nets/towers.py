"""Plain MLPs that know their own gradients: of small networks overhead is the cost, not arithmetic.

Several of them over the same observations are one node of autograd, or none at all. Gradients are written straight into
the flat gradient vector. Results equal the modules' but for the order of additions.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.nets.torsos import as_float

Layer = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""weight [out, in], bias [out], and the windows of the flat gradient they write to (None where not trained)."""


class Passes(Protocol):
    """A network that knows its own gradient."""

    def forward(self, x: Tensor) -> list[Any]:
        """What its gradient needs, and the output [B, O] last."""
        ...

    def backward(self, steps: list[Any], grad: Float[Tensor, "B O"]) -> None:
        """Write the gradients of its parameters into their windows; `steps` are the forward pass's but the output."""
        ...


class Tower(NamedTuple):
    """Linear layers with tanh or ReLU between them, reading their parameters where they lie."""

    layers: list[Layer]
    tanh: bool = False

    @classmethod
    def of(cls, linears: Iterable[nn.Linear], tanh: bool = False) -> "Tower":
        """The tower of these layers."""
        return cls([(m.weight.detach(), m.bias.detach(), m.weight.grad, m.bias.grad) for m in linears], tanh)

    def forward(self, x: Float[Tensor, "B I"]) -> list[Tensor]:
        """Every layer's input, and the output last."""
        steps = [x]
        for weight, bias, _, _ in self.layers[:-1]:
            y = F.linear(steps[-1], weight, bias)
            steps.append(y.tanh_() if self.tanh else y.relu_())
        weight, bias, _, _ = self.layers[-1]
        return [*steps, F.linear(steps[-1], weight, bias)]

    def backward(self, steps: list[Tensor], grad: Float[Tensor, "B O"]) -> None:
        """Write the gradients of weights and biases into their windows; `steps` are the layers' inputs."""
        for i in range(len(self.layers) - 1, -1, -1):
            weight, _, weight_grad, bias_grad = self.layers[i]
            torch.mm(grad.t(), steps[i], out=weight_grad)
            torch.sum(grad, 0, out=bias_grad)
            if i:
                behind = grad.mm(weight)
                slope = torch.ops.aten.tanh_backward if self.tanh else torch.ops.aten.threshold_backward
                grad = slope(behind, steps[i]) if self.tanh else slope(behind, steps[i], 0)


def flat(obs: Tensor) -> Float[Tensor, "B I"]:
    """Observations as the first layer reads them."""
    return obs if obs.ndim == 2 and obs.dtype == torch.float32 else as_float(obs).flatten(1)


class Graded:
    """Networks over the same observations, differentiable by autograd."""

    def __init__(self, towers: Sequence[Passes]):
        self._towers = towers
        self._anchor = torch.zeros((), requires_grad=True)

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """The output of each."""
        return _Node.apply(self._anchor, self._towers, x)  # pyright: ignore[reportReturnType]


class _Node(torch.autograd.Function):
    """All of them. The anchor ties them into the graph; gradients of weights are side effects of `backward`."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, towers: Sequence[Passes], x: Tensor) -> tuple[Tensor, ...]:
        passed = [tower.forward(x) for tower in towers]
        outs = tuple([steps.pop() for steps in passed])
        # the inputs alone: outputs know this node, and kept in it both would live for ever
        ctx.towers, ctx.steps = towers, passed
        return outs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:
        for tower, steps, grad in zip(ctx.towers, ctx.steps, grads, strict=True):
            tower.backward(steps, grad)
        return None, None, None
