"""Observations in a quarter of the room: the 181 levels alone, as float16, beside the 16 ambient numbers as float32."""

import numpy as np

from reincarnate.envs.balloon.features import AMBIENT, LEVELS, OBSERVATION, TRIPLES, UNREACHABLE
from reincarnate.types import TaskSpec

WIDTH = 3 * LEVELS
NUMBERS = AMBIENT + WIDTH
PACKED = 4 * AMBIENT + 2 * WIDTH  # bytes
_EMPTY = np.tile(np.array(UNREACHABLE, np.float32), TRIPLES)


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
    levels = np.empty((len(obs), WIDTH), np.float32)
    for row, first in enumerate(_first(obs)):  # quicker than an index for each number
        levels[row] = obs[row, first : first + WIDTH]
    packed = np.empty((len(obs), PACKED), np.uint8)
    packed[:, : 4 * AMBIENT] = _bytes(obs[:, :AMBIENT])
    packed[:, 4 * AMBIENT :] = _bytes(levels.astype(np.float16))
    return packed


def decode(packed: np.ndarray) -> np.ndarray:
    """The observations float32 [n, 1099] in bytes [n, 1150]."""
    obs = np.empty((len(packed), OBSERVATION), np.float32)
    obs[:, :AMBIENT] = np.ascontiguousarray(packed[:, : 4 * AMBIENT]).view(np.float32)
    obs[:, AMBIENT:] = _EMPTY
    levels = np.ascontiguousarray(packed[:, 4 * AMBIENT :]).view(np.float16).astype(np.float32)
    for row, first in enumerate(_first(obs)):
        obs[row, first : first + WIDTH] = levels[row]
    return obs


def _bytes(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers).view(np.uint8)


def _first(obs: np.ndarray) -> list[int]:
    """Where the first of the 181 levels lies in each row, by the pressure as the observation shows it."""
    pressure = np.nan_to_num(obs[:, 0].astype(np.float64)).clip(0, 1)  # a stranger's file may hold anything
    own = np.rint(pressure * (LEVELS - 1)).astype(np.int64)
    return (AMBIENT + 3 * (LEVELS - 1 - own)).tolist()
