"""Networks built from the tensors of others: every size is read off their shapes, and every layer is checked."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.nets.torsos import ImpalaStack, SameConv2d, as_float

NATURE = ((8, 4), (4, 2), (3, 1))
"""Kernels and strides of Mnih et al. (2015)."""
SCREEN = (84, 84)
MOST_LAYERS = 64
Module = TypeVar("Module", nn.Linear, nn.Conv2d)


class Layer(NamedTuple):
    """Weight [out, in], or [out, in, rows, columns] of a convolution, and bias [out]; made by `checked`.

    `norm` is the weight and bias of a LayerNorm between it and its activation: [out], or [out, rows, columns].
    """

    weight: Tensor
    bias: Tensor
    norm: tuple[Tensor, Tensor] | None = None

    @property
    def outputs(self) -> int:
        """Its width."""
        return self.weight.shape[0]

    @property
    def inputs(self) -> int:
        """How many features or channels it takes."""
        return self.weight.shape[1]


class Trunk(NamedTuple):
    """Modules from observations to flat features, how many those are, and the trunk in words."""

    modules: list[nn.Module]
    features: int
    words: str


def checked(name: str, weight: Tensor, bias: Tensor) -> Layer:
    """A layer of finite numbers. UserError: of another form, empty, not floating-point, or with NaN in it."""
    if weight.ndim not in (2, 4) or bias.shape != weight.shape[:1] or 0 in weight.shape:
        raise UserError(
            f"{name[:80]}: a bias of shape {tuple(bias.shape)} and weights {tuple(weight.shape)} make no layer"
        )
    if not (weight.is_floating_point() and bias.is_floating_point()):
        raise UserError(f"{name[:80]}: its weights are not floating-point numbers")
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise UserError(f"{name[:80]}: its weights hold NaN or infinity; the training that made it has failed")
    return Layer(weight.float(), bias.float())


def normed(name: str, layer: Layer, weight: Tensor, bias: Tensor) -> Layer:
    """The layer with a LayerNorm after it. UserError: it has one, or the numbers are of another shape or not finite."""
    if layer.norm is not None or weight.shape != bias.shape or weight.shape[:1] != layer.weight.shape[:1]:
        raise UserError(f"{name[:80]}: a LayerNorm of shape {tuple(weight.shape)} does not fit the layer before it")
    if not all(part.is_floating_point() and part.isfinite().all() for part in (weight, bias)):
        raise UserError(f"{name[:80]}: its LayerNorm does not hold finite numbers")
    return layer._replace(norm=(weight.float(), bias.float()))


def norm_after(layer: Layer, shape: tuple[int, ...]) -> list[nn.Module]:
    """The LayerNorm between a layer with outputs of this shape and its activation, if any. UserError: of another."""
    if layer.norm is None:
        return []
    weight, bias = layer.norm
    if tuple(weight.shape) != shape:
        raise UserError(f"a LayerNorm of shape {tuple(weight.shape)} where {shape} was expected")
    norm = nn.LayerNorm(list(shape), device="meta")
    norm.weight, norm.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
    return [norm]


class Pixels(nn.Module):
    """Screens to [0, 1]."""

    def forward(self, obs: Tensor) -> Float[Tensor, "B C H W"]:
        """uint8[B, C, H, W] divided by 255."""
        return as_float(obs)


class Flat(nn.Module):
    """Flattens; `channels_last` counts images as (H, W, C), as TensorFlow and flax do."""

    def __init__(self, channels_last: bool = False):
        nn.Module.__init__(self)
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Float[Tensor, "B F"]:
        """[B, *O] to float[B, F]."""
        return (x.movedim(1, -1) if self.channels_last else x).float().flatten(1)


def linear(layer: Layer, width: int) -> nn.Linear:
    """A fully connected layer on `width` features. UserError: it takes another number."""
    return filled(nn.Linear(width, layer.outputs, device="meta"), layer)


def mlp(layers: Sequence[Layer], width: int, activation: type[nn.Module] = nn.ReLU) -> list[nn.Module]:
    """Fully connected layers with activations between them, none after the last. UserError: they do not chain."""
    if not 1 <= len(layers) <= MOST_LAYERS:
        raise UserError(f"not supported: {len(layers)} fully connected layers; 1 to {MOST_LAYERS} can be read")
    modules: list[nn.Module] = []
    for layer in layers:
        modules += [linear(layer, width), *norm_after(layer, (layer.outputs,)), activation()]
        width = layer.outputs
    return modules[:-1]


def widths(first: int, layers: Sequence[Layer]) -> str:
    """`4-64-2`."""
    return "-".join(map(str, (first, *(layer.outputs for layer in layers))))


def nature(
    layers: Sequence[Layer], same: bool, channels_last: bool, obs_shape: tuple[int, int, int] | None = None
) -> Trunk:
    """The three convolutions of Mnih et al. (2015), with VALID padding or TensorFlow's SAME.

    `channels_last`: how the next layer counts their features; `obs_shape` [C, H, W] of the screens, 84×84 where it is
    not known. UserError: other convolutions, or they do not chain.
    """
    kernels = [tuple(layer.weight.shape[2:]) for layer in layers]
    if kernels != [(kernel, kernel) for kernel, _ in NATURE]:
        raise UserError(
            f"not supported: convolutions with kernels {kernels[:8]}; those of the Nature network are known"
        )
    channels, *size = obs_shape or (layers[0].inputs, *SCREEN)
    modules = list[nn.Module]([Pixels()])
    for layer, (kernel, stride) in zip(layers, NATURE, strict=True):
        conv = _conv(layer, channels, kernel, stride, tuple(size), same)
        channels = layer.outputs
        size = [-(-n // stride) if same else max(0, (n - kernel) // stride + 1) for n in size]
        modules += [conv, *norm_after(layer, (channels, *size)), nn.ReLU()]
    filters = "-".join(str(layer.outputs) for layer in layers)
    words = f"Nature convolutions {filters} ({'SAME' if same else 'VALID'})"
    return Trunk([*modules, Flat(channels_last)], channels * size[0] * size[1], words)


def impala(stacks: Sequence[Sequence[Layer]], same: bool, channels_last: bool) -> Trunk:
    """The residual network of Espeholt et al. (2018) on screens of 84×84; each stack has five convolutions.

    Where max pooling is not SAME, there is a row and a column more on every side, as of torch's `padding=1`.
    UserError: other stacks, or they do not chain.
    """
    if not 1 <= len(stacks) <= 8 or any(len(stack) != 5 for stack in stacks):
        raise UserError(f"not supported: residual stacks of {[len(stack) for stack in stacks][:8]} convolutions")
    channels, size, modules = stacks[0][0].inputs, SCREEN, list[nn.Module]([Pixels()])
    for layers in stacks:
        with torch.device("meta"):
            stack = ImpalaStack(channels, layers[0].outputs, size)
        if not same:
            stack.pool = nn.MaxPool2d(3, 2, 1)
        convs = [stack.conv, *(conv for block in stack.blocks for conv in (block.conv1, block.conv2))]
        for conv, layer in zip(convs, layers, strict=True):
            filled(conv, layer)  # pyright: ignore[reportArgumentType]
        modules.append(stack)
        channels, size = layers[0].outputs, tuple((n + 1) // 2 for n in size)
    filters = "-".join(str(stack[0].outputs) for stack in stacks)
    return Trunk([*modules, nn.ReLU(), Flat(channels_last)], channels * size[0] * size[1], f"Impala stacks {filters}")


def _conv(layer: Layer, channels: int, kernel: int, stride: int, size: tuple[int, ...], same: bool) -> nn.Conv2d:
    with torch.device("meta"):
        if same:
            return filled(SameConv2d(channels, layer.outputs, kernel, stride, size), layer)
        return filled(nn.Conv2d(channels, layer.outputs, kernel, stride), layer)


def filled(module: Module, layer: Layer) -> Module:
    """The module, made on the "meta" device so that nothing was allocated or drawn, with the layer's numbers."""
    if layer.weight.shape != module.weight.shape:
        found, expected = tuple(layer.weight.shape), tuple(module.weight.shape)
        raise UserError(f"layers do not chain: weights of shape {found} where {expected} were expected")
    module.weight, module.bias = nn.Parameter(layer.weight, False), nn.Parameter(layer.bias, False)
    return module
