"""Floating-point operations of networks, counted once per network for one observation.

Matrix products and convolutions, a multiplication and its addition as two operations; all else is small.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

LEARNING_PASSES = 3  # forward, and the backward pass's two products for each of the forward's


class Watch(TorchDispatchMode):
    """Sees every operator while it is entered.

    torch imports its compiler, two seconds of it, to tell it to leave such a mode alone; it is not in use here.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Counter(Watch):
    """Adds up the operations of what runs while it is entered, by torch's own table of formulas."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and count it; one without a formula is taken apart, where it can be."""
        kwargs, formula = kwargs or {}, flop_registry.get(func._overloadpacket)
        if formula is None and func is not torch.ops.prim.device.default:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        self.total += formula(*args, **kwargs, out_val=out) if formula else 0
        return out


def forward_flops(module: nn.Module, *inputs: Tensor) -> int:
    """Operations of one forward pass of these inputs."""
    with torch.no_grad(), Counter() as counter:
        module(*inputs)
    return counter.total
