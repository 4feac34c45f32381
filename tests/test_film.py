"""Looking at agents: frames of tasks that render, side by side, in files and in a window."""

import io
import os
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from reincarnate.cli import main
from reincarnate.envs.minatar.drawing import drawn
from reincarnate.errors import UserError
from reincarnate.sharing.film import film, show, write_gif, write_mp4
from reincarnate.training.film import HEAD, as_gif

PRIOR = "prior:minatar-breakout-dqn"
RULE = """
import torch
def lean(obs):
    return torch.stack([-obs[:, 2], obs[:, 2]], 1)
def stay(obs):
    return torch.zeros(len(obs), 2)
"""


def test_a_grid_is_drawn_a_colour_a_channel():
    grid = np.zeros((10, 10, 4), bool)
    grid[2, 3, 1] = grid[5, 5, 0] = True
    picture = drawn(grid)
    assert picture.shape == (10, 10, 3) and len(np.unique(picture.reshape(-1, 3), axis=0)) == 3


def test_two_agents_play_side_by_side_into_a_gif(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rule.py").write_text(RULE)
    two = ["py:rule.py:lean", "py:rule.py:stay"]
    main(["play", *two, "--env", "CartPole-v1", "--gif", "two.gif", "--longest", "30"])
    said = capsys.readouterr().out
    assert all(f"{uri}: return" in said for uri in two)
    with Image.open("two.gif") as gif:
        assert gif.size == (1208, 400 + HEAD) and 8 < gif.n_frames <= 32  # a picture is 600 wide
    with pytest.raises(SystemExit):
        main(["play", "py:rule.py:lean", "--gif", "x.gif"])
    assert "name one with --env" in capsys.readouterr().err and not (tmp_path / "x.gif").exists()
    with pytest.raises(SystemExit):
        main(["play", *two, "--env", "CartPole-v1", "--gif", "x.png"])
    assert "--gif x.png: the name of the file should end in .gif" in capsys.readouterr().err.replace("\n", " ")
    with pytest.raises(SystemExit):
        main(["play", *two, "--env", "CartPole-v1", "--gif", "x.gif", "--seed", "-1"])
    assert "--seed must not be negative: -1" in capsys.readouterr().err and not (tmp_path / "x.gif").exists()


@pytest.mark.parametrize(("fps", "held"), [(20, 50), (30, 30), (40, 20), (50, 20), (60, 20)])
def test_a_gif_holds_its_pictures_for_whole_hundredths_of_a_second_two_at_least(fps, held):
    frames = [np.full((8, 8, 3), 80 * i, np.uint8) for i in range(3)]
    with Image.open(io.BytesIO(as_gif(frames, fps))) as gif:
        assert gif.info["duration"] == held


def test_more_pictures_a_second_than_a_gif_shows_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["play", PRIOR, "--gif", "x.gif", "--fps", "60", "--longest", "3"])
    assert "--fps 60: a GIF shows at most 50 pictures a second" in " ".join(capsys.readouterr().err.split())


def test_a_run_without_a_teacher_is_told_to_name_what_plays_beside_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text('{"teacher": null}')
    with pytest.raises(SystemExit):
        main(["play", "run", "--beside", "teacher", "--gif", "x.gif"])
    said = " ".join(capsys.readouterr().err.split())
    assert "run is of no run with a teacher; name another agent: --beside ADDRESS" in said


def test_the_shipped_agent_is_drawn_on_its_own_task_and_shown_in_a_window(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    found = film([PRIOR], "MinAtar/Breakout-v1", longest=5)
    assert found.frames.shape == (6, 240 + HEAD, 240, 3)
    assert (found.frames[0] != found.frames[-1]).any()
    again = film([PRIOR], "MinAtar/Breakout-v1", longest=5)
    assert (found.frames == again.frames).all()
    show(found, fps=100)
    write_gif(found, tmp_path / "a.gif", 20)
    assert (tmp_path / "a.gif").stat().st_size > 500


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a screen has no variable")
def test_pictures_are_drawn_without_a_screen_and_without_a_complaint_of_it(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rule.py").write_text(RULE)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    film(["py:rule.py:lean"], "CartPole-v1", longest=3)
    assert capfd.readouterr().err == "" and "SDL_VIDEODRIVER" not in os.environ


def test_a_task_that_draws_no_pictures_is_one_line_and_no_complaint_of_gymnasiums(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rule.py").write_text(RULE)
    with warnings.catch_warnings(record=True) as complaints, pytest.raises(SystemExit):
        warnings.simplefilter("always")
        main(["play", "py:rule.py:lean", "--env", "own_tasks:Drawless", "--gif", "x.gif"])
    assert not [one for one in complaints if "render_mode" in str(one.message)]
    assert (
        capsys.readouterr().err.strip() == "error: own_tasks:Drawless?render_mode=rgb_array draws no pictures of itself"
    )


def test_without_ffmpeg_a_gif_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match="write a --gif"):
        write_mp4(film([PRIOR], "MinAtar/Breakout-v1", longest=1), tmp_path / "a.mp4", 20)
