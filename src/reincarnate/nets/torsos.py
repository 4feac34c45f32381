"""Torsos: from observations to features. Layer names are stable: agents are read back for years (`docs/formats.md`)."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.nets.activations import ACTIVATIONS, Activation
from reincarnate.plugins import Registry

TorsoName = str  # "auto", or a name in TORSOS
Linear = Callable[[int, int], nn.Module]
"""Makes a fully connected layer of so many inputs and outputs."""


class MLP(nn.Module):
    """Fully connected layers with ReLU (or another `activation`) over the flattened observation."""

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        layer_norm: bool = False,
        linear: Linear = nn.Linear,
        width: int = 1,
        activation: Activation = "relu",
    ):
        nn.Module.__init__(self)
        if width != 1:
            raise ValueError("width multiplies filters, and an MLP has none; set its hidden sizes instead")
        sizes = (math.prod(obs_shape), *hidden)
        self.layers = nn.ModuleList(linear(a, b) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(_norm((n,), layer_norm) for n in hidden)
        self.features, self.activation = sizes[-1], activation

    def forward(self, obs: Tensor) -> Float[Tensor, "B F"]:
        x, activate = as_float(obs).flatten(1), ACTIVATIONS[self.activation]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = activate(norm(layer(x)))
        return x


class MinAtarCNN(nn.Module):
    """The network of Young & Tian (2019): 16 filters 3×3, then `hidden` (128 there). Observations [B, H, W, C]."""

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        layer_norm: bool = False,
        linear: Linear = nn.Linear,
        width: int = 1,
    ):
        nn.Module.__init__(self)
        rows, columns, channels = obs_shape
        shape = (16 * width, rows - 2, columns - 2)
        self.conv1 = nn.Conv2d(channels, shape[0], 3)
        self.norm1 = _norm(shape, layer_norm)
        self.fc = MLP(shape, hidden, layer_norm, linear)
        self.features = self.fc.features

    def forward(self, obs: Tensor) -> Float[Tensor, "B F"]:
        x = self.norm1(self.conv1(as_float(obs).permute(0, 3, 1, 2).contiguous()))
        return self.fc(torch.relu(x.flatten(1)))  # flat first: its gradient then has one order in memory


class NatureCNN(nn.Module):
    """The network of Mnih et al. (2015), VALID padding, then `hidden` (512 there). Observations uint8[B, 4, 84, 84].

    Channels-last in memory, which is faster on a CPU (docs/log.md).
    """

    same = False  # padding

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        layer_norm: bool = False,
        linear: Linear = nn.Linear,
        width: int = 1,
    ):
        nn.Module.__init__(self)
        channels, size, layers = obs_shape[0], obs_shape[1:], []
        for filters, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            conv = self._convolution(channels, filters * width, kernel, stride, size)
            channels, size = filters * width, tuple(_out(n, kernel, stride, self.same) for n in size)
            layers.append((conv, _norm((channels, *size), layer_norm)))
        (self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3) = layers
        self.fc = MLP((channels, *size), hidden, layer_norm, linear)
        self.features = self.fc.features
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def _convolution(self, inputs: int, outputs: int, kernel: int, stride: int, size: tuple[int, ...]) -> nn.Conv2d:
        if self.same:
            return SameConv2d(inputs, outputs, kernel, stride, size)
        return nn.Conv2d(inputs, outputs, kernel, stride)

    def forward(self, obs: Tensor) -> Float[Tensor, "B F"]:
        x = as_float(obs.contiguous(memory_format=torch.channels_last))
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.fc(torch.relu(self.norm3(self.conv3(x)).flatten(1)))


class NatureSameCNN(NatureCNN):
    """NatureCNN with the SAME padding of Dopamine (Castro et al., 2018): 84 -> 21 -> 11 -> 11, 7744 flat (C, H, W)."""

    same = True


class _ChannelsLast:
    """Turns observations [B, H, W, C] for a torso that has channels first."""

    def __init__(self, obs_shape: tuple[int, ...], *rest: Any, **options: Any):
        rows, columns, channels = obs_shape
        super().__init__((channels, rows, columns), *rest, **options)  # pyright: ignore[reportCallIssue]

    def forward(self, obs: Tensor) -> Tensor:
        return super().forward(obs.permute(0, 3, 1, 2))  # pyright: ignore[reportAttributeAccessIssue]


class ScreenCNN(_ChannelsLast, NatureCNN):
    """NatureCNN on screens of any size with their colours last, observations [B, H, W, C]."""


class ImpalaCNN(nn.Module):
    """The deep network of Espeholt et al. (2018), then `hidden` (512 in Agarwal et al., 2022).

    Observations uint8[B, 4, 84, 84], channels-last in memory. Layer norms stand in the fully connected part alone.
    """

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        layer_norm: bool = False,
        linear: Linear = nn.Linear,
        width: int = 1,
    ):
        nn.Module.__init__(self)
        channels, size = obs_shape[0], obs_shape[1:]
        self.stacks = nn.ModuleList()
        for filters in (16, 32, 32):
            self.stacks.append(ImpalaStack(channels, filters * width, size))
            channels, size = filters * width, tuple(_out(n, 3, 2, same=True) for n in size)
        self.fc = MLP((channels, *size), hidden, layer_norm, linear)
        self.features = self.fc.features
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, obs: Tensor) -> Float[Tensor, "B F"]:
        x = as_float(obs.contiguous(memory_format=torch.channels_last))
        for stack in self.stacks:
            x = stack(x)
        return self.fc(torch.relu(x).flatten(1))


class GridImpalaCNN(_ChannelsLast, ImpalaCNN):
    """ImpalaCNN on MinAtar's grids, observations [B, H, W, C]: 10 -> 5 -> 3 -> 2, 128 flat (C, H, W)."""


class ImpalaStack(nn.Module):
    """A 3×3 convolution, a 3×3 max pool of stride 2 with SAME padding, and two residual blocks."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, ...]):
        nn.Module.__init__(self)
        before = tuple(same_padding(n, 3, 2)[0] for n in size)
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 2, before, ceil_mode=True)  # ceil_mode adds the missing row and column of -inf
        self.blocks = nn.ModuleList(ResidualBlock(outputs) for _ in range(2))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        x = self.pool(self.conv(x))
        for block in self.blocks:
            x = block(x)
        return x


class ResidualBlock(nn.Module):
    """Twice ReLU and a 3×3 convolution, added to the input."""

    def __init__(self, channels: int):
        nn.Module.__init__(self)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x + self.conv2(torch.relu(self.conv1(torch.relu(x))))


class SameConv2d(nn.Conv2d):
    """A convolution over inputs of one `size` (rows, columns) with TensorFlow's SAME padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, size: tuple[int, ...]):
        (top, bottom), (left, right) = (same_padding(n, kernel, stride) for n in size)
        nn.Conv2d.__init__(self, inputs, outputs, kernel, stride, (top, left))
        self.uneven = (0, right - left, 0, bottom - top)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        return nn.Conv2d.forward(self, F.pad(input, self.uneven) if any(self.uneven) else input)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME rule: zeros (before, after), the odd one after, so that ceil(size / stride) windows fit."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _out(size: int, kernel: int, stride: int, same: bool) -> int:
    """How many windows fit."""
    return math.ceil(size / stride) if same else (size - kernel) // stride + 1


def _norm(shape: tuple[int, ...], wanted: bool) -> nn.Module:
    """A layer norm over `shape`, or nothing, which has no parameters."""
    return nn.LayerNorm(list(shape)) if wanted else nn.Identity()


TORSOS = Registry(
    "torso",
    {
        "mlp": f"{__name__}:MLP",
        "minatar": f"{__name__}:MinAtarCNN",
        "nature": f"{__name__}:NatureCNN",
        "nature-same": f"{__name__}:NatureSameCNN",
        "screen": f"{__name__}:ScreenCNN",
        "impala": f"{__name__}:ImpalaCNN",
        "keyed": "reincarnate.nets.keyed:KeyedCNN",
    },
    "reincarnate.torsos",
)
"""Name -> what makes a torso of (observation's shape, hidden sizes, layer norm, linear, width).

One from outside may have `hidden`, its usual sizes, and `fits(spec)`, which says whether it can see a task.
"""
HIDDEN = {
    "mlp": (256, 256),
    "minatar": (128,),
    "nature": (512,),
    "nature-same": (512,),
    "screen": (512,),
    "impala": (512,),
    "keyed": (256,),
}
PIXEL_SCALE = 1 / 255


def usual_hidden(name: str) -> tuple[int, ...]:
    """The sizes of a torso's hidden layers unless told."""
    return HIDDEN.get(name) or tuple(getattr(TORSOS[name], "hidden", HIDDEN["mlp"]))


def as_float(obs: Tensor) -> Tensor:
    """uint8 pixels to [0, 1], booleans to {0, 1}, floats unchanged; float32 always."""
    if obs.dtype == torch.uint8:
        return obs.float().mul_(PIXEL_SCALE)
    return obs.float()


def register_torso(name: str, make: Any) -> None:
    """Add a torso of your own (see `TORSOS`): `--student.torso NAME`. Raises UserError where that cannot be."""
    TORSOS.register(name, make)
