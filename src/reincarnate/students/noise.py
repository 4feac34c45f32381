"""What is random in an off-policy actor-critic's update: drawn when it is asked for, or ahead of a recorded update."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Ask = tuple[str, tuple[int, ...]]
"""What was asked for: which kind, and the numbers that say how much of it."""

KINDS: dict[str, Callable[..., np.ndarray]] = {
    "normal": lambda rng, *shape: rng.standard_normal(shape, np.float32),
    "uniform": lambda rng, *shape: rng.uniform(-1, 1, shape).astype(np.float32),
    "members": lambda rng, of, n: rng.choice(of, n, replace=False),
}


class Noise:
    """Draws from a generator, onto a device; `asked` is what was asked for so far."""

    def __init__(self, rng: np.random.Generator, device: torch.device):
        self._rng, self._device = rng, device
        self.asked: list[Ask] = []

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, float32 of this shape."""
        return self._draw("normal", shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [-1, 1], float32 of this shape."""
        return self._draw("uniform", shape)

    def members(self, of: int, n: int) -> Tensor:
        """n different ones of so many, int64[n]."""
        return self._draw("members", (of, n))

    def _draw(self, kind: str, numbers: tuple[int, ...]) -> Tensor:
        self.asked.append((kind, numbers))
        return torch.from_numpy(KINDS[kind](self._rng, *numbers)).to(self._device)


class HeldNoise(Noise):
    """What an update asked for before, in tensors that stay: `fill` draws them, in the order in which it asks."""

    def __init__(self, asked: Sequence[Ask], device: torch.device):
        Noise.__init__(self, np.random.default_rng(0), device)  # for shapes alone
        self._held: list[Any] = [(ask, Noise._draw(self, *ask)) for ask in asked]
        self._at = 0

    def fill(self, rng: np.random.Generator) -> None:
        """Draw all of it for an update."""
        for (kind, numbers), place in self._held:
            place.copy_(torch.from_numpy(KINDS[kind](rng, *numbers)))

    def _draw(self, kind: str, numbers: tuple[int, ...]) -> Tensor:
        ask, place = self._held[self._at % len(self._held)]
        assert ask == (kind, numbers), f"a recorded update asked for {(kind, numbers)}, not for {ask} as before"
        self._at += 1
        return place
