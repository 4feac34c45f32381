"""Station keeping with a stratospheric balloon, `Balloon/Station-v0`: many balloons at once, in NumPy.

The Balloon Learning Environment (Greaves et al., 2021; Google, Apache-2.0), which simulates the task of Bellemare et
al. (Nature, 2020), written anew as structures of arrays: the same physics, winds, observations and rewards to
rounding. `official.npz` (how its seeds 0 to 999 begin) and the constants are derived from it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from reincarnate.envs.balloon.station import ID, Stations, Variant, spec
from reincarnate.errors import UserError
from reincarnate.types import VectorEnv

QUERIES = True  # settings may follow the id, after a question mark
SUGGESTED = {"gamma": 0.993, "n_step": 5}
"""For students: the discount and the targets of Bellemare et al. (2020), as BLE's agents have them."""


def ids() -> frozenset[str]:
    """The id of the task, without settings."""
    return frozenset({ID})


def make(env_id: str, n: int, view: str) -> VectorEnv:
    """`n` balloons."""
    if view != "student":
        raise UserError(f"{env_id} offers no view {view!r} for a teacher; only ALE/* tasks offer 'rgb'")
    return Stations(env_id, n)


def render(env_id: str, act: Callable[[Any], Any], path: Path, seed: int) -> str:
    """Fly from a seed (an official one where the id names such), and write the flight to a PNG or a GIF."""
    from reincarnate.envs.balloon import drawing

    flight = drawing.record(Stations(env_id, 1), act, seed)
    drawing.write(flight, path)
    return f"seed {seed}: return {flight.rewards.sum():.4g}, twr50 {flight.twr50:.4g}; {path}"


__all__ = ["ID", "SUGGESTED", "Stations", "Variant", "ids", "make", "render", "spec"]
