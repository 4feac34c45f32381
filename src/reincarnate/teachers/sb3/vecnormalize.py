"""Observation statistics of SB3's `VecNormalize`: only numbers are taken, nothing is run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.safe import MIB, Inert, inert_array, read_file, sha256, unpickle_inert

NAMES = ("vecnormalize.pkl", "vec_normalize.pkl")
ALLOWED = (
    r"stable_baselines3\.common\.vec_env\.vec_normalize\.VecNormalize",
    r"stable_baselines3\.common\.running_mean_std\.RunningMeanStd",
    r"(gym|gymnasium)\.spaces\.(box\.Box|discrete\.Discrete)",
    r"numpy\.(dtype|ndarray)",
    r"numpy\.(core|_core)\.multiarray\.(_reconstruct|scalar)",
    r"numpy\.(core|_core)\.numeric\._frombuffer",
    r"numpy\.random\._pickle\.__(randomstate|generator|bit_generator)_ctor",
    r"numpy\.random\._(pcg64\.PCG64|mt19937\.MT19937)",
    r"numpy\.random\.bit_generator\.(SeedSequence|__pyx_unpickle_SeedSequence)",
    r"gym(nasium)?\.utils\.seeding\.RandomNumberGenerator",
)


@dataclass(frozen=True)
class Statistics:
    """Observations become clip((obs - mean) / scale, -clip, clip), in float64 as SB3 does."""

    mean: np.ndarray  # float64 [*O]
    scale: np.ndarray  # float64 [*O]
    clip: float
    source: str


def find_statistics(folder: Path, obs_shape: tuple[int, ...]) -> Statistics | None:
    """Those of the file in `folder`; None where there is none, or where it left observations alone."""
    path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    return None if path is None else read_statistics(path, obs_shape)


def read_statistics(path: Path, obs_shape: tuple[int, ...]) -> Statistics | None:
    """UserError: anything in the file but `VecNormalize`, its spaces and numbers, or another shape."""
    payload = read_file(path, 16 * MIB)
    wrapper = unpickle_inert(payload, ALLOWED, str(path))
    state = wrapper.state if isinstance(wrapper, Inert) and wrapper.origin.endswith(".VecNormalize") else None
    if not isinstance(state, dict):
        raise UserError(f"{path}: not statistics saved by SB3's VecNormalize")
    if state.get("norm_obs", True) is False:
        return None
    try:
        running = state["obs_rms"].state
        mean, var = inert_array(running["mean"]), inert_array(running["var"])
        clip, epsilon = float(state["clip_obs"]), float(state["epsilon"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its observation statistics cannot be read: {error}") from None
    if mean.shape != obs_shape or var.shape != obs_shape:
        raise UserError(f"{path}: statistics of shape {mean.shape} do not fit observations {obs_shape}")
    if not (np.isfinite(mean).all() and np.isfinite(var).all() and (var + epsilon > 0).all() and clip > 0):
        raise UserError(f"{path}: its observation statistics are not usable numbers")
    return Statistics(mean, np.sqrt(var + epsilon), clip, f"{path.name} (sha256 {sha256(payload)[:12]})")
