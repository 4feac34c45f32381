"""Networks: torsos, heads, and the flat vector their parameters live in."""

from reincarnate.nets.flat import Flat
from reincarnate.nets.fused import fits
from reincarnate.nets.qnet import build
from reincarnate.nets.quickest import Plain, quickest

__all__ = ["Flat", "Plain", "build", "fits", "quickest"]
