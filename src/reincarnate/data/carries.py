"""Memories of those who acted, kept where lessons begin: one for many rows, because each is as large as those."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Carries:
    """A ring for each of `streams`: the actor's memory before each row whose position divides by `every`.

    A row that ends an episode, in which nobody acted, keeps zeros: whoever reads from there forgets with the next row.
    """

    def __init__(self, streams: int, rows: int, every: int):
        self.every, self.slots = every, rows // every + 2
        self.streams, self.values = streams, np.zeros((streams, self.slots, 0), np.float32)

    def put(self, position: np.ndarray, carry: Float[Tensor, "n H"], which: np.ndarray | None = None) -> None:
        """Keep what belongs to rows that are being written at these positions [streams]; `which` of the streams are."""
        due = np.flatnonzero(position % self.every == 0) if which is None else which[position[which] % self.every == 0]
        if self.values.shape[-1] != carry.shape[-1]:
            self.values = np.zeros((self.streams, self.slots, carry.shape[-1]), np.float32)
        if len(due):
            self.values[due, self._slot(position[due])] = carry[torch.from_numpy(due).to(carry.device)].cpu().numpy()

    def skip(self, position: np.ndarray, which: np.ndarray) -> None:
        """Rows without an actor are being written at these positions [streams], in the streams `which`."""
        due = which[position[which] % self.every == 0]
        self.values[due, self._slot(position[due])] = 0

    def get(self, stream: np.ndarray | int, position: np.ndarray) -> Tensor | None:
        """The memories [B, H] before these rows; None where nobody remembered anything."""
        if not self.values.shape[-1]:
            return None
        assert (position % self.every == 0).all(), "a lesson begins where no memory was kept"
        return torch.from_numpy(self.values[stream, self._slot(position)])

    def _slot(self, position: np.ndarray) -> np.ndarray:
        return position // self.every % self.slots
