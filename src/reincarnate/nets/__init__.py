"""Networks: torsos, heads, and the flat vector their parameters live in."""

from reincarnate.nets.flat import Flat
from reincarnate.nets.fused import FusedMLP, fits
from reincarnate.nets.qnet import build

__all__ = ["Flat", "FusedMLP", "build", "fits"]
