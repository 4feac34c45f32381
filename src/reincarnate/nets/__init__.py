"""Networks: torsos, heads, and the flat vector their parameters live in."""

from reincarnate.nets.flat import Flat
from reincarnate.nets.fused import FusedMLP, fits
from reincarnate.nets.qnet import TORSOS, QNetwork, build

__all__ = ["TORSOS", "Flat", "FusedMLP", "QNetwork", "build", "fits"]
