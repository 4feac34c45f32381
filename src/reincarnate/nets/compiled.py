"""The passes of `nets.towers` and `nets.fused_cnn` by compiled kernels (`reincarnate.native`), on a CPU.

The same functions in another order of additions. Of a small network most of a pass is calls: here it is one.
"""

import ctypes
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from reincarnate.native import Kernels, Layer
from reincarnate.native import Tower as Told
from reincarnate.nets.torsos import PIXEL_SCALE
from reincarnate.nets.towers import Tower

WORD = 4  # bytes of a float32


class _Copied:
    """What knows where its parameters lie: a copy is made anew, of copies of them."""

    _made_of: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of


class CompiledTower(_Copied):
    """A tower; or of several `seeds`, whose parameters lie `stride` numbers apart, all of them: rows are theirs in
    equal parts, one after another."""

    def __init__(self, kernels: Kernels, tower: Tower, seeds: int = 1, stride: int = 0):
        self._made_of, self._seeds = (kernels, tower, seeds, stride), seeds
        self._sizes = [weight.shape[-2:] for weight, _, _, _ in tower.layers]
        told = [
            Layer(*(0 if tensor is None else tensor.data_ptr() for tensor in layer), size[1], size[0])
            for layer, size in zip(tower.layers, self._sizes, strict=True)
        ]
        self._layers = (Layer * len(told))(*told)
        self.told = Told(ctypes.addressof(self._layers), len(told), tower.tanh, seeds, stride)
        self._at, self._inputs = ctypes.addressof(self.told), self._sizes[0][1]
        self.told.sizes = self._inputs, self._sizes[-1][0]
        self._units, self._outputs = sum(size[0] for size in self._sizes[:-1]), self._sizes[-1][0]
        self._forward, self._backward = kernels.tower_forward, kernels.tower_backward

    def forward(self, x: Float32[Tensor, "B I"]) -> list[Tensor]:
        """The input, every hidden layer's output one after another, and the output [B, O] last."""
        x, n = x.contiguous(), x.shape[0]
        if x.shape[1] != self._inputs or n % self._seeds:
            raise ValueError(
                f"observations of shape {tuple(x.shape)} for {self._seeds} networks of {self._inputs} inputs"
            )
        hidden, out = torch.empty(n * self._units), torch.empty(n, self._outputs)
        self._forward(self._at, x.data_ptr(), n // self._seeds, hidden.data_ptr(), out.data_ptr())
        return [x, hidden, out]

    def backward(self, steps: list[Tensor], grad: Float[Tensor, "B O"]) -> None:
        """Write the gradients of weights and biases into their windows; `steps` are `forward`'s but the output."""
        x, hidden = steps
        grad = grad.contiguous()
        self._backward(self._at, x.data_ptr(), len(x) // self._seeds, hidden.data_ptr(), grad.data_ptr())


class CompiledConvolution(_Copied):
    """A 3 × 3 convolution of observations [B, H, W, C] that are mostly 0; its parameters where they lie."""

    def __init__(self, kernels: Kernels, layer: nn.Conv2d):
        self._made_of, self._layer = (kernels, layer), layer
        self._forward, self._backward = kernels.convolution_forward, kernels.convolution_backward

    def forward(self, obs: Tensor) -> tuple[Any, Float32[Tensor, "B F H W"]]:
        """What its gradient needs, and the output."""
        scale = PIXEL_SCALE if obs.dtype == torch.uint8 else 1.0
        bytewise = obs.dtype in (torch.uint8, torch.bool)
        x, layer = (obs if bytewise else obs.float()).contiguous(), self._layer
        n, height, width, channels = x.shape
        if channels != layer.in_channels:
            raise ValueError(f"observations of {channels} channels for a convolution of {layer.in_channels}")
        sizes = (n, height, width, channels, layer.out_channels)
        out = torch.empty(n, layer.out_channels, height - 2, width - 2)
        told = (x.data_ptr(), bytewise, scale, layer.weight.data_ptr(), layer.bias.data_ptr())  # pyright: ignore
        self._forward(*told, *sizes, out.data_ptr())
        return (x, bytewise, scale, sizes), out

    def backward(self, kept: Any, grad: Float32[Tensor, "B F H W"]) -> None:
        """Write the gradients of weights and biases into their windows."""
        (x, bytewise, scale, sizes), layer, grad = kept, self._layer, grad.contiguous()
        written = layer.weight.grad.data_ptr(), layer.bias.grad.data_ptr()  # pyright: ignore
        self._backward(x.data_ptr(), bytewise, scale, grad.data_ptr(), *sizes, *written)


class CompiledNorm(_Copied):
    """A layer norm over all but the first axis and the ReLU behind it; its parameters where they lie."""

    def __init__(self, kernels: Kernels, norm: nn.LayerNorm):
        self._made_of, self._norm = (kernels, norm), norm
        self._forward, self._backward = kernels.norm_forward, kernels.norm_backward

    def forward(self, x: Float32[Tensor, "B *F"]) -> tuple[Any, Tensor]:
        """What its gradient needs, and the output."""
        n, norm, size = len(x), self._norm, self._norm.weight.numel()
        moments, out = torch.empty(2, n), torch.empty_like(x)
        given = (norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)
        at = moments.data_ptr()
        self._forward(x.data_ptr(), n, size, *given, at, at + n * WORD, out.data_ptr())
        return (x, moments), out

    def backward(self, kept: Any, out: Tensor, grad: Float32[Tensor, "B *F"]) -> Tensor:
        """The gradient by the input, in `grad`'s place; those of the norm are written into their windows."""
        (x, moments), n, norm = kept, len(out), self._norm
        at, size = moments.data_ptr(), norm.weight.numel()
        told = (x.data_ptr(), out.data_ptr(), at, at + n * WORD, n, size, norm.weight.data_ptr())
        self._backward(*told, grad.data_ptr(), norm.weight.grad.data_ptr(), norm.bias.grad.data_ptr())  # pyright: ignore
        return grad
