"""Four-dimensional OpenSimplex noise (K. Spencer's of 2014, public domain), many generators at once.

The noise at a point is a sum over lattice points near it. Which these are depends on the point's place in its cell by
two comparisons only: on which side of two planes it lies, and which two of the candidate corners are nearest. All
combinations are tabulated once.
"""

import itertools

import numpy as np

STRETCH, SQUISH = -0.138196601125011, 0.309016994374947
NORM = 30.0
FAR = (9, 9, 9, 9)  # a lattice point out of reach, which fills the table
REACHED = 13  # lattice points at most
CANDIDATES = 10  # that compete for the two nearest
FIRST, SECOND = np.array([0, 0, 0, 2, 1, 1]), np.array([1, 2, 3, 3, 3, 2])  # axes of pairs; k and k + 3 complementary
MULTIPLIER, INCREMENT = np.int64(6364136223846793005), np.int64(1442695040888963407)


def _gradients() -> np.ndarray:
    """The 64 directions [64, 4]: one coordinate is ±3, the others are ±1."""
    signs = [sign[::-1] for sign in itertools.product((1, -1), repeat=4)]
    return np.array([[s * (3 if k == axis else 1) for k, s in enumerate(sign)] for sign in signs for axis in range(4)])


GRADIENTS = _gradients().astype(np.float64)


def _unit(*axes: int) -> np.ndarray:
    return np.bincount(axes, minlength=4)[:4] if axes else np.zeros(4, int)


def _near_corner(a: int, b: int) -> list[np.ndarray]:
    """Region A, next to the corner 0. Candidate 0 is that corner, candidate i the corner on axis i − 1."""
    always = [_unit(), *(_unit(k) for k in range(4))]
    if 0 in (a, b):
        near = max(a, b) - 1
        return always + [_unit(near) - _unit(k) for k in range(4) if k != near]
    pair = _unit(a - 1, b - 1)
    return always + [pair] + [pair - _unit(k) for k in range(4) if k not in (a - 1, b - 1)]


def _between(a: int, b: int) -> list[np.ndarray]:
    """Region B, in the cell's middle. Candidates 0 to 3 are corners on an axis, 4 to 9 those on two."""
    pairs = [set(axes) for axes in zip(FIRST.tolist(), SECOND.tolist(), strict=True)]
    always = [_unit(k) for k in range(4)] + [_unit(*pair) for pair in pairs]
    low, high = sorted((a, b))
    if high < 4:
        pair = _unit(low, high)
        return always + [pair - _unit(k) for k in range(4) if k not in (low, high)] + [_unit()]
    if low < 4:
        pair = pairs[high - 4]
        others = [_unit(*pair) - _unit(k) for k in range(4) if k not in pair]
        return [*always, *others, 2 * _unit(low)]
    three, shared = pairs[low - 4] | pairs[high - 4], pairs[low - 4] & pairs[high - 4]
    if len(three) != 3:  # complementary pairs never compete
        return []
    (missing,), (twice,) = set(range(4)) - three, shared
    return [*always, _unit(*three), _unit(*three) - _unit(missing), 2 * _unit(twice)]


def _table() -> np.ndarray:
    """Lattice points by half of the cell, region and the two nearest candidates: [2, 2, 10, 10, 13, 4]."""
    table = np.empty((2, 2, CANDIDATES, CANDIDATES, REACHED, 4), int)
    table[:] = FAR
    for region, (points, count) in enumerate(((_near_corner, 5), (_between, CANDIDATES))):
        for a, b in itertools.permutations(range(count), 2):
            found = points(a, b)
            if found:
                table[0, region, a, b, : len(found)] = found
                table[1, region, a, b, : len(found)] = 1 - np.array(found)
    return table


_POINTS = _table().reshape(-1, REACHED, 4)
_LATTICE = _POINTS.astype(np.int32)
_PLACES = np.ascontiguousarray(  # of the lattice points in space, coordinates first
    (_POINTS + SQUISH * _POINTS.sum(axis=-1, keepdims=True)).transpose(2, 0, 1)
)


def permutations(seeds: np.ndarray) -> np.ndarray:
    """The shuffled bytes of each seed [m] int64: [m, 256] uint8, by the original's linear congruential generator."""
    state = seeds.astype(np.int64)
    source = np.tile(np.arange(256, dtype=np.uint8), (len(state), 1))
    shuffled, every = np.empty_like(source), np.arange(len(state))
    with np.errstate(over="ignore"):
        for _ in range(3):
            state = state * MULTIPLIER + INCREMENT
        for i in range(255, -1, -1):
            state = state * MULTIPLIER + INCREMENT
            chosen = (state + 31) % (i + 1)
            shuffled[:, i] = source[every, chosen]
            source[every, chosen] = source[:, i]
    return shuffled


def noise(points: np.ndarray, shuffled: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Noise [m] at points [m, 4]; `shuffled` [k, 256], of which point i takes row `which[i]`. Within about ±1."""
    stretched = points + STRETCH * points.sum(axis=1, keepdims=True)
    cell = np.floor(stretched)
    inside = stretched - cell
    offset = points - (cell + SQUISH * cell.sum(axis=1, keepdims=True))
    key = _region_and_nearest(inside)
    away = offset.T[:, :, None] - _PLACES.take(key, axis=1)  # [4, m, 13]
    weight = 2 - np.einsum("kmv,kmv->mv", away, away)
    np.maximum(weight, 0, out=weight)
    weight *= weight
    weight *= weight
    lattice = cell.astype(np.int32)[:, None] + _LATTICE.take(key, axis=0)
    slopes = GRADIENTS.T.take(_hash(lattice, shuffled, which) >> 2, axis=1)
    return np.einsum("mv,kmv,kmv->m", weight, away, slopes) / NORM


def _region_and_nearest(inside: np.ndarray) -> np.ndarray:
    """The row of the table for each place in its cell [m, 4]."""
    total = inside.sum(axis=1)
    mirrored = total > 2
    c = np.where(mirrored[:, None], 1 - inside, inside)
    total = np.where(mirrored, 4 - total, total)
    scores = np.empty((len(c), CANDIDATES))
    pairs = c[:, FIRST[:3]] + c[:, SECOND[:3]]
    larger = pairs >= total[:, None] - pairs
    scores[:, :4] = 2 - total[:, None] + c
    scores[:, 4:7] = np.where(larger, pairs, -1)
    scores[:, 7:] = np.where(larger, -1, total[:, None] - pairs)
    corner = np.flatnonzero(total <= 1)
    scores[corner, 0] = 1 - total[corner]
    scores[corner, 1:5] = c[corner]
    scores[corner, 5:] = -1
    every = np.arange(len(c))
    first = scores.argmax(axis=1)
    scores[every, first] = -2
    return ((2 * mirrored + (total > 1)) * CANDIDATES + first) * CANDIDATES + scores.argmax(axis=1)


def _hash(lattice: np.ndarray, shuffled: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Bytes [m, v] at lattice points [m, v, 4]: each coordinate is added and looked up in turn."""
    flat, row = shuffled.reshape(-1), (which * 256).astype(np.int32)[:, None]
    found = np.zeros(lattice.shape[:2], np.int32)
    for axis in range(4):
        found = flat.take(((found + lattice[..., axis]) & 255) + row).astype(np.int32)
    return found
