"""MinAtar's grids as pictures for people."""

import numpy as np

COLOURS = np.array(  # told apart by the colour-blind too (Okabe and Ito, 2008)
    [[0, 114, 178], [230, 159, 0], [0, 158, 115], [213, 94, 0], [204, 121, 167], [86, 180, 233], [240, 228, 66]],
    np.uint8,
)


def drawn(grid: np.ndarray) -> np.ndarray:
    """A grid, bool [H, W, C], as a picture, uint8 [H, W, 3]."""
    picture = np.full((*grid.shape[:2], 3), 24, np.uint8)
    for channel in range(grid.shape[2]):
        picture[grid[..., channel]] = COLOURS[channel % len(COLOURS)]
    return picture
