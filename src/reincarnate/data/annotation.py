"""The teacher's logits as one more column of a replay: asked once per row, in blocks, whoever samples it how often."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from reincarnate.data.replay import Replay

Annotate = Callable[[Tensor], Tensor]
"""Observations [N, *O] -> the teacher's logits [N, A]."""

BLOCK = 256  # observations a teacher sees at once: large enough to be efficient, small enough for 84×84


def fill_teacher(replay: "Replay", ask: Annotate) -> None:
    """Fill in the teacher's logits of every row that lacks them, oldest first, in blocks."""
    for s in range(replay.streams):
        start, stop = max(int(replay.annotated[s]), int(replay.added[s]) - replay.rows), int(replay.added[s])
        for first in range(start, stop, BLOCK):
            position = np.arange(first, min(first + BLOCK, stop))
            base = np.full(len(position), replay.base[s])
            at = base + position % replay.rows
            logits = ask(replay.observe(base, position, at)).numpy()
            replay.teacher_column(logits.shape[-1])[at] = logits
        replay.annotated[s] = replay.added[s]
