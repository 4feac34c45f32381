"""Films of evaluations: kept beside a run, never part of its training, shown where people look."""

import re
import shutil
from pathlib import Path

import pytest
from interrupting import metrics, small_run, stopped
from PIL import Image

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.files.finished import videos_of
from reincarnate.methods import Scratch
from reincarnate.report import compare
from reincarnate.run.execute import execute
from reincarnate.run.settings import from_record, record
from reincarnate.sharing.hub import write_folder

GAME = "MinAtar/Breakout-v1"


def short_run(place: Path, **changes):
    """Two evaluations after the newborn's."""
    return small_run(place, env_steps=80, evaluations=2, eval_episodes=2, **changes)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "videos").iterdir())


def weights(run: Path) -> bytes:
    return (run / "agent" / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> Path:
    """A folder with a run that filmed all its evaluations, and the same run without."""
    place = tmp_path_factory.mktemp("filmed")
    run = short_run(place, video="all")
    assert from_record(record(run)) == run
    execute(run, place / "all")
    execute(short_run(place), place / "off")
    return place


def test_every_evaluation_is_filmed_and_training_goes_on_to_the_same_bits(filmed):
    assert names(filmed / "all") == [f"{i:04d}.gif" for i in range(1, 4)]  # the newborn's, and two more
    assert not (filmed / "off" / "videos").exists() and weights(filmed / "all") == weights(filmed / "off")
    assert metrics(filmed / "all") == metrics(filmed / "off")
    with Image.open(filmed / "all" / "videos" / "0003.gif") as gif:
        assert gif.size == (600, 418) and gif.n_frames > 5
    assert "video" not in record(short_run(filmed))


def test_a_run_that_goes_on_neither_loses_nor_doubles_a_film(filmed):
    place, whole = filmed, filmed / "all"
    stopped(short_run(place, video="all"), place / "cut", 2)
    shutil.copy(place / "cut" / "videos" / "0001.gif", place / "cut" / "videos" / "0003.gif")  # of a state that is gone
    (place / "cut" / "videos" / ".0003.gif.1234").write_bytes(b"half")
    execute(short_run(place, video="all"), place / "cut", resume=True)
    assert names(place / "cut") == names(whole)
    for name in names(whole):
        assert (place / "cut" / "videos" / name).read_bytes() == (whole / "videos" / name).read_bytes()


def test_the_last_film_is_named_by_inspect_shown_on_the_page_and_pushed_with_the_agent(filmed, capsys):
    main(["inspect", f"store:{filmed / 'all'}"])
    assert "0003.gif (and 2 of earlier evaluations)" in " ".join(capsys.readouterr().out.split())
    compare([filmed / "all"], filmed / "page")
    text = (filmed / "page" / "index.html").read_text()
    assert "How they play" in text and re.search(
        r"<details><summary>kickstart[^<]*evaluation 3[^<]*</summary><img ", text
    )
    write_folder(filmed / "all" / "agent", "me/agent", filmed / "pushed", {})
    last = (filmed / "all" / "videos" / "0003.gif").read_bytes()
    assert (filmed / "pushed" / "replay.gif").read_bytes() == last
    assert "![An episode of it](replay.gif)" in (filmed / "pushed" / "README.md").read_text()


def test_films_beyond_the_room_of_a_page_are_linked(filmed, monkeypatch):
    monkeypatch.setattr("reincarnate.report.films.ROOM", 100)
    compare([filmed / "all"], filmed / "linked")
    text = (filmed / "linked" / "index.html").read_text()
    assert "<img" not in text and '<a href="../all/videos/0003.gif">' in text


def test_games_on_grids_are_filmed_by_the_last_evaluation_alone(tmp_path):
    run = short_run(tmp_path, env=GAME, method=Scratch(), teacher=None, video="last")
    execute(run, tmp_path / "run")
    assert names(tmp_path / "run") == ["0003.gif"] == [path.name for path in videos_of(tmp_path / "run")]
    assert (tmp_path / "run" / "videos" / "0003.gif").stat().st_size < 100_000


@pytest.mark.parametrize("env", ["Memory/TMaze-v0", f"{GAME},MinAtar/Asterix-v1"])
def test_what_cannot_be_filmed_is_refused_before_anything_is_written(tmp_path, env):
    with pytest.raises(UserError, match=r"--video last: .*leave it off"):
        execute(short_run(tmp_path, env=env, method=Scratch(), teacher=None, video="last"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_student_is_played_beside_the_teacher_of_its_run(filmed, capsys):
    main(["play", str(filmed / "all"), "--beside", "teacher", "--longest", "5", "--gif", str(filmed / "both.gif")])
    assert f"py:{filmed / 'rule.py'}:lean: return" in capsys.readouterr().out
    with Image.open(filmed / "both.gif") as gif:
        assert gif.size[0] == 1208
    with pytest.raises(SystemExit):
        main(["play", "prior:minatar-breakout-dqn", "--beside", "teacher", "--gif", str(filmed / "x.gif")])
    assert "no run with a teacher" in capsys.readouterr().err
