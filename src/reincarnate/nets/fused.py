"""A plain QNetwork over an MLP by way of `nets.towers`. `benchmarks/training.py` measures the whole."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reincarnate.native import Kernels
from reincarnate.native import Tower as Told
from reincarnate.nets.compiled import CompiledTower
from reincarnate.nets.qnet import QNetwork
from reincarnate.nets.torsos import MLP
from reincarnate.nets.towers import Graded, Tower, flat


class FusedMLP:
    """The forward pass of a plain (not dueling) QNetwork over an MLP, reading its parameters where they lie."""

    alone = True

    def __init__(self, network: QNetwork, kernels: Kernels | None = None):
        assert fits(network)
        tower = Tower.of([*network.torso.layers, network.advantage])  # pyright: ignore
        self.kernels, self._tower = kernels, CompiledTower(kernels, tower) if kernels else tower
        self._graded, self._outputs = Graded([self._tower]), network.outputs
        self._turned = [(bias, weight.t()) for weight, bias, _, _ in tower.layers]  # ready to multiply

    def __call__(self, obs: Tensor) -> Float[Tensor, "B A *K"]:
        """The network's outputs; differentiable exactly where autograd is on."""
        out = self._graded(flat(obs))[0] if torch.is_grad_enabled() else self._through(flat(obs))
        return out if self._outputs == 1 else out.unflatten(-1, (-1, self._outputs))  # pyright: ignore

    def descend(self, obs: Tensor, loss: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        """Fill the flat gradient with a loss's, which knows its derivative by the outputs [B, A]; returns the loss.

        Without autograd, which on so small a network costs more than what it finds.
        """
        *steps, out = self._tower.forward(flat(obs))
        found, slope = loss(out)
        self._tower.backward(steps, slope)
        return found

    @property
    def told(self) -> Told:
        """The layers, for a kernel."""
        return self._tower.told  # pyright: ignore[reportAttributeAccessIssue]

    def _through(self, x: Tensor) -> Tensor:
        """The output alone, in as few calls as there are: acting on one observation is nothing but calls."""
        if self.kernels:
            return self._tower.forward(x)[-1]
        *hidden, (bias, weight) = self._turned
        for own, turned in hidden:
            x = torch.addmm(own, x, turned).relu_()
        return torch.addmm(bias, x, weight)


def fits(network: nn.Module) -> bool:
    """Whether a network is one that FusedMLP computes: linear layers and ReLUs alone."""
    if (
        not isinstance(network, QNetwork)
        or not isinstance(network.torso, MLP)
        or network.value is not None
        or network.memory is not None
        or network.in_bfloat16
    ):
        return False
    layers = [*network.torso.layers, network.advantage]
    plain_norms = all(isinstance(norm, nn.Identity) for norm in network.torso.norms)
    plain = plain_norms and network.torso.activation == "relu"
    return plain and all(isinstance(layer, nn.Linear) for layer in layers)
