"""What every test may ask for."""

import gc
import os
from pathlib import Path

import hypothesis
import pytest
import shapes
import torch

shapes.check("reincarnate")

from reincarnate import errors  # noqa: E402
from reincarnate.plugins import IMPORTS  # noqa: E402

torch.set_num_threads(1)
# the same examples every time, and no test fails for a machine that is busy
hypothesis.settings.register_profile("here", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("here")
errors.flags = True  # tests expect messages as they are written, with flags; `test_from_python.py` those with arguments


def pytest_collection_finish() -> None:
    """What is imported by now stays: the collector need not look through all of it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def teachers() -> Path:
    """The folder of real teachers trained by others; they are inputs, never part of the project."""
    default = Path(__file__).resolve().parents[2] / "shared" / "teachers"
    folder = Path(os.environ.get("REINCARNATE_TEACHERS", default))
    if not folder.is_dir():
        pytest.skip(f"no folder of teachers at {folder}; name one in REINCARNATE_TEACHERS")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _logs_of_sb3(tmp_path_factory):
    """Stable-Baselines3 makes a folder for each training, by default one that stays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("sb3")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _state_of_the_user(tmp_path_factory):
    """The key with which runs are sealed is kept in a folder of the user's, by default one that stays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _imports_of_its_own(monkeypatch):
    """What a command was told to import is told to its children by a variable; the next test's shall not hear of it."""
    monkeypatch.delenv(IMPORTS, raising=False)


@pytest.fixture(autouse=True)
def _shapes_anew():
    """Each test has its first calls checked again."""
    shapes.test[0] += 1
