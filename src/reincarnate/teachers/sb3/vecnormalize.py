"""Observation statistics of SB3's `VecNormalize`: only numbers are taken, nothing is run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.pickled import entries as entries_of
from reincarnate.files.regular import open_regular
from reincarnate.files.safe import MIB, Inert, inert_array, one_line, read_file, sha256, unpickle_inert
from reincarnate.files.sb3_pickles import ALLOWED
from reincarnate.teachers.sb3.spaces import Entry

MARK = b"vec_normalize"
"""In the first bytes of such a pickle, whatever the file is called."""


@dataclass(frozen=True)
class Statistics:
    """Observations become clip((obs - mean) / scale, -clip, clip), in float64 as SB3 does.

    `normalises` is False where the wrapper left observations alone. `count` is how many observations were seen, and
    `last` the last ones [n, *O], raw, where they were kept. `returns`: mean, variance and count of the discounted
    returns by whose deviation rewards were divided; None where they were left alone. Of a Dict each key that was
    normalised has its own (`keyed`, with `kept` the last ones by key), until `along` puts them side by side.
    """

    path: Path
    sha256: str
    normalises: bool
    mean: np.ndarray  # float64 [*O]
    scale: np.ndarray  # float64 [*O]
    clip: float | np.ndarray
    count: float
    last: np.ndarray | None
    returns: tuple[float, float, float] | None = None
    keyed: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None  # mean and scale
    kept: Mapping[str, np.ndarray] | None = None

    @property
    def limit(self) -> float:
        """Where observations are clipped."""
        return float(np.min(self.clip))

    @property
    def said(self) -> str:
        """What observations they are of."""
        if self.keyed is None:
            return f"of shape {self.mean.shape}"
        return f"of a Dict with {', '.join(f'{key} {mean.shape}' for key, (mean, _) in self.keyed.items())}"[:200]

    def along(self, entries: Sequence[Entry]) -> "Statistics":
        """Those of a Dict as of one row with its entries side by side; keys without any are left as they are.

        Where they are of other entries they stay as they are, and fit nothing.
        """
        sizes = {entry.key: entry.size for entry in entries}
        if not self.keyed or any(mean.size != sizes.get(key) for key, (mean, _) in self.keyed.items()):
            return self
        parts = [_moments(entry, self.keyed.get(entry.key), self.clip) for entry in entries]
        mean, scale, clip = (np.concatenate(part) for part in zip(*parts, strict=True))
        whole = float(clip[0]) if (clip == clip[0]).all() else clip
        last = None if self.kept is None else side_by_side(self.kept, entries)
        return replace(self, mean=mean, scale=scale, clip=whole, last=last)

    def fits(self, obs_shape: tuple[int, ...]) -> bool:
        """Whether they are of such observations; those that leave observations alone are of any."""
        return not self.normalises or self.mean.shape == obs_shape

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Raw observations [n, *O], normalised, in float64."""
        return np.clip((obs - self.mean) / self.scale, -self.clip, self.clip)


def _moments(entry: Entry, found: tuple[np.ndarray, np.ndarray] | None, clip: float | np.ndarray) -> list[np.ndarray]:
    """Mean, scale and limit of one entry's numbers."""
    mean, scale = (np.zeros(entry.size), np.ones(entry.size)) if found is None else (one.ravel() for one in found)
    return [mean, scale, np.full(entry.size, np.inf if found is None else clip)]


def arrays_of(value: Any) -> dict[str, np.ndarray] | None:
    """The floating-point arrays of an inert dictionary, by name; None where it is none."""
    found = entries_of(value)
    if found is None:
        return None
    arrays = {key: _array(one) for key, one in found.items() if isinstance(key, str)}
    return {key: array for key, array in arrays.items() if array is not None}


def side_by_side(arrays: Mapping[str, np.ndarray], entries: Sequence[Entry]) -> np.ndarray | None:
    """Observations [n, N] of a Dict's entries; zeros where an entry is no array of floating-point numbers, as images.

    None where nothing is.
    """
    known = [entry.key for entry in entries if (one := arrays.get(entry.key)) is not None and one.ndim > 0]
    n = len(arrays[known[0]]) if known else 0
    if any(arrays[entry.key].size != n * entry.size for entry in entries if entry.key in known) or not n:
        return None
    parts = [arrays[e.key].reshape(n, e.size) if e.key in known else np.zeros((n, e.size)) for e in entries]
    return np.concatenate(parts, 1)


def is_statistics(path: Path) -> bool:
    """Whether a file begins as a pickle of `VecNormalize`."""
    try:
        with open_regular(path) as file:
            return MARK in file.read(256)
    except (OSError, UserError):
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
        clip, epsilon = float(state["clip_obs"]), float(state["epsilon"])
        running = entries_of(state["obs_rms"])
        several = {"": state["obs_rms"]} if running is None else running
        found = {key: _running(one.state, epsilon) for key, one in several.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its observation statistics cannot be read: {one_line(error)}") from None
    if not found or not clip > 0 or not all(isinstance(key, str) for key in found):
        raise UserError(f"{path}: its observation statistics are not usable numbers")
    returns, count = _returns(state), next(iter(found.values()))[2]
    if running is None:
        mean, scale, _ = found[""]
        return Statistics(path, digest, True, mean, scale, clip, count, _array(state.get("old_obs")), returns)
    keyed = {key: (mean, scale) for key, (mean, scale, _) in found.items()}
    nothing, kept = np.zeros(0), arrays_of(state.get("old_obs"))
    return Statistics(path, digest, True, nothing, nothing, clip, count, None, returns, keyed, kept)


def _running(state: Any, epsilon: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, scale and count of running statistics. ValueError: numbers that cannot be."""
    mean, var = inert_array(state["mean"]), inert_array(state["var"])
    sound = mean.shape == var.shape and np.isfinite(mean).all() and np.isfinite(var).all()
    if not (sound and (var + epsilon > 0).all()):
        raise ValueError("they are not usable numbers")
    return mean, np.sqrt(var + epsilon), _number(state.get("count"))


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
