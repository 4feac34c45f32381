"""Random streams by purpose: every generator is a pure function of (seed, purpose, indices), and none is global."""

import zlib

import numpy as np

from reincarnate.errors import UserError

LIMIT = 2**63  # what torch, NumPy and records can all hold


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
