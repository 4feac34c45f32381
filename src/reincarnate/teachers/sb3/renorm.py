"""CrossQ (Bhatt et al., 2024): fully connected layers, each behind batch renormalisation (Ioffe, 2017)."""

from collections.abc import Mapping

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
    modules: list[nn.Module] = []
    layers: list[Layer] = []
    for name in _ordered(tensors, prefix):
        if f"{name}.ra_mean" in tensors:
            modules.append(_renorm(tensors, name, width, epsilon))
            continue
        layers.append(_linear(tensors, name))
        modules += [linear(layers[-1], width), activation()]
        width = layers[-1].outputs
    return modules, layers


def folded(tensors: Mapping[str, Tensor], epsilon: float) -> dict[str, Tensor]:
    """A CrossQ agent's actor and critics as tensors of a SAC agent's, by its names, that say the same of everything.

    Outside training a renormalisation is affine, so the layer after it can take it in. UserError: a renormalisation
    that no layer follows, as where gSDE's spread looks at renormalised features.
    """
    plain, left = _folded(tensors, "actor.latent_pi.", epsilon)
    for name in ("actor.mu", "actor.log_std"):
        if left and f"{name}.weight" not in tensors:
            raise UserError("not supported: gSDE behind batch renormalisation; it can be a --teacher")
        own = {key: tensor for key, tensor in tensors.items() if key == name or key.startswith(f"{name}.")}
        plain |= _taking_in(_linear(tensors, name), name, left) if left else own
    members = 0
    while any(name.startswith(f"critic.qf{members}.") for name in tensors):
        critic, left = _folded(tensors, f"critic.qf{members}.", epsilon)
        if left:
            raise UserError(f"not supported: critic.qf{members} ends in a batch renormalisation")
        plain |= critic
        members += 1
    return plain


def _folded(tensors: Mapping[str, Tensor], prefix: str, epsilon: float) -> tuple[dict[str, Tensor], Renorm | None]:
    """Layers 0, 2, 4 … of a plain MLP, and the renormalisation behind the last, if there is one."""
    plain: dict[str, Tensor] = {}
    left: Renorm | None = None
    for name in _ordered(tensors, prefix):
        if (mean := tensors.get(f"{name}.ra_mean")) is not None:
            if left:
                raise UserError(f"not supported: {name[:60]} renormalises twice")
            left = _renorm(tensors, name, mean.numel(), epsilon)
            continue
        plain |= _taking_in(_linear(tensors, name), f"{prefix}{len(plain)}", left)
        left = None
    return plain, left


def _taking_in(layer: Layer, name: str, before: Renorm | None) -> dict[str, Tensor]:
    """Weight and bias of one layer that does what both did, computed in float64."""
    weight, bias = layer.weight.double(), layer.bias.double()
    if before:
        if before.scale.numel() != layer.inputs:
            raise UserError(f"{name[:60]}: {before.scale.numel()} renormalised numbers for {layer.inputs} inputs")
        factor = before.scale.double() / before.root.double()
        weight, bias = weight * factor, bias + weight @ (before.bias.double() - factor * before.mean.double())
    return {f"{name}.weight": weight.float(), f"{name}.bias": bias.float()}


def _ordered(tensors: Mapping[str, Tensor], prefix: str) -> list[str]:
    """Names of the modules under `prefix`, by their numbers. UserError: others are there."""
    numbers = {name.removeprefix(prefix).partition(".")[0] for name in tensors if name.startswith(prefix)}
    if not all(number.isdecimal() and len(number) < 4 for number in numbers) or len(numbers) > 2 * MOST_LAYERS:
        raise UserError(f"not supported: layers under {prefix!r} other than an MLP with batch renormalisation")
    return [f"{prefix}{number}" for number in sorted(numbers, key=int)]


def _linear(tensors: Mapping[str, Tensor], name: str) -> Layer:
    weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
    if weight is None or bias is None:
        raise UserError(f"not supported: {name[:60]!r} is no layer with a weight and a bias")
    return checked(name, weight, bias)


def _renorm(tensors: Mapping[str, Tensor], name: str, width: int, epsilon: float) -> Renorm:
    parts = [tensors.get(f"{name}.{part}") for part in PARTS]
    found = [part.float() for part in parts if part is not None and part.shape == (width,) and part.isfinite().all()]
    if len(found) != len(PARTS) or (found[3] + epsilon <= 0).any():
        raise UserError(f"{name[:60]}: batch renormalisation needs {', '.join(PARTS)} of {width} finite numbers each")
    scale, bias, mean, variance = found
    return Renorm(scale, bias, mean, variance, epsilon)
