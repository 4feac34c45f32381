"""What every test may ask for."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def teachers() -> Path:
    """The folder of real teachers trained by others; they are inputs, never part of the project."""
    default = Path(__file__).resolve().parents[2] / "shared" / "teachers"
    folder = Path(os.environ.get("REINCARNATE_TEACHERS", default))
    if not folder.is_dir():
        pytest.skip(f"no folder of teachers at {folder}; name one in REINCARNATE_TEACHERS")
    return folder
