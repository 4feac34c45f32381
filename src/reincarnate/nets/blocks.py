"""Many images through a network, so many at a time that what lies between its layers stays in a core's cache."""

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 256  # images; of 512 each takes a policy of pgx nearly twice as long (benchmarks/blocks.py)


def in_blocks(network: Callable[[Tensor], Tensor], obs: Tensor) -> Tensor:
    """What a network without gradients says of images [B, H, W, C], a block after the other.

    Observations of fewer dimensions, and whatever lies on a GPU, are passed at once.
    """
    if obs.ndim < 4 or len(obs) <= BLOCK or obs.device.type != "cpu":
        return network(obs)
    return torch.cat([network(part) for part in obs.split(BLOCK)])
