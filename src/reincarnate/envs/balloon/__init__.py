"""Station keeping with a stratospheric balloon, `Balloon/Station-v0`: many balloons at once, in NumPy.

The Balloon Learning Environment (Greaves et al., 2021; Google, Apache-2.0), which simulates the task of Bellemare et
al. (Nature, 2020), written anew as structures of arrays: the same physics, winds, observations and rewards to
rounding. `official.npz` (how its seeds 0 to 999 begin) and the constants are derived from it.
"""

from reincarnate.envs.balloon.station import ID, Stations, Variant, spec
from reincarnate.errors import UserError
from reincarnate.types import VectorEnv

QUERIES = True  # settings may follow the id, after a question mark


def ids() -> frozenset[str]:
    """The id of the task, without settings."""
    return frozenset({ID})


def make(env_id: str, n: int, view: str) -> VectorEnv:
    """`n` balloons."""
    if view != "student":
        raise UserError(f"{env_id} offers no view {view!r} for a teacher; only ALE/* tasks offer 'rgb'")
    return Stations(env_id, n)


__all__ = ["ID", "Stations", "Variant", "ids", "make", "spec"]
