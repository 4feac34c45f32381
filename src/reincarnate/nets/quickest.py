"""The quicker way through a network, where there is one."""

from torch import nn

from reincarnate.native import Kernels
from reincarnate.nets.fused import FusedMLP, fits
from reincarnate.nets.fused_cnn import FusedCNN, fits_cnn

Plain = FusedMLP | FusedCNN
"""A network that is small and plain enough to know its own gradient: `net(obs)`, and `net.descend(obs, loss)`."""


def quickest(network: nn.Module, kernels: Kernels | None = None) -> Plain | None:
    """A quicker way through a small plain network than its modules, by kernels if given; None: there is none."""
    if fits(network):
        return FusedMLP(network, kernels)  # pyright: ignore[reportArgumentType]
    return FusedCNN(network, kernels) if fits_cnn(network) else None  # pyright: ignore[reportArgumentType]
