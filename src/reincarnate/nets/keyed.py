"""A torso for what a Dict or Tuple shows side by side in one row: each of its screens through its own convolutions."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reincarnate.nets.torsos import MLP, PIXEL_SCALE, Linear, ScreenCNN, as_float
from reincarnate.types import TaskSpec

LEAST_SCREEN = 36  # rows and columns that the convolutions of the Nature network leave something of
SCREEN_FEATURES = 256  # of each screen, as SB3's CombinedExtractor has them
SIDES = 3  # rows, columns, channels


def screens_in(spec: TaskSpec) -> list[tuple[int, tuple[int, ...]]]:
    """Where screens begin in a task's row, and their shapes [H, W, C]; [] where it has none."""
    entries = spec.entries
    if len(spec.obs_shape) != 1 or sum(size for _, size, _, _ in entries) != spec.obs_shape[0]:
        return []
    found, begin = [], 0
    for _, size, shape, dtype in entries:
        if dtype == "uint8" and len(shape) == SIDES and min(shape[:2]) >= LEAST_SCREEN:
            found.append((begin, shape))
        begin += size
    return found


class KeyedCNN(nn.Module):
    """Screens in a row [B, N] through Nature convolutions, 256 features each; they and the rest through `hidden`."""

    def __init__(
        self,
        obs_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        layer_norm: bool = False,
        linear: Linear = nn.Linear,
        width: int = 1,
        screens: Sequence[tuple[int, tuple[int, ...]]] = (),
    ):
        nn.Module.__init__(self)
        self.screens = nn.ModuleList(
            ScreenCNN(shape, (SCREEN_FEATURES,), layer_norm, linear, width) for _, shape in screens
        )
        self._places = [(begin, begin + int(torch.Size(shape).numel()), shape) for begin, shape in screens]
        rest = obs_shape[0] - sum(end - begin for begin, end, _ in self._places)
        self.fc = MLP((rest + SCREEN_FEATURES * len(self._places),), hidden, layer_norm, linear)
        self.features = self.fc.features

    def forward(self, obs: Tensor) -> Float[Tensor, "B F"]:
        row, parts, last = as_float(obs), list[Any](), 0
        for (begin, end, shape), screen in zip(self._places, self.screens, strict=True):
            parts += [row[:, last:begin], screen(row[:, begin:end].unflatten(1, shape) * PIXEL_SCALE)]
            last = end
        return self.fc(torch.cat([*parts, row[:, last:]], 1))
