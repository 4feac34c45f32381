"""Continuous actions of an SB3 agent: their bounds, read without unpickling, and the mean that becomes an action."""

import base64
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from reincarnate.errors import UserError
from reincarnate.files.safe import MIB, Inert, inert_array, unpickle_inert
from reincarnate.files.sb3_pickles import ALLOWED
from reincarnate.teachers.heads import Bounded, Clipped

MOST = 1000  # numbers in an action; numpy prints no more of them
NUMBER = re.compile(r"[+-]?(\d+\.?(\d*)(e[+-]\d+)?|inf)")
SHORT = 4  # decimals: numpy prints 8 at most and no zeros at the end, so that few are sure to be all there are


@dataclass(frozen=True)
class Continuous:
    """The bounds of a Box of A numbers, and how means become actions within them.

    `squashed`: tanh, then from [-1, 1] to the bounds; otherwise clipped at them. Where gSDE limits the mean before
    the tanh, it does so at ± `mean_limit`. `pickled`: the bounds stood in the space's pickle, not in the text.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    squashed: bool
    mean_limit: float
    pickled: bool


def read_continuous(space: dict[str, Any], kwargs: dict[str, Any], squashed: bool) -> Continuous:
    """What the text says of a Box of actions. UserError: another shape or dtype, or bounds that cannot be."""
    shape, dtype = space.get("shape", space.get("_shape")), str(space.get("dtype", "float32"))[:20]
    size = shape[0] if isinstance(shape, list) and len(shape) == 1 else None
    if not isinstance(size, int) or not 1 <= size <= MOST or dtype not in ("float32", "float64"):
        raise UserError(f"not supported: continuous actions of {dtype} {str(shape)[:40]}; one row of floats is needed")
    low, high = [_from_text(space.get(key), size, np.dtype(dtype)) for key in ("low", "high")]
    pickled = low is None or high is None
    if low is None or high is None:
        low, high = _from_pickle(space)
    _check(low, high, size)
    return Continuous(tuple(low), tuple(high), squashed, _limit(kwargs.get("clip_mean", 2.0)), pickled)


def _from_text(text: Any, count: int, dtype: np.dtype) -> list[float] | None:
    """The numbers of a printed array; None where they are not all there, or were cut while printing."""
    words = str(text)[: 64 * MOST].replace("[", " ").replace("]", " ").split()
    found = [NUMBER.fullmatch(word) for word in words]
    if len(words) != count or not all(match and len(match.group(2) or "") <= SHORT for match in found):
        return None
    return np.array(words, dtype).tolist()


def _from_pickle(space: dict[str, Any]) -> tuple[list[float], list[float]]:
    """The bounds as the space's pickle holds them, of which only the skeleton is looked at."""
    encoded = str(space.get(":serialized:", ""))
    try:
        if not 0 < len(encoded) <= MIB:
            raise ValueError("no pickle, or a huge one")
        box = unpickle_inert(base64.b64decode(encoded, validate=True), ALLOWED, "action_space")
        state = box.state if isinstance(box, Inert) and box.origin.endswith(".Box") else {}
        low, high = (inert_array(state[key]).ravel().tolist() for key in ("low", "high"))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError("the bounds of its actions are neither in its text nor in the space's pickle") from None
    return low, high


def _check(low: list[float], high: list[float], count: int) -> None:
    ordered = len(low) == len(high) == count and all(a < b for a, b in zip(low, high, strict=True))
    if not ordered or not all(map(math.isfinite, (*low, *high))):
        raise UserError(f"actions from {str(low)[:60]} to {str(high)[:60]} cannot be")


def _limit(value: Any) -> float:
    try:
        limit = float(str(value)[:40])
    except ValueError:
        limit = math.nan
    if not 0 <= limit < math.inf:
        raise UserError(f"clip_mean is {str(value)[:40]!r}, which cannot be")
    return limit


def head(actions: Continuous) -> tuple[nn.Module, str]:
    """What makes actions of base means, and it in words."""
    low, high = torch.tensor(actions.low), torch.tensor(actions.high)
    if not actions.squashed:
        return Clipped(low, high), "clipped at the bounds"
    return Bounded((high - low) / 2, (high + low) / 2), "tanh to the bounds"
