"""The network of an SB3 agent, built from its tensors' names and shapes."""

import math

from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.teachers.layers import Flat, Layer, Trunk, checked, linear, mlp, nature, widths
from reincarnate.teachers.sb3.actions import head
from reincarnate.teachers.sb3.format import ACTIVATIONS, SavedAgent

CONVOLUTIONS = ("cnn.0", "cnn.2", "cnn.4")
DENSE = "linear.0"


def build_network(tensors: dict[str, Tensor], saved: SavedAgent) -> tuple[nn.Module, str]:
    """The network from observations to the head's outputs (or to actions, if continuous), and it in words."""
    family, words = saved.family, []
    prefix = next((p for p in family.features if any(name.startswith(p) for name in tensors)), None)
    modules, width = [Flat()], math.prod(saved.obs_shape)
    if prefix is not None:
        modules, width, told = _nature_cnn(tensors, prefix, saved.obs_shape)
        words.append(told)
    known = (*family.layers, *family.unused, *([prefix] if prefix else []))
    if left := [name for name in tensors if not name.startswith(known)]:
        raise UserError(f"not supported: {saved.algorithm} with layers such as {left[0][:60]!r}")
    layers = [layer for prefix in family.layers for layer in _linears(tensors, prefix)]
    told = widths(width, layers)
    if not layers or layers[-1].outputs != saved.actions * saved.quantiles:
        raise UserError(f"its {saved.algorithm} weights do not end in {saved.actions} actions: {told}")
    modules += mlp(layers, width, ACTIVATIONS[saved.activation])
    words.append(f"MLP {told}, {saved.activation.lower()}")
    if saved.continuous:
        last, told = head(saved.continuous, family.limited in tensors)
        modules += last
        words.append(told)
    return nn.Sequential(*modules), ", ".join(words)


def _linears(tensors: dict[str, Tensor], prefix: str) -> list[Layer]:
    """The layer of `prefix` itself, or its members 0, 2, 4 ... (activations lie between)."""
    names = [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]
    if sorted(names) == ["bias", "weight"]:
        return [_layer(tensors, prefix.removesuffix("."))]
    count = len(names) // 2
    expected = {f"{2 * i}.{part}" for i in range(count) for part in ("weight", "bias")}
    if set(names) != expected:
        raise UserError(f"not supported: layers under {prefix!r} other than a plain MLP")
    return [_layer(tensors, f"{prefix}{2 * i}") for i in range(count)]


def _nature_cnn(tensors: dict[str, Tensor], prefix: str, shape: tuple[int, ...]) -> Trunk:
    names = [f"{prefix}{layer}" for layer in (*CONVOLUTIONS, DENSE)]
    used = {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    if used != {name for name in tensors if name.startswith(prefix)} or len(shape) != 3:
        raise UserError(f"not supported: a features extractor other than NatureCNN on images ({prefix}*)")
    *convolutions, dense = (_layer(tensors, name) for name in names)
    channels, rows, columns = shape
    trunk = nature(convolutions, False, False, (channels, rows, columns))
    words = f"NatureCNN {channels}x{rows}x{columns}-{dense.outputs}"
    return Trunk([*trunk.modules, linear(dense, trunk.features), nn.ReLU()], dense.outputs, words)


def _layer(tensors: dict[str, Tensor], name: str) -> Layer:
    return checked(name, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
