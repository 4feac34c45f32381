"""The arithmetic of torsos in half precision, behind float32 weights and before float32 heads."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def through(torso: Callable[[Any], Tensor], obs: Any, half: bool) -> Tensor:
    """float32 features of a torso; in between, matrix products and convolutions in bfloat16 where `half` asks for it.

    Heads stay in float32: bfloat16 has three digits, too few for action gaps.
    """
    if not half:
        return torso(obs)
    with torch.autocast(obs.device.type, torch.bfloat16):
        return torso(obs).float()
