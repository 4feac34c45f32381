"""Winds: a forecast decoded from 64 latents, and the noise by which the true wind differs from it.

Source: Balloon Learning Environment 1.0.1, `generative_wind_field.py`, `vae.py`, `simplex_wind_noise.py`. Between
the points of its grid the forecast is linear in all four dimensions; outside it the nearest edge holds, and after 48
hours time runs backwards, then forwards again.
"""

import functools
import os
from pathlib import Path

import numpy as np

from reincarnate.envs.balloon import simplex
from reincarnate.envs.balloon.rows import Rows
from reincarnate.envs.balloon.wheel import WHEEL, installed
from reincarnate.errors import UserError
from reincarnate.files.flaxpack import unpack
from reincarnate.files.safe import MIB, read_file, read_members, sha256

MEMBER = "balloon_learning_environment/models/offlineskies22_decoder.msgpack"
SHA256 = "f18da7f5bf148ad39f06d664a949fcedbc74553acf78baf80d254a8d6516f8b9"
PLACE = "REINCARNATE_BALLOON_DECODER"
LATENTS, HIDDEN, COARSE = 64, 1000, 7
PRESSURES, TIMES, PLACES = 10, 9, 21  # points of the grid
LIMIT, SPACING = 500.0, 50.0  # km
FIRST_PRESSURE, PRESSURE_STEP = 5000.0, 1000.0  # Pa
HOURS, HOUR_STEP = 48.0, 6.0
OUTPUTS = COARSE * COARSE * PRESSURES * TIMES
SHAPES = {
    "Dense_0": (LATENTS, HIDDEN),
    "Dense_1": (HIDDEN,) * 2,
    "Dense_2": (HIDDEN,) * 2,
    "Dense_3": (HIDDEN, OUTPUTS),
}

Layers = list[tuple[np.ndarray, np.ndarray]]


def decoder() -> Layers:
    """The decoder's four layers, from the installed wheel or from the file or wheel in REINCARNATE_BALLOON_DECODER.

    UserError: the package is missing, or its file is damaged or not version 1.0.1's.
    """
    named = os.environ.get(PLACE)
    hint = f", or name its wheel in {PLACE}; Balloon/Station-v0?wind=simplex flies without it"
    return _read(Path(named) if named else installed(MEMBER, "the winds' decoder", hint))


@functools.cache
def _read(path: Path) -> Layers:
    payload = read_file(path)
    if payload.startswith(b"PK"):
        payload = read_members(payload, {MEMBER: 64 * MIB}, str(path)).get(MEMBER, b"")
    if sha256(payload) != SHA256:
        raise UserError(f"{path}: not the decoder of {WHEEL} 1.0.1 (its sha256 is another); install that version again")
    tree = unpack(payload, str(path))["params"]
    return [(tree[name]["kernel"], tree[name]["bias"]) for name in SHAPES]


def _upsampling() -> np.ndarray:
    """Linear interpolation from 7 to 23 points with half-pixel centres, clamped at the edges [23, 7]."""
    fine = PLACES + 2
    place = np.clip((np.arange(fine) + 0.5) * COARSE / fine - 0.5, 0, COARSE - 1)
    left = np.minimum(place.astype(int), COARSE - 2)
    matrix = np.zeros((fine, COARSE))
    matrix[np.arange(fine), left] = 1 - (place - left)
    matrix[np.arange(fine), left + 1] = place - left
    return matrix


_UP = _upsampling()
_INNER = _UP[1:-1].astype(np.float32)
_SLOPE = (0.5 * (_UP[2:] - _UP[:-2])).astype(np.float32)


def decode(layers: Layers, latents: np.ndarray) -> np.ndarray:
    """Forecasts of latents [m, 64]: float32 [m, x, y, time, 2 · pressure] in m/s, u and v beside each other.

    The decoder gives a stream function ψ; u = ∂ψ/∂x and v = −∂ψ/∂y in units of the grid.
    """
    hidden = latents.astype(np.float32)
    for kernel, bias in layers[:-1]:
        hidden = np.maximum(hidden @ kernel + bias, 0)
    kernel, bias = layers[-1]
    psi = (hidden @ kernel + bias).reshape(-1, COARSE, COARSE, PRESSURES, TIMES).transpose(0, 4, 3, 1, 2)
    u, v = _SLOPE @ psi @ _INNER.T, -(_INNER @ psi @ _SLOPE.T)  # [m, time, pressure, x, y]
    return np.stack([u, v], axis=3).transpose(0, 4, 5, 1, 2, 3).reshape(len(psi), PLACES, PLACES, TIMES, -1)


class Forecast:
    """The forecasts of n balloons. Without a decoder they are calm."""

    def __init__(self, n: int, layers: Layers | None):
        self._layers = layers
        cells = (PLACES, PLACES, TIMES, 2 * PRESSURES)
        self._field = np.zeros((n if layers else 0, *cells), np.float32)

    def put(self, rows: Rows, latents: np.ndarray) -> None:
        """New forecasts in these rows."""
        if self._layers:
            self._field[rows] = decode(self._layers, latents)

    def column(self, rows: np.ndarray, x: np.ndarray, y: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """Winds over places (m) at times (s) of these rows [m], at the grid's ten pressures: [m, 10, 2] in m/s.

        float64, of a question rounded as the original's.
        """
        if not self._layers:
            return np.zeros((len(rows), PRESSURES, 2))
        i, along = _cell((_single(np.clip(x / 1000, -LIMIT, LIMIT)) + LIMIT) / SPACING, PLACES)
        j, across = _cell((_single(np.clip(y / 1000, -LIMIT, LIMIT)) + LIMIT) / SPACING, PLACES)
        hours = seconds / 3600 % (2 * HOURS)
        k, later = _cell(_single(np.minimum(hours, 2 * HOURS - hours)) / HOUR_STEP, TIMES)
        corner = ((rows * PLACES + i) * PLACES + j) * TIMES + k
        corners = corner + _CORNERS
        weights = (
            np.stack([1 - along, along])[:, None, None]
            * np.stack([1 - across, across])[None, :, None]
            * np.stack([1 - later, later])[None, None]
        )
        found = self._field.reshape(-1, 2 * PRESSURES).take(corners, axis=0)
        return np.einsum("abcm,abcmk->mk", weights, found).reshape(-1, PRESSURES, 2)


_CORNERS = (np.array([0, PLACES * TIMES])[:, None, None] + np.array([0, TIMES])[:, None] + np.array([0, 1]))[..., None]


def _single(numbers: np.ndarray) -> np.ndarray:
    """Rounded to float32, as the original asks its forecast."""
    return numbers.astype(np.float32).astype(np.float64)


def _cell(place: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    cell = np.minimum(place.astype(np.intp), points - 2)
    return cell, place - cell


def at_pressure(column: np.ndarray, pressure: np.ndarray) -> np.ndarray:
    """The wind [m, 2] of columns [m, 10, 2] at pressures [m] in Pa."""
    last = FIRST_PRESSURE + PRESSURE_STEP * (PRESSURES - 1)
    cell, above = _cell((_single(np.clip(pressure, FIRST_PRESSURE, last)) - FIRST_PRESSURE) / PRESSURE_STEP, PRESSURES)
    rows = np.arange(len(column))
    return column[rows, cell] * (1 - above)[:, None] + column[rows, cell + 1] * above[:, None]


def interpolation(pressures: np.ndarray) -> np.ndarray:
    """The matrix [L, 10] that takes a column to these pressures."""
    return np.stack(
        [
            np.interp(pressures, FIRST_PRESSURE + PRESSURE_STEP * np.arange(PRESSURES), unit)
            for unit in np.eye(PRESSURES)
        ],
        axis=1,
    ).astype(np.float32)


# weight; scales of x and y (km), pressure (Pa), time (h)
HARMONICS = np.array(
    [
        [0.1445, 702.269, 2116.987, 2587.802, 245.0],  # u
        [0.2766, 1483.570, 752.124, 646.208, 16.39],
        [0.2627, 276.810, 147.040, 587.702, 3.836],
        [0.2137, 10214.525, 1512.216, 965.629, 41.780],
        [0.1025, 181.286, 420.942, 8500.0, 245.0],
        [0.2716, 1974.228, 2028.814, 713.697, 26.435],  # v
        [0.2684, 699.738, 541.845, 632.116, 9.530],
        [0.2348, 217.750, 196.522, 686.825, 3.546],
        [0.1186, 47.5, 43.048, 66.553, 8.424],
        [0.1066, 3663.291, 232.023, 7499.741, 225.0],
    ]
)
SOURCES = len(HARMONICS)
SEED_LIMIT = 1_634_753_849  # of a generator, exclusive
MAGNITUDE = np.sqrt(1.02 / 0.0569)  # the wanted variance over that of the noise


def _weights() -> np.ndarray:
    weights = HARMONICS[:, 0].reshape(2, -1)
    total, squares = weights.sum(axis=1, keepdims=True), (weights**2).sum(axis=1, keepdims=True)
    return MAGNITUDE * weights / total * np.sqrt(total / squares)


_WEIGHTS = _weights()
_SCALES = 1 / (HARMONICS[:, 1:] * [1000.0, 1000.0, 1.0, 3600.0])


class Noise:
    """By how much the true winds of n balloons differ from their forecasts: five harmonics for each component."""

    def __init__(self, n: int):
        self._shuffled = np.zeros((n * SOURCES, 256), np.uint8)
        self._offsets = np.zeros((n, SOURCES, 4))

    def put(self, rows: Rows, seeds: np.ndarray, offsets: np.ndarray) -> None:
        """New noise in these rows, of generators' seeds [m, 10] and shifts [m, 10, 4]."""
        n = len(self._offsets)
        self._shuffled.reshape(n, SOURCES, 256)[rows] = simplex.permutations(seeds.ravel()).reshape(-1, SOURCES, 256)
        self._offsets[rows] = offsets

    def at(self, rows: np.ndarray, where: np.ndarray) -> np.ndarray:
        """m/s [m, 2] at places [m, 4] of these rows [m]: metres east and north, Pa, seconds."""
        points = where[:, None] * _SCALES + self._offsets[rows]
        which = rows[:, None] * SOURCES + np.arange(SOURCES)
        found = simplex.noise(points.reshape(-1, 4), self._shuffled, which.ravel())
        return (found.reshape(-1, 2, SOURCES // 2) * _WEIGHTS).sum(axis=2)
