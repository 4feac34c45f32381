"""Networks: torsos, heads, and the flat vector their parameters live in."""

from reincarnate.nets.flat import Flat
from reincarnate.nets.qnet import TORSOS, QNetwork, build

__all__ = ["TORSOS", "Flat", "QNetwork", "build"]
