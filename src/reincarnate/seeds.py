"""Random streams by purpose: every generator is a pure function of (seed, purpose, indices), and none is global."""

import zlib

import numpy as np

from reincarnate.errors import UserError

LIMIT = 2**63  # what torch, NumPy and records can all hold
MOST = 10_000  # seeds of one run or study; the record of a run names all that began together


def stream(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """The generator for one purpose, e.g. `stream(0, "evaluate", 3)`.

    Streams of different purposes or indices are independent (NumPy's SeedSequence spawn keys), so that evaluating
    more often, say, cannot change what training draws.
    """
    key = (zlib.crc32(purpose.encode()), *indices)
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=key)))


def check_seed(seed: int, name: str = "--seed") -> None:
    """Raises UserError, which calls the seed `name`, where nothing can be seeded by it."""
    if seed < 0:
        raise UserError(f"{name} must not be negative: {seed}")
    if seed >= LIMIT:
        raise UserError(f"{name} must be below 2^63, not {seed}")


def check_many(number: int, name: str = "--seeds") -> None:
    """Raises UserError, which calls the number of seeds `name`, where there is none, or more than records can name."""
    if number < 1:
        raise UserError(f"{name} must be at least 1, not {number}")
    if number > MOST:
        raise UserError(f"{name} {number} is too many: at most {MOST:,}")
