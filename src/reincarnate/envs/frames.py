"""What is shown as a task's settings ask: screens in grey, the last few observations as one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from reincarnate.errors import UserError
from reincarnate.types import channels_first

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as OpenCV and with it the usual Atari wrappers
COLOURS = len(LUMA)
SCREEN_AXES = 3


class Framing(NamedTuple):
    """How a student sees observations: its shape, how many frames lead in it, and who remembers these (None: nobody).

    `stack` > 1: frames are the leading axis (grey screens), so that a replay keeps each once.
    """

    shape: tuple[int, ...]
    stack: int
    fresh: "Callable[[], Frames] | None"


class Frames:
    """One copy's last observations, the oldest first, zeros before the episode's start."""

    def __init__(self, shape: tuple[int, ...], dtype: str, count: int, grey: bool, leading: bool, axis: int):
        self._grey, self._leading, self._shape = grey, leading, shape
        self._axis, self._each = axis, 1 if leading else shape[axis] // count
        self._kept = np.zeros(shape, dtype)

    def begin(self) -> None:
        """An episode starts: nothing was seen before."""
        self._kept = np.zeros_like(self._kept)

    def __call__(self, seen: Any) -> np.ndarray:
        """What is shown after one more observation."""
        new = np.asarray(seen)
        if self._grey:
            if new.shape[-1:] != (COLOURS,):
                raise UserError(f"it shows {list(new.shape)}, the space says {COLOURS} colours")
            new = (new @ LUMA).round().astype(np.uint8)
            new = new[None] if self._leading else new[..., None]
        rest = np.take(self._kept, range(self._each, self._kept.shape[self._axis]), self._axis)
        self._kept = np.concatenate([rest, new], self._axis, dtype=self._kept.dtype, casting="unsafe")
        if self._kept.shape != self._shape:
            raise UserError(f"it shows {list(new.shape)}, another shape than the task's space says")
        return self._kept


def framing(shape: tuple[int, ...], dtype: str, count: int, grey: bool, env_id: str) -> Framing:
    """How observations of a shape are shown. UserError: greyscale asked of what is no screen in colour.

    Vectors and colours stand one behind the other, as SB3's VecFrameStack has them (of screens whose colours come first
    in front); grey screens lead, as Atari's.
    """
    if grey and (len(shape) != SCREEN_AXES or shape[-1] != COLOURS or dtype != "uint8"):
        raise UserError(f"{env_id} shows {dtype}{list(shape)}; --greyscale is for screens, uint8 [rows, columns, 3]")
    if count == 1 and not grey:
        return Framing(shape, 1, None)
    leading = grey and count > 1
    first = channels_first(shape, dtype)
    axis = 0 if leading or first or len(shape) == 1 else -1
    in_grey = (count, *shape[:-1]) if leading else (*shape[:-1], 1)
    beside = (shape[0] * count, *shape[1:]) if first else (*shape[:-1], shape[-1] * count)
    whole = in_grey if grey else beside
    return Framing(whole, count if leading else 1, lambda: Frames(whole, dtype, count, grey, leading, axis))
