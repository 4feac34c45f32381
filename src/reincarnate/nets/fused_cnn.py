"""A plain QNetwork over MinAtar's CNN as one node of autograd, or without it: what is small is mostly bookkeeping.

The same kernels in the same order as its modules', layer norms too; gradients are written straight into the flat
gradient vector. `benchmarks/before_after.py` measures the whole.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.native import Kernels
from reincarnate.nets.compiled import CompiledConvolution, CompiledNorm
from reincarnate.nets.qnet import QNetwork
from reincarnate.nets.torsos import MinAtarCNN, as_float
from reincarnate.nets.towers import Graded

Norm = nn.LayerNorm | None


class Normed(NamedTuple):
    """What a layer norm read, and its statistics, for its gradient."""

    x: Tensor
    mean: Tensor
    rstd: Tensor


class FusedCNN:
    """The passes of a QNetwork over a MinAtarCNN, reading its parameters where they lie. Observations [B, H, W, C]."""

    alone = True

    def __init__(self, network: QNetwork, kernels: Kernels | None = None):
        assert fits_cnn(network)
        self.kernels = kernels
        self._passes, self._outputs = _Passes(network, kernels), network.outputs
        self._graded = Graded([self._passes])

    def __call__(self, obs: Tensor) -> Float[Tensor, "B A *K"]:
        """The network's outputs; differentiable exactly where autograd is on."""
        out = self._graded(obs)[0] if torch.is_grad_enabled() else self._passes.forward(obs)[-1]
        return out if self._outputs == 1 else out.unflatten(-1, (-1, self._outputs))  # pyright: ignore

    @torch.no_grad()
    def descend(self, obs: Tensor, loss: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        """Fill the flat gradient with a loss's, which knows its derivative by the outputs [B, A]; returns the loss."""
        *steps, out = self._passes.forward(obs)
        found, slope = loss(out)
        self._passes.backward(steps, slope)
        return found


class _Passes:
    """A convolution, hidden layers and a head; norms where there are any."""

    def __init__(self, network: QNetwork, kernels: Kernels | None):
        torso: MinAtarCNN = network.torso  # pyright: ignore[reportAssignmentType]
        self._conv = CompiledConvolution(kernels, torso.conv1) if kernels else _Convolution(torso.conv1)
        between = lambda norm: CompiledNorm(kernels, norm) if kernels and _norm(norm) else _Between(_norm(norm))
        self._first = between(torso.norm1)
        self._hidden = [(layer, between(norm)) for layer, norm in zip(torso.fc.layers, torso.fc.norms, strict=True)]
        self._head = network.advantage

    def forward(self, x: Tensor) -> list[Any]:
        """Each layer's input with what its norm read, and the outputs [B, A·K] last."""
        kept, y = self._conv.forward(x)
        shape = y.shape
        normed, h = self._first.forward(y)
        steps: list[Any] = [(kept, shape, normed)]
        h = h.flatten(1)
        for layer, between in self._hidden:
            normed, above = between.forward(F.linear(h, layer.weight, layer.bias))  # pyright: ignore
            steps.append((h, normed))
            h = above
        return [*steps, (h, None), F.linear(h, self._head.weight, self._head.bias)]  # pyright: ignore

    def backward(self, steps: list[Any], grad: Float[Tensor, "B O"]) -> None:
        """Write all gradients into their windows."""
        (kept, shape, first), *hidden, (above, _) = steps
        grad = _linear_backward(self._head, above, grad)
        for (layer, between), (below, normed) in zip(reversed(self._hidden), reversed(hidden), strict=True):
            grad = between.backward(normed, above, grad)
            grad, above = _linear_backward(layer, below, grad), below
        self._conv.backward(kept, self._first.backward(first, above.view(shape), grad.view(shape)))


class _Between:
    """A norm, if any, and the ReLU behind it by torch's kernels."""

    def __init__(self, norm: Norm):
        self._norm = norm

    def forward(self, x: Tensor) -> tuple[Normed | None, Tensor]:
        """What its gradient needs, and the output."""
        y, normed = _normalised(x, self._norm)
        return normed, y.relu_()

    def backward(self, normed: Normed | None, out: Tensor, grad: Tensor) -> Tensor:
        """The gradient by the input; those of the norm are written into their windows."""
        return _norm_backward(self._norm, normed, torch.ops.aten.threshold_backward(grad, out, 0))


class _Convolution:
    """The first layer by torch's kernels; observations [B, H, W, C]."""

    def __init__(self, layer: nn.Conv2d):
        self._layer = layer

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """What its gradient needs, and the output [B, F, H, W]."""
        x = as_float(obs).permute(0, 3, 1, 2)  # forwards the kernel is quicker if copied, backwards as it lies
        return x, F.conv2d(x.contiguous(), self._layer.weight, self._layer.bias)

    def backward(self, x: Tensor, grad: Tensor) -> None:
        """Write the gradients of weights and biases into their windows."""
        layer = self._layer
        sizes = [layer.out_channels], [1, 1], [0, 0], [1, 1], False, [0, 0], 1
        found = torch.ops.aten.convolution_backward(grad, x, layer.weight, *sizes, [False, True, True])
        _written(layer, *found[1:])


def fits_cnn(network: nn.Module) -> bool:
    """Whether a network is one that FusedCNN computes: MinAtar's, of linear layers and ReLUs, layer norms or none."""
    if not isinstance(network, QNetwork) or not isinstance(network.torso, MinAtarCNN):
        return False
    if network.value is not None or network.memory is not None or network.in_bfloat16:
        return False
    torso = network.torso
    norms = [torso.norm1, *torso.fc.norms]
    plain = torso.fc.activation == "relu" and all(isinstance(norm, nn.Identity | nn.LayerNorm) for norm in norms)
    return plain and all(type(layer) is nn.Linear for layer in [*torso.fc.layers, network.advantage])


def _norm(norm: nn.Module) -> Norm:
    return norm if isinstance(norm, nn.LayerNorm) else None


def _normalised(x: Tensor, norm: Norm) -> tuple[Tensor, Normed | None]:
    if norm is None:
        return x, None
    y, mean, rstd = torch.native_layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return y, Normed(x, mean, rstd)


def _norm_backward(norm: Norm, normed: Normed | None, grad: Tensor) -> Tensor:
    if norm is None or normed is None:
        return grad
    given = grad, normed.x, norm.normalized_shape, normed.mean, normed.rstd, norm.weight, norm.bias
    below, *found = torch.ops.aten.native_layer_norm_backward(*given, [True, True, True])
    _written(norm, *found)
    return below


def _linear_backward(layer: Any, x: Tensor, grad: Tensor) -> Tensor:
    torch.mm(grad.t(), x, out=layer.weight.grad)
    torch.sum(grad, 0, out=layer.bias.grad)
    return grad.mm(layer.weight)


def _written(layer: Any, weight: Tensor, bias: Tensor) -> None:
    layer.weight.grad.copy_(weight)
    layer.bias.grad.copy_(bias)
