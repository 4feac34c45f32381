"""Noisy layers (Fortunato et al., 2018, factorised Gaussian noise), and their noise as one vector drawn outside."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F


class NoisyLinear(nn.Module):
    """A linear layer whose weights are weight + weight_sigma · noise_out ⊗ noise_in, and biases likewise.

    `noise` float32[inputs + outputs] holds f(ε), f(x) = sign(x)·√|x|, inputs first. Zeros, as at the start, make it
    the plain layer. The noise is no part of the state.
    """

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, sigma0: float = 0.5):
        nn.Module.__init__(self)
        bound = inputs**-0.5
        self.inputs, self.outputs = inputs, outputs
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), sigma0 * bound))
        self.bias_sigma = nn.Parameter(torch.full((outputs,), sigma0 * bound))
        self.register_buffer("noise", torch.zeros(inputs + outputs), persistent=False)

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        before, after = self.noise[: self.inputs], self.noise[self.inputs :]
        # noise on both sides of the product, so that no noisy weight matrix is built
        return F.linear(x, self.weight, self.bias) + after * F.linear(before * x, self.weight_sigma, self.bias_sigma)


def noise_size(module: nn.Module) -> int:
    """How many numbers all noisy layers of a module take; 0 where it has none."""
    return sum(layer.inputs + layer.outputs for _, layer in _noisy(module))


def noise_windows(module: nn.Module, flat: Float32[Tensor, "N"]) -> dict[str, Tensor]:
    """A vector of `noise_size` numbers, cut into the noise buffers by name, in module order; views of `flat`."""
    named = [(f"{name}.noise".lstrip("."), layer) for name, layer in _noisy(module)]
    parts = flat.split([layer.inputs + layer.outputs for _, layer in named]) if named else ()
    return {name: part for (name, _), part in zip(named, parts, strict=True)}


def draw_noise(size: int, rng: np.random.Generator) -> Float32[Tensor, "N"]:
    """f(ε) for `size` independent standard normal ε."""
    draws = rng.standard_normal(size, dtype=np.float32)
    return torch.from_numpy(np.sign(draws) * np.sqrt(np.abs(draws)))


@torch.no_grad()
def set_noise(module: nn.Module, flat: Float32[Tensor, "N"]) -> None:
    """Copy a vector of `noise_size` numbers into the noise buffers."""
    for name, part in noise_windows(module, flat).items():
        module.get_buffer(name).copy_(part)


def _noisy(module: nn.Module) -> Iterator[tuple[str, NoisyLinear]]:
    return ((name, layer) for name, layer in module.named_modules() if isinstance(layer, NoisyLinear))
