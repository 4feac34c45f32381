"""CrossQ's actor (Bhatt et al., 2024): fully connected layers with batch renormalisation (Ioffe, 2017) before each."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.teachers.layers import MOST_LAYERS, Layer, checked, linear

PARTS = ("scale", "bias", "ra_mean", "ra_var")


class Renorm(nn.Module):
    """What batch renormalisation does outside training: (x - mean) / sqrt(variance + ε) · scale + bias."""

    def __init__(self, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, epsilon: float):
        nn.Module.__init__(self)
        self.scale, self.bias = nn.Parameter(scale, False), nn.Parameter(bias, False)
        self.mean, self.root = nn.Buffer(mean), nn.Buffer(torch.sqrt(variance + epsilon))

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        """Of features, with the running statistics."""
        return self.scale * ((x - self.mean) / self.root) + self.bias


def renormed(
    tensors: dict[str, Tensor], prefix: str, width: int, activation: type[nn.Module], epsilon: float
) -> tuple[list[nn.Module], list[Layer]]:
    """The modules under `prefix`, in order, and its fully connected layers. UserError: others, or they do not chain."""
    numbers = {name.removeprefix(prefix).partition(".")[0] for name in tensors if name.startswith(prefix)}
    if not all(number.isdecimal() and len(number) < 4 for number in numbers) or len(numbers) > 2 * MOST_LAYERS:
        raise UserError(f"not supported: layers under {prefix!r} other than an MLP with batch renormalisation")
    modules: list[nn.Module] = []
    layers: list[Layer] = []
    for name in (f"{prefix}{number}" for number in sorted(numbers, key=int)):
        if f"{name}.ra_mean" in tensors:
            modules.append(_renorm(tensors, name, width, epsilon))
            continue
        layers.append(_linear(tensors, name))
        modules += [linear(layers[-1], width), activation()]
        width = layers[-1].outputs
    return modules, layers


def _linear(tensors: dict[str, Tensor], name: str) -> Layer:
    weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
    if weight is None or bias is None:
        raise UserError(f"not supported: {name[:60]!r} is no layer with a weight and a bias")
    return checked(name, weight, bias)


def _renorm(tensors: dict[str, Tensor], name: str, width: int, epsilon: float) -> Renorm:
    parts = [tensors.get(f"{name}.{part}") for part in PARTS]
    found = [part.float() for part in parts if part is not None and part.shape == (width,) and part.isfinite().all()]
    if len(found) != len(PARTS) or (found[3] + epsilon <= 0).any():
        raise UserError(f"{name[:60]}: batch renormalisation needs {', '.join(PARTS)} of {width} finite numbers each")
    scale, bias, mean, variance = found
    return Renorm(scale, bias, mean, variance, epsilon)
