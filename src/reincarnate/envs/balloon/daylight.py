"""When the sun rises and sets next, to the original's three minutes and with the quirks of its bisection."""

import numpy as np

from reincarnate.envs.balloon.constants import AGENT_STEP, DAY
from reincarnate.envs.balloon.sun import DARK, GRID_BACK, Vertical, dot, elevation

HALF_DAY = DAY // 2 // AGENT_STEP  # steps of the grid
WHOLE_DAY = 2 * HALF_DAY
NOON_AND_MIDNIGHT = np.array([[-1.0], [1.0]])


class Sky:
    """The sun over m balloons now: the table of their episode [m, T, 4], its rows, and their verticals."""

    def __init__(self, table: np.ndarray, rows: np.ndarray, age: np.ndarray, vertical: Vertical):
        self._flat = table.reshape(-1, table.shape[-1])
        self._now = rows * table.shape[1] + GRID_BACK + age
        self._vertical = vertical

    def cosine(self, ahead: np.ndarray) -> np.ndarray:
        """Cosines of the zenith angle so many grid steps ahead [..., m]."""
        return dot(self._vertical, self._flat.take(self._now + ahead, axis=0))


def next_sunrise_and_sunset(sky: Sky, afternoon: np.ndarray) -> np.ndarray:
    """Grid steps from now to the next sunrise and the next sunset [2, m].

    Noon and midnight are sought in the coming day, then the sunrise and the sunset nearest to them; what lies in
    the past comes back a day later.
    """
    begin = np.where(afternoon, [[HALF_DAY], [0]], [[0], [HALF_DAY]])
    noon, midnight = _bisect(begin, begin + HALF_DAY, lambda m: NOON_AND_MIDNIGHT * sky.cosine(m))
    low = np.stack([np.where(afternoon, midnight, midnight - WHOLE_DAY), np.where(afternoon, noon - WHOLE_DAY, noon)])
    high = np.stack([noon, midnight])
    found = _bisect(low, high, lambda m: np.abs(elevation(sky.cosine(m)) - DARK))
    return np.where(found < 0, found + WHOLE_DAY, found)


def _bisect(low: np.ndarray, high: np.ndarray, f) -> np.ndarray:
    """Halve towards the end where f is smaller, up to neighbours; then that end."""
    at_low, at_high = f(low), f(high)
    while (wide := high > low + 1).any():
        lower = at_low < at_high
        middle = (low + high + lower) // 2  # rounded up where it becomes the new high end
        value = f(middle)
        to_high, to_low = wide & lower, wide & ~lower
        high, at_high = np.where(to_high, middle, high), np.where(to_high, value, at_high)
        low, at_low = np.where(to_low, middle, low), np.where(to_low, value, at_low)
    return np.where(at_low < at_high, low, high)


def solar_phase(sunrise: np.ndarray, sunset: np.ndarray) -> np.ndarray:
    """Radians from 0 at sunrise over π at sunset to 2π, from seconds to the next sunrise and the next sunset."""
    day = sunset < sunrise
    since = np.where(day, DAY - sunrise, DAY - sunset)
    length = np.where(day, sunset - sunrise, sunrise - sunset) + DAY
    return np.pi * (since / length + ~day)
