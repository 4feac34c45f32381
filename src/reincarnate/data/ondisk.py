"""Frames in a file instead of in memory, for replays that are larger than it: the system keeps in memory what is read.

The file has no name: it is gone with the process, however that ends. Checkpoints hold rows as they always do.
"""

import os
import tempfile

import numpy as np

from reincarnate.errors import UserError


def on_disk(column: np.ndarray, folder: str = "") -> np.ndarray:
    """A column of zeros of the same shape in a file of a folder (default: the system's for temporary files).

    All of its room is taken at once, so that a disk cannot turn out full in the midst of training. Raises UserError
    where there is no such folder, or not so much room.
    """
    folder = folder or tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, max(1, column.nbytes))
            return np.asarray(np.memmap(file, column.dtype, "r+", shape=column.shape))
    except OSError as error:
        needs = f"{column.nbytes / 1e9:,.2f} GB of frames"
        raise UserError(
            f"--replay-device disk: {needs} do not go to {folder}: {error.strerror}; name a folder with "
            f"--replay-device disk:FOLDER, or a smaller --student.replay-size"
        ) from error
