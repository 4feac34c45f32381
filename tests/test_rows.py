"""Episodes become rows of the native format, and any number of rows becomes a dataset."""

from pathlib import Path

import numpy as np
import pytest
from asking import cut

from reincarnate.data.dataset import open_dataset, verify, write_dataset
from reincarnate.data.layouts import from_unit
from reincarnate.data.rows import episode
from reincarnate.files.atomic import sha256_file
from reincarnate.types import TaskSpec

DISCRETE = TaskSpec("two", (3,), "float32", 2, 1, 1.0, {})
CONTINUOUS = TaskSpec("three", (2,), "float32", 3, 1, None, {}, ((-1.0, -1.0, -2.0), (1.0, 1.0, 2.0)))


def frames(steps: int, size: int) -> np.ndarray:
    return np.arange((steps + 1) * size, dtype=np.float64).reshape(steps + 1, size)


def test_an_episode_of_three_steps_has_four_rows_and_gives_its_transitions_back(tmp_path: Path):
    rows = episode(DISCRETE, frames(3, 3), np.array([1, 0, 1]), np.array([0.5, -7.0, 2.0]), terminated=True)
    assert rows["flags"].tolist() == [0, 0, 3, 4] and rows["age"].tolist() == [0, 1, 2, 3]
    assert rows["reward"].tolist() == [0.5, -1.0, 1.0, 0.0]  # clipped as the task's
    dataset = write_dataset(tmp_path, DISCRETE, [rows], {})
    batch = cut(dataset, 2, 0.5).gather(np.array([0, 1, 2]))
    assert batch.reward.tolist() == [0.0, -0.5, 1.0]
    assert batch.discount.tolist() == [0.25, 0.0, 0.0]
    assert batch.next_obs is not None and batch.next_obs[0].tolist() == [6.0, 7.0, 8.0]


def test_an_episode_cut_by_a_limit_keeps_its_discount():
    rows = episode(DISCRETE, frames(1, 3), np.array([1]), np.array([0.0]), terminated=False)
    assert rows["flags"].tolist() == [2, 4]


def test_continuous_actions_come_back_as_vectors(tmp_path: Path):
    actions = np.array([[0.25, -1.0, 2.0], [1.0, 0.5, -2.0]])
    dataset = write_dataset(tmp_path, CONTINUOUS, [episode(CONTINUOUS, frames(2, 2), actions, np.zeros(2), False)], {})
    assert open_dataset(dataset.path).spec == CONTINUOUS
    batch = cut(dataset, 1, 0.9).gather(np.array([0, 1]))
    assert batch.action.abs().max() == 1 and from_unit(CONTINUOUS, batch.action.numpy()).tolist() == actions.tolist()


@pytest.mark.parametrize("promised", [None, 7])
def test_blocks_are_written_as_numpy_would_and_hashed(tmp_path: Path, promised: int | None):
    blocks = [episode(DISCRETE, frames(n, 3), np.ones(n, int), np.zeros(n), False) for n in (2, 3)]
    dataset = write_dataset(tmp_path, DISCRETE, blocks, {}, promised)
    verify(dataset)
    np.save(tmp_path / "frame.npy", np.concatenate([block["frame"] for block in blocks]))
    assert sha256_file(tmp_path / "frame.npy") == dataset.manifest["columns"]["frame"]["sha256"]
    assert dataset.transitions == 5


def test_a_dataset_of_other_rows_than_promised_is_not_written(tmp_path: Path):
    block = episode(DISCRETE, frames(2, 3), np.ones(2, int), np.zeros(2), False)
    with pytest.raises(ValueError, match="promised"):
        write_dataset(tmp_path, DISCRETE, [block], {}, rows=4)
    assert list(tmp_path.iterdir()) == []
