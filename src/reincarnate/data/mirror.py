"""Stored frames once more on a device, where batches are then cut: one copy per frame, not one per time it is drawn."""

import numpy as np
import torch
from torch import Tensor

BLOCK = 4096  # frames carried over at once: 29 MB of 84×84 screens


class Mirror:
    """A copy of a table's frames on a device; what was added since the last reading is copied at the next.

    Writers need not tell: which rows are new follows from how many were ever added to each stream. The row after the
    newest, which may be shown ahead of its turn (`Replay.foresee`), is copied along.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._frames = torch.zeros(0, device=device)
        self._copied = np.zeros(0, np.int64)  # how many were ever added to each stream when it was last read

    def frames(self, column: np.ndarray, base: np.ndarray, added: np.ndarray) -> Tensor:
        """All stored frames [rows, *S] as the host holds them in `column`.

        `base` [streams] says where each stream's ring begins, `added` [streams] how many rows it was ever given.
        """
        if len(self._frames) != len(column):
            empty = torch.from_numpy(column[:0])
            self._frames = torch.zeros(column.shape, dtype=empty.dtype, device=self.device)
            self._copied = np.zeros_like(added)
        if (self._copied == added).all():
            return self._frames
        rows = len(column) // len(added)
        trios = zip(base, self._copied, added, strict=True)
        at = np.concatenate([b + np.arange(max(since, now + 1 - rows), now + 1) % rows for b, since, now in trios])
        for part in np.split(at, range(BLOCK, len(at), BLOCK)):
            where = to_device(torch.from_numpy(part), self.device)
            self._frames[where] = to_device(torch.from_numpy(column[part]), self.device)
        self._copied = added.copy()
        return self._frames

    def forget(self) -> None:
        """The rows were put back from a file: copy all anew."""
        self._frames = self._frames[:0]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The one place that moves experience to a device: pinned, and without waiting where that is a GPU."""
    if tensor.device.type == device.type or tensor.device.type != "cpu":
        return tensor
    pinned = device.type == "cuda"
    return (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=pinned)
