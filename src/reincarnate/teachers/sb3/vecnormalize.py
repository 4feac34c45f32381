"""Observation statistics of SB3's `VecNormalize`: only numbers are taken, nothing is run."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.safe import MIB, Inert, inert_array, one_line, read_file, sha256, unpickle_inert
from reincarnate.files.sb3_pickles import ALLOWED

MARK = b"vec_normalize"
"""In the first bytes of such a pickle, whatever the file is called."""


@dataclass(frozen=True)
class Statistics:
    """Observations become clip((obs - mean) / scale, -clip, clip), in float64 as SB3 does.

    `normalises` is False where the wrapper left observations alone. `count` is how many observations were seen, and
    `last` the last ones [n, *O], raw, where they were kept. `returns`: mean, variance and count of the discounted
    returns by whose deviation rewards were divided; None where they were left alone.
    """

    path: Path
    sha256: str
    normalises: bool
    mean: np.ndarray  # float64 [*O]
    scale: np.ndarray  # float64 [*O]
    clip: float
    count: float
    last: np.ndarray | None
    returns: tuple[float, float, float] | None = None

    def fits(self, obs_shape: tuple[int, ...]) -> bool:
        """Whether they are of such observations; those that leave observations alone are of any."""
        return not self.normalises or self.mean.shape == obs_shape

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Raw observations [n, *O], normalised, in float64."""
        return np.clip((obs - self.mean) / self.scale, -self.clip, self.clip)


def is_statistics(path: Path) -> bool:
    """Whether a file begins as a pickle of `VecNormalize`."""
    try:
        with path.open("rb") as file:
            return MARK in file.read(256)
    except OSError:
        return False


def read_statistics(path: Path) -> Statistics:
    """UserError: anything in the file but `VecNormalize`, its spaces and numbers, or numbers that cannot be."""
    payload = read_file(path, 16 * MIB)
    wrapper = unpickle_inert(payload, ALLOWED, str(path))
    state = wrapper.state if isinstance(wrapper, Inert) and wrapper.origin.endswith(".VecNormalize") else None
    if not isinstance(state, dict):
        raise UserError(f"{path}: not statistics saved by SB3's VecNormalize")
    digest = sha256(payload)
    if state.get("norm_obs", True) is False:
        return Statistics(path, digest, False, np.zeros(0), np.ones(0), math.inf, 0.0, None)
    try:
        running = state["obs_rms"].state
        mean, var, count = inert_array(running["mean"]), inert_array(running["var"]), _number(running.get("count"))
        clip, epsilon = float(state["clip_obs"]), float(state["epsilon"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its observation statistics cannot be read: {one_line(error)}") from None
    sound = mean.shape == var.shape and np.isfinite(mean).all() and np.isfinite(var).all()
    if not (sound and (var + epsilon > 0).all() and clip > 0):
        raise UserError(f"{path}: its observation statistics are not usable numbers")
    last, returns = _array(state.get("old_obs")), _returns(state)
    return Statistics(path, digest, True, mean, np.sqrt(var + epsilon), clip, count, last, returns)


def _returns(state: dict[str, Any]) -> tuple[float, float, float] | None:
    """The moments of returns; None where rewards were left alone, or they cannot be read."""
    running = getattr(state.get("ret_rms"), "state", None)
    if state.get("norm_reward", True) is False or not isinstance(running, dict):
        return None
    mean, var, count = (_scalar(running.get(key)) for key in ("mean", "var", "count"))
    return (mean, var, count) if math.isfinite(mean) and var >= 0 and 0 < count < math.inf else None


def _scalar(value: Any) -> float:
    """A number, or an array of one; NaN where it is neither."""
    array = _array(value)
    return _number(value) if array is None else float(array.reshape(-1)[0]) if array.size == 1 else math.nan


def _number(value: Any) -> float:
    """A count, Python's or NumPy's; NaN where it is neither."""
    match value:
        case int() | float():
            return float(value)
        case Inert(origin=str() as origin, args=(Inert(args=("f8" | "f4" as code, *_)), bytes() as raw)):
            size = int(code[1])
            return float(np.frombuffer(raw[:size], code)[0]) if "scalar" in origin and len(raw) == size else math.nan
    return math.nan


def _array(value: Any) -> np.ndarray | None:
    try:
        return inert_array(value)
    except (TypeError, ValueError):
        return None
