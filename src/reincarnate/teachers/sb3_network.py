"""The network of an SB3 agent, built from its tensors' names and shapes."""

import math
from typing import TypeVar

from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.teachers.sb3_actions import head
from reincarnate.teachers.sb3_format import ACTIVATIONS, SavedAgent

NATURE_STRIDES = (4, 2, 1)
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def build_network(tensors: dict[str, Tensor], saved: SavedAgent) -> tuple[nn.Module, str]:
    """The network from observations to the head's outputs (or to actions, if continuous), and it in words."""
    family, used = saved.family, set[str]()
    prefix = next((p for p in family.features if any(name.startswith(p) for name in tensors)), None)
    modules, width, words = [nn.Flatten()], math.prod(saved.obs_shape), []
    if prefix is not None:
        modules, width, used = _nature_cnn(tensors, prefix, saved.obs_shape)
        words.append(f"NatureCNN {'x'.join(map(str, saved.obs_shape))}-{width}")
    layers = [pair for prefix in family.layers for pair in _linears(tensors, prefix)]
    used |= {name for name in tensors if name.startswith(family.layers)}
    if left := [name for name in tensors if name not in used and not name.startswith(family.unused)]:
        raise UserError(f"not supported: {saved.algorithm} with layers such as {left[0][:60]!r}")
    widths = [width]
    for weight, bias in layers:
        modules += [_linear(weight, bias, widths[-1]), ACTIVATIONS[saved.activation]()]
        widths.append(weight.shape[0])
    if not layers or widths[-1] != saved.actions * saved.quantiles:
        raise UserError(f"its {saved.algorithm} weights do not end in {saved.actions} actions: {widths}")
    words.append(f"MLP {'-'.join(map(str, widths))}, {saved.activation.lower()}")
    del modules[-1]
    if saved.continuous:
        last, told = head(saved.continuous, family.limited in tensors)
        modules += last
        words.append(told)
    return nn.Sequential(*modules), ", ".join(words)


def _linears(tensors: dict[str, Tensor], prefix: str) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of `prefix` itself, or of its members 0, 2, 4 ... (activations lie between)."""
    names = [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]
    if sorted(names) == ["bias", "weight"]:
        return [(tensors[f"{prefix}weight"], tensors[f"{prefix}bias"])]
    count = len(names) // 2
    expected = {f"{2 * i}.{part}" for i in range(count) for part in ("weight", "bias")}
    if set(names) != expected:
        raise UserError(f"not supported: layers under {prefix!r} other than a plain MLP")
    return [(tensors[f"{prefix}{2 * i}.weight"], tensors[f"{prefix}{2 * i}.bias"]) for i in range(count)]


def _nature_cnn(
    tensors: dict[str, Tensor], prefix: str, shape: tuple[int, ...]
) -> tuple[list[nn.Module], int, set[str]]:
    names = [f"{prefix}{layer}" for layer in ("cnn.0", "cnn.2", "cnn.4", "linear.0")]
    used = {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    if used != {name for name in tensors if name.startswith(prefix)} or len(shape) != 3:
        raise UserError(f"not supported: a features extractor other than NatureCNN on images ({prefix}*)")
    modules: list[nn.Module] = []
    channels, *size = shape
    for name, stride in zip(names, NATURE_STRIDES, strict=False):
        modules += [_conv(tensors[f"{name}.weight"], tensors[f"{name}.bias"], stride, channels), nn.ReLU()]
        channels, _, *kernel = tensors[f"{name}.weight"].shape
        size = [max(0, (side - k) // stride + 1) for side, k in zip(size, kernel, strict=True)]
    weight = tensors[f"{names[-1]}.weight"]
    modules += [
        nn.Flatten(),
        _linear(weight, tensors[f"{names[-1]}.bias"], channels * math.prod(size)),
        nn.ReLU(),
    ]
    return modules, weight.shape[0], used


def _linear(weight: Tensor, bias: Tensor, width: int) -> nn.Linear:
    if weight.ndim != 2 or weight.shape[1] != width:
        raise UserError(f"layers do not chain: one of shape {tuple(weight.shape)} follows {width} outputs")
    return _filled(nn.Linear(width, weight.shape[0], device="meta"), weight, bias)


def _conv(weight: Tensor, bias: Tensor, stride: int, channels: int) -> nn.Conv2d:
    if weight.ndim != 4 or weight.shape[1] != channels:
        raise UserError(f"layers do not chain: a convolution {tuple(weight.shape)} on {channels} channels")
    layer = nn.Conv2d(channels, weight.shape[0], (weight.shape[2], weight.shape[3]), stride, device="meta")
    return _filled(layer, weight, bias)


def _filled(layer: Layer, weight: Tensor, bias: Tensor) -> Layer:
    if bias.shape != weight.shape[:1] or 0 in weight.shape:
        raise UserError(f"a bias of shape {tuple(bias.shape)} does not fit weights {tuple(weight.shape)}")
    if not (weight.is_floating_point() and bias.is_floating_point()):
        raise UserError("its weights are not floating-point numbers")
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise UserError("its weights hold NaN or infinity; the training that made it has failed")
    layer.weight, layer.bias = nn.Parameter(weight.float(), False), nn.Parameter(bias.float(), False)
    return layer
