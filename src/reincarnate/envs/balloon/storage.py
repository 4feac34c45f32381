"""Observations in a quarter of the room: the 181 levels alone, as float16, beside the 16 ambient numbers as float32."""

import numpy as np

from reincarnate.envs.balloon.features import AMBIENT, LEVELS, OBSERVATION, TRIPLES, UNREACHABLE
from reincarnate.types import TaskSpec

NUMBERS = AMBIENT + 3 * LEVELS
PACKED = 4 * AMBIENT + 2 * 3 * LEVELS  # bytes


def form(spec: TaskSpec) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of one packed observation."""
    return (PACKED,), "uint8"


def encode(obs: np.ndarray) -> np.ndarray:
    """Observations float32 [n, 1099] as bytes uint8 [n, 1150].

    The column of winds slides with the balloon's level, half of it is empty. What is left is its 181 levels, rounded
    to float16 (at most 2.5e-4 off for numbers below 1); the 16 ambient numbers come back as they were. The level
    follows from the pressure; where float32 rounds that to a neighbour, one level at the end is lost, which no balloon
    reaches.
    """
    obs = np.ascontiguousarray(obs, np.float32)
    packed = np.empty((len(obs), PACKED), np.uint8)
    packed[:, : 4 * AMBIENT] = _bytes(obs[:, :AMBIENT])
    packed[:, 4 * AMBIENT :] = _bytes(np.take_along_axis(obs, _window(obs[:, 0]), axis=1).astype(np.float16))
    return packed


def decode(packed: np.ndarray) -> np.ndarray:
    """The observations float32 [n, 1099] in bytes [n, 1150]."""
    obs = np.empty((len(packed), OBSERVATION), np.float32)
    obs[:, :AMBIENT] = np.ascontiguousarray(packed[:, : 4 * AMBIENT]).view(np.float32)
    obs[:, AMBIENT:] = np.tile(np.array(UNREACHABLE, np.float32), TRIPLES)
    levels = np.ascontiguousarray(packed[:, 4 * AMBIENT :]).view(np.float16)
    np.put_along_axis(obs, _window(obs[:, 0]), levels.astype(np.float32), axis=1)
    return obs


def _bytes(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers).view(np.uint8)


def _window(pressure: np.ndarray) -> np.ndarray:
    """Where the 181 levels lie [n, 543], by the pressure as the observation shows it."""
    own = np.rint(pressure.astype(np.float64) * (LEVELS - 1)).astype(np.int64)
    return AMBIENT + 3 * (LEVELS - 1 - own)[:, None] + np.arange(3 * LEVELS)
