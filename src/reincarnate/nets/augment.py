"""Random shifts and intensities of images (DrQ: Kostrikov et al., 2021; the student of Agarwal et al., 2022).

Draws are made outside, from a numpy generator; what is applied to the images is a pure function of them, without
control flow that depends on data, so that it can be traced and vmapped.
"""

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped
from torch import Tensor

from reincarnate.nets.torsos import as_float

SHIFT_PAD = 4  # pixels, Kostrikov et al. (2021)
INTENSITY = 0.05  # Agarwal et al. (2022)


def shift(obs: Shaped[Tensor, "B C H W"], offsets: Int64[Tensor, "B 2"], pad: int = 4) -> Shaped[Tensor, "B C H W"]:
    """Pad by repeating the border `pad` times, and crop each example at its (row, column) offset in 0..2·pad.

    The offset (pad, pad) is the identity. All frames of a stack move together. The dtype stays.
    """
    channels, rows, columns = obs.shape[1:]
    row = (torch.arange(rows, device=obs.device) + offsets[:, :1] - pad).clamp(0, rows - 1)
    column = (torch.arange(columns, device=obs.device) + offsets[:, 1:] - pad).clamp(0, columns - 1)
    index = (row[:, :, None] * columns + column[:, None, :]).flatten(1)
    return obs.flatten(2).gather(2, index[:, None].expand(-1, channels, -1)).unflatten(2, (rows, columns))


def intensity(obs: Shaped[Tensor, "B ..."], scale: Float32[Tensor, "B"]) -> Float32[Tensor, "B ..."]:
    """Observations as floats (`as_float`), each example times its scale."""
    return as_float(obs) * scale.reshape(-1, *[1] * (obs.ndim - 1))


def augmented(obs: Tensor | None, how: str, rng: np.random.Generator) -> Tensor | None:
    """Observations moved at random, and with `how` "shift-intensity" made lighter or darker."""
    if obs is None:
        return None
    obs = shift(obs, draw_shift(len(obs), SHIFT_PAD, rng), SHIFT_PAD)
    if how == "shift":
        return obs
    return intensity(obs, draw_intensity(len(obs), INTENSITY, rng))


def draw_shift(n: int, pad: int, rng: np.random.Generator) -> Int64[Tensor, "n 2"]:
    """Offsets for `shift`, uniform over 0..2·pad."""
    return torch.from_numpy(rng.integers(0, 2 * pad + 1, size=(n, 2), dtype=np.int64))


def draw_intensity(n: int, strength: float, rng: np.random.Generator) -> Float32[Tensor, "n"]:
    """Scales for `intensity`: 1 + strength · ε, ε standard normal clipped to ±2. The papers' strength is 0.05."""
    return torch.from_numpy(1 + np.float32(strength) * rng.standard_normal(n, dtype=np.float32).clip(-2, 2))
