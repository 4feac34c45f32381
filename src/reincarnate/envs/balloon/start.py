"""How flights begin: drawn from a generator, or as the official seeds 0 to 999 of the Balloon Learning Environment.

The official ones are recorded (`official.npz`, numbers alone), because they come from JAX's random streams as these
were when the benchmark was published.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reincarnate.envs.balloon.atmosphere import Atmosphere, lapse_rates
from reincarnate.envs.balloon.constants import FLOOR_HEIGHT
from reincarnate.envs.balloon.rows import take
from reincarnate.envs.balloon.wind import LATENTS, SEED_LIMIT, SOURCES
from reincarnate.errors import UserError

FIRST_START, LAST_START = 1_293_840_000, 1_419_984_000  # 2011-01-01 and 2014-12-31 UTC, the latter exclusive
FARTHEST = 200_000.0  # m
LATITUDES, LONGITUDES = 10.0, 175.0  # degrees, either side of zero
LEAST_PRESSURE = 6500.0  # Pa
INFRARED, LEAST_INFRARED = 315.0, 225.0  # W/m²: the largest and the least


@dataclass
class Start:
    """How m flights begin. Degrees, metres from the station, Pa, W/m²."""

    lapse: np.ndarray  # [m, 7] K/m
    start: np.ndarray  # unix seconds
    latitude: np.ndarray
    longitude: np.ndarray
    x: np.ndarray
    y: np.ndarray
    pressure: np.ndarray
    infrared: np.ndarray
    latents: np.ndarray  # [m, 64] of the forecast
    seeds: np.ndarray  # [m, 10] of the noise
    offsets: np.ndarray  # [m, 10, 4]


def draw(rng: np.random.Generator) -> Start:
    """One flight, from the distributions of the original."""
    lapse = lapse_rates(rng.uniform(size=1))
    air = Atmosphere(1)
    air.put(slice(None), lapse)
    distance, angle = FARTHEST * rng.beta(1.2, 2.0), rng.uniform(0, 2 * np.pi)
    return Start(
        lapse,
        rng.integers(FIRST_START, LAST_START, size=1),
        rng.uniform(-LATITUDES, LATITUDES, size=1),
        rng.uniform(-LONGITUDES, LONGITUDES, size=1),
        np.array([distance * np.cos(angle)]),
        np.array([distance * np.sin(angle)]),
        rng.uniform(LEAST_PRESSURE, air.pressure_at(FLOOR_HEIGHT)),
        np.array([_infrared(rng)]),
        rng.standard_normal((1, LATENTS)).astype(np.float32),
        rng.integers(SEED_LIMIT, size=(1, SOURCES)),
        rng.uniform(-1, 1, size=(1, SOURCES, 4)),
    )


def _infrared(rng: np.random.Generator) -> float:
    """A logit-normal of mean 2 and deviation 315, as published: all but always the largest value."""
    while (drawn := INFRARED / (1 + np.exp(-np.clip(2 + 315 * rng.standard_normal(), -700, 700)))) < LEAST_INFRARED:
        pass
    return drawn


def join(starts: list[Start]) -> Start:
    """Several beginnings as one block."""
    return Start(*(np.concatenate(column) for column in zip(*(vars(start).values() for start in starts), strict=True)))


@functools.cache
def _recorded() -> Start:
    with np.load(Path(__file__).with_name("official.npz"), allow_pickle=False) as file:
        names = ("lapse", "start", "lat", "lng", "x", "y", "p", "ir", "z", "seeds", "off")
        return Start(*(file[name] for name in names))


def official(seeds: np.ndarray) -> Start:
    """The flights of official seeds [m]. UserError: a seed whose weather was not recorded."""
    recorded = _recorded()
    known = len(recorded.start)
    for seed in np.asarray(seeds).tolist():
        if not 0 <= seed < known:
            raise UserError(f"the official weather of seed {seed} is not recorded; there are seeds 0 to {known - 1}")
    return take(recorded, np.asarray(seeds))
