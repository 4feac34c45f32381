"""An observation of zeros, to see what a network or a policy makes of one."""

import torch
from torch import Tensor

from reincarnate.types import TaskSpec


def blank(spec: TaskSpec, n: int = 1, device: torch.device | str = "cpu") -> Tensor:
    """Observations of zeros [n, *O], in the task's dtype."""
    return torch.zeros(n, *spec.obs_shape, dtype=getattr(torch, spec.obs_dtype), device=device)
