"""The observation: 16 numbers about the balloon, then 361 triples about the winds above and below it.

Source: Balloon Learning Environment 1.0.1, `features.py`, to the order of its numbers. A triple holds uncertainty,
bearing and magnitude; the balloon's own level is the middle one, levels that it cannot reach hold 0, 1, 1.
"""

import numpy as np

from reincarnate.envs.balloon.compressor import planned_power
from reincarnate.envs.balloon.constants import CAPACITY, DAY_LOAD, DOWN, STAY, UP

AMBIENT = 16
LEVELS = 181
LOWEST, SPACING = 5000.0, 50.0  # Pa
TRIPLES = 2 * LEVELS - 1
OBSERVATION = AMBIENT + 3 * TRIPLES
UNREACHABLE = (0.0, 1.0, 1.0)
LEVEL_PRESSURES = LOWEST + SPACING * np.arange(LEVELS)  # Pa
TINY = 1e-5  # m and m/s: below it there is no direction
DISTANCE, SPEED = 250.0, 30.0  # km and m/s that count as half
EXCESS_CHARGE = 0.99  # of the battery


def own_level(pressure: np.ndarray) -> np.ndarray:
    """The level [n] nearest to each pressure; halves go to the even one."""
    inside = np.clip(pressure, LOWEST, LEVEL_PRESSURES[-1])
    return np.rint((inside - LOWEST) / SPACING).astype(np.int64)


def excess_energy(solar_power: np.ndarray, charge: np.ndarray) -> np.ndarray:
    """Whether the sun gives more than the balloon needs while its battery (Wh) is full [n]."""
    return (solar_power > DAY_LOAD) & (charge / CAPACITY > EXCESS_CHARGE)


def ambient(
    pressure: np.ndarray,
    superpressure: np.ndarray,
    charge: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    height: np.ndarray,
    phase: np.ndarray,
    last: np.ndarray,
    paused: np.ndarray,
    excess: np.ndarray,
) -> np.ndarray:
    """The first 16 numbers [n, 16].

    `height` is the sun's in degrees, `phase` the time of day in radians from sunrise, `last` the last action commanded.
    """
    soc, distance = charge / CAPACITY, np.hypot(x, y) / 1000
    ratio = 1 + np.maximum(superpressure, 0.0) / pressure
    toward = np.arctan2(-x, -y)
    columns = (
        np.clip((pressure - LOWEST) / (SPACING * (LEVELS - 1)), 0, 1),
        soc,
        np.clip((height + 90) / 180, 0, 1),
        np.sin(phase),
        np.cos(phase),
        np.sin(toward),
        np.cos(toward),
        distance / (distance + DISTANCE),
        last == UP,
        last == STAY,
        last == DOWN,
        paused,
        ~paused,
        excess,
        np.clip((planned_power(ratio, soc) - 100) / 200, 0, 1),
        ratio,
    )
    return np.stack(columns, axis=1).astype(np.float32)


def winds(wind: np.ndarray, variance: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Triples [n, L, 3] of winds [n, L, 2] (m/s) with these variances [n, L], seen from x, y metres off the station."""
    speed = np.sqrt(wind[..., 0] ** 2 + wind[..., 1] ** 2)
    distance = np.hypot(x, y)
    scale = -1 / (distance + TINY)
    east, north = (scale * x).astype(np.float32)[:, None], (scale * y).astype(np.float32)[:, None]
    cosine = (wind[..., 0] * east + wind[..., 1] * north) / (speed + np.float32(TINY))
    triples = np.empty((*speed.shape, 3), np.float32)
    triples[..., 0] = variance
    triples[..., 1] = np.arccos(np.clip(cosine, -1, 1)) * np.float32(1 / np.pi)
    triples[..., 2] = speed / (speed + np.float32(SPEED))
    triples[speed < TINY, 1] = 1.0
    triples[distance < TINY, :, 1] = 0.0
    return triples


def assemble(
    around: np.ndarray, triples: np.ndarray, first: np.ndarray, count: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Observations [n, 1099] of ambient numbers [n, 16] and triples [n, L, 3] of levels from `first` [n] on.

    Of these `count` [n] can be reached; the level `own` [n] comes to the middle.
    """
    obs = np.empty((len(around), OBSERVATION), np.float32)
    obs[:, :AMBIENT] = around
    obs[:, AMBIENT:].reshape(len(obs), TRIPLES, 3)[:] = UNREACHABLE
    start = AMBIENT + 3 * (LEVELS - 1 - own + first)
    numbers = triples.reshape(len(obs), -1)
    for row, (begin, width) in enumerate(zip(start.tolist(), (3 * count).tolist(), strict=True)):
        obs[row, begin : begin + width] = numbers[row, :width]
    return obs
