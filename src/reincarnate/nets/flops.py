"""Floating-point operations of networks, counted once per network for one observation.

Matrix products and convolutions, a multiplication and its addition as two operations; all else is small.
"""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

LEARNING_PASSES = 3  # forward, and the backward pass's two products for each of the forward's


def forward_flops(module: nn.Module, *inputs: Tensor) -> int:
    """Operations of one forward pass of these inputs."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(*inputs)
    return counter.get_total_flops()
