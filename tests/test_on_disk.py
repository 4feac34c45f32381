"""Frames in a file: the same training to the bit, nothing left behind, and refusals before anything is written."""

import errno
import os

import numpy as np
import pytest

from reincarnate import DQN, Run, Scratch, execute
from reincarnate.data.ondisk import on_disk
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_file
from reincarnate.run.prepare import frames_folder


def run(tmp_path, where: str) -> Run:
    student = DQN(hidden=(8,), warmup=50, replay_size=120, batch_size=8)
    return Run(
        "MinAtar/Breakout-v1",
        Scratch(),
        student,
        env_steps=300,
        evaluations=2,
        eval_episodes=1,
        final_episodes=1,
        reference_episodes=2,
        store=tmp_path / "store",
        threads=1,
        replay_device=where,
    )


def test_a_run_whose_frames_are_on_disk_trains_to_the_same_bits_and_leaves_no_file_there(tmp_path):
    (tmp_path / "frames").mkdir()
    weights = []
    for name, where in (("memory", "cpu"), ("disk", f"disk:{tmp_path / 'frames'}")):
        execute(run(tmp_path, where), tmp_path / name)
        weights.append(sha256_file(tmp_path / name / "agent" / "weights.safetensors"))
    assert weights[0] == weights[1]
    assert not list((tmp_path / "frames").iterdir())


def test_what_is_written_to_a_column_on_disk_is_read_from_it_and_parts_of_it_are_views(tmp_path):
    column = on_disk(np.zeros((6, 2), np.uint8), str(tmp_path))
    column[2:4][1] = (7, 9)
    assert column.tolist() == [[0, 0], [0, 0], [0, 0], [7, 9], [0, 0], [0, 0]] and type(column) is np.ndarray


def test_a_disk_without_room_says_how_much_was_wanted_and_what_else_there_is(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"0\.01 GB of frames do not go to .*No space left.*disk:FOLDER"):
        on_disk(np.zeros((1000, 84 * 84), np.uint8), str(tmp_path))


def test_a_folder_that_is_not_there_is_refused_before_anything_runs(tmp_path):
    assert frames_folder("cpu") is None and frames_folder("disk") == "" and frames_folder("cuda:0") is None
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        execute(run(tmp_path, f"disk:{tmp_path / 'nowhere'}"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
