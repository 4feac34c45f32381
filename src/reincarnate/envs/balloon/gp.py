"""What is known of the winds around: a Gaussian process over the forecast's errors, for n balloons.

Each balloon measures the error where it is, every step; measurements of the last six hours count, 120 of them. They lie
in a ring, and the inverse of their covariance is kept and updated by a matrix of rank two as one replaces another.
Empty places of the ring lie so far off that nothing depends on them, so that a flight's beginning is no special case.

Source: Balloon Learning Environment 1.0.1, `wind_gp.py`: Matérn's kernel with ν = ½, two outputs, no fitted numbers.
Differs in rounding only: the covariance's inverse is float64, the column is asked in float32.
"""

import numpy as np
import torch

RING = 120
SCALES = np.array([357_000.0, 357_000.0, 326.0, 34_560.0])  # metres east and north, Pa, seconds
SIGNAL, NOISE = 3.6**2, 0.05  # (m/s)²
NOWHERE = 1e7  # Pa
PRESSURE_CENTRE = 9_500.0  # Pa, subtracted before rounding to float32
CHUNK = 4  # balloons at a time: as many covariances as stay in a core's cache


class WindErrors:
    """The measurements of n balloons and what follows from them."""

    def __init__(self, n: int):
        self._inverse = np.empty((n, RING, RING))
        self._places = np.empty((n, 4, RING))  # in units of SCALES
        self._errors = np.empty((n, RING, 2), np.float32)
        self.forget(slice(None))

    def forget(self, rows: slice | np.ndarray) -> None:
        """Empty the rings of these rows."""
        self._places[rows] = 0.0
        self._places[rows, 2] = NOWHERE / SCALES[2]
        self._errors[rows] = 0.0
        self._inverse[rows] = np.eye(RING) / (SIGNAL + NOISE)

    def observe(
        self, rows: np.ndarray, slots: np.ndarray, places: np.ndarray, errors: np.ndarray, pressures: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Put errors [m, 2] (m/s) measured at places [m, 4] into these slots of the rings, and look at the columns.

        Returns what is expected over these places at `pressures` [m, L] (Pa): the mean error [m, L, 2] in m/s, and
        its variance [m, L] as a share of what is expected where nothing is known.
        """
        here = places / SCALES
        column = ((pressures - PRESSURE_CENTRE) / SCALES[2]).astype(np.float32)
        mean, variance = np.empty((*column.shape, 2), np.float32), np.empty(column.shape, np.float32)
        buffers = np.empty((2, CHUNK, column.shape[1], RING), np.float32)
        for part, block in _runs(rows):
            inverse = self._inverse[block]
            self._places[rows[part], :, slots[part]] = here[part]
            self._errors[rows[part], slots[part]] = errors[part]
            squares = _squares(self._places[block], here[part])
            _replace(inverse, slots[part], squares)
            mean[part], variance[part] = _ask(
                inverse, self._places[block], self._errors[block], squares, column[part], buffers[:, : len(inverse)]
            )
        return mean, np.maximum(variance, 0.0, out=variance)


def _runs(rows: np.ndarray) -> list[tuple[slice, slice]]:
    """Parts of `rows` (ascending) that are neighbours, up to CHUNK: where in `rows`, and which rows."""
    runs, start = [], 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or end - start == CHUNK or rows[end] != rows[end - 1] + 1:
            runs.append((slice(start, end), slice(int(rows[start]), int(rows[end - 1]) + 1)))
            start = end
    return runs


def _squares(places: np.ndarray, here: np.ndarray) -> np.ndarray:
    """Squared distances [c, 2, 120] from here to all measurements: without pressure, and by pressure alone."""
    difference = places - here[:, :, None]
    difference *= difference
    flat = difference[:, 0] + difference[:, 1] + difference[:, 3]
    return np.stack([flat, difference[:, 2]], axis=1)


def _replace(inverse: np.ndarray, slots: np.ndarray, squares: np.ndarray) -> None:
    """Update inverses [c, 120, 120] in place for new measurements in these slots.

    The old one goes by a Schur complement, the new one comes by another; together a symmetric matrix of rank two.
    """
    every = np.arange(len(slots))
    old = inverse[every, slots]
    own = old[every, slots][:, None]
    kernel = SIGNAL * np.exp(-np.sqrt(squares.sum(axis=1)))
    kernel[every, slots] = 0.0
    new = np.matmul(inverse, kernel[:, :, None])[:, :, 0] - old * ((old * kernel).sum(axis=1, keepdims=True) / own)
    new[every, slots] = 0.0
    left = SIGNAL + NOISE - (kernel * new).sum(axis=1, keepdims=True)
    new[every, slots] = -1.0
    columns, rows = np.stack([-old / own, new / left], axis=2), np.stack([old, new], axis=1)
    target = torch.from_numpy(inverse)  # NumPy cannot add a product in place
    torch.baddbmm(target, torch.from_numpy(columns), torch.from_numpy(rows), out=target)


def _ask(
    inverse: np.ndarray,
    places: np.ndarray,
    errors: np.ndarray,
    squares: np.ndarray,
    column: np.ndarray,
    buffers: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over a column, whose points differ from the balloon's place by pressure alone."""
    kernel, solved = buffers
    pressures = (places[:, 2] - PRESSURE_CENTRE / SCALES[2]).astype(np.float32)
    np.subtract(column[:, :, None], pressures[:, None], out=kernel)
    np.multiply(kernel, kernel, out=kernel)
    np.add(kernel, squares[:, 0].astype(np.float32)[:, None], out=kernel)
    np.sqrt(kernel, out=kernel)
    np.negative(kernel, out=kernel)
    np.exp(kernel, out=kernel)
    np.matmul(kernel, inverse.astype(np.float32), out=solved)
    explained = np.einsum("blj,blj->bl", solved, kernel)
    return np.float32(SIGNAL) * np.matmul(solved, errors), 1 - np.float32(SIGNAL) * explained
