"""A page that follows runs while they go on, and what is said of budgets and teachers before they do."""

import json
import math
import os
from dataclasses import replace

import pytest
from test_compare import fake_run

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.methods import METHODS, Scratch
from reincarnate.run.budget import budget_remarks
from reincarnate.run.settings import Run
from reincarnate.students import DQN, PPO
from reincarnate.studies.live import PAGE, watch, write_live
from reincarnate.studies.overview import report_study


def test_a_page_is_not_written_every_never(tmp_path):
    for every in (0.5, math.nan, math.inf):
        with pytest.raises(UserError, match="--every must be at least 1 second"):
            watch(tmp_path, every, True, print)


def test_the_page_of_one_run_stands_beside_it(tmp_path):
    run = fake_run(tmp_path, "scratch", 0)
    before = sorted(run.iterdir())
    page = watch(run, 30.0, True, lambda _: None)
    assert page == run.with_name(f"{run.name}-{PAGE}") and "Final scores" in page.read_text()
    assert sorted(run.iterdir()) == before


def test_the_live_page_reloads_itself_until_every_run_is_done(tmp_path):
    fake_run(tmp_path, "scratch", 0)
    going = fake_run(tmp_path, "qdagger", 0, done=False)
    (going / "metrics.jsonl").write_text(
        json.dumps({"kind": "eval", "phase": "online", "env_steps": 4321, "score": -80.5}) + "\n"
    )
    assert write_live(tmp_path, tmp_path / PAGE, 7.0) == 1
    text = (tmp_path / PAGE).read_text()
    assert 'http-equiv="refresh" content="7"' in text and "4,321" in text and "-80.5" in text
    assert "How far they are" in text and "Final scores" in text
    fake_run(tmp_path / "more", "qdagger", 0)
    (going / "done").write_text("")
    for file in going.iterdir():
        file.unlink()
    going.rmdir()
    assert write_live(tmp_path, tmp_path / PAGE, 7.0) == 0
    assert "refresh" not in (tmp_path / PAGE).read_text()


STRANGE = ('{"a": 1}', "null", "[1]", "true", "1" + "0" * 400)
"""What is neither a count, nor a number, nor a name."""


@pytest.mark.parametrize("lines", [
    *([f'{{"{key}": {value}}}' for key in ("env_steps", "score", "return", "phase")] for value in STRANGE),
    ['{"env_steps": "x"}', '{"env_steps": -3}', '{"score": "x"}', "[" * 3000, "3", "{", '{"score": 1, "score": 2}'],
])  # fmt: skip
def test_metrics_that_are_not_of_their_kind_are_left_out_of_the_live_page(lines, tmp_path):
    going = fake_run(tmp_path, "qdagger", 0, done=False)
    sound = {"phase": "online", "env_steps": 4321, "score": -80.5, "return": math.nan}
    (going / "metrics.jsonl").write_text("\n".join([json.dumps(sound), *lines]) + "\n")
    assert write_live(tmp_path, tmp_path / PAGE, 7.0) == 1
    text = (tmp_path / PAGE).read_text()
    assert all(f"<td>{told}</td>" in text for told in ("online", "4,321", "-80.5", "nan"))


def test_a_pipe_or_a_link_out_of_a_run_is_nothing_to_show(tmp_path):
    going = fake_run(tmp_path / "runs", "qdagger", 0, done=False)
    (tmp_path / "secret.jsonl").write_text('{"phase": "SECRET", "env_steps": 7777}\n')
    for make in (os.mkfifo, lambda path: path.symlink_to(tmp_path / "secret.jsonl"), os.mkdir):
        (going / "metrics.jsonl").unlink()
        make(going / "metrics.jsonl")
        assert write_live(tmp_path / "runs", tmp_path / PAGE, 7.0) == 1
        text = (tmp_path / PAGE).read_text()
        assert "not begun" in text and "SECRET" not in text and "7,777" not in text


def test_the_live_page_of_a_study_by_the_clock_shows_methods_of_different_budgets(tmp_path):
    runs = []
    for method, steps in (("scratch", 20_000), ("kickstart", 40_000)):
        path = fake_run(tmp_path, method, result={"env_steps": steps})
        runs.append({"directory": path.name, "env": "Acrobot-v1", "label": method, "seed": 0})
    study = {"format": 1, "kind": "study", "title": "Two budgets", "pins": {}, "runs": runs}
    for settings, shown in (({"by_clock": True}, True), ({}, False)):
        (tmp_path / "study.json").write_text(json.dumps(study | {"settings": settings}))
        if shown:
            write_live(tmp_path, tmp_path / PAGE, 7.0)
            assert "by seconds" in (tmp_path / PAGE).read_text()
        else:
            with pytest.raises(UserError, match="env_steps differs"):
                write_live(tmp_path, tmp_path / PAGE, 7.0)
    (tmp_path / "study.json").write_text(json.dumps(study | {"settings": [1]}))
    with pytest.raises(UserError, match="settings should be an object"):
        report_study(tmp_path)


def test_before_anything_is_finished_the_page_says_so(tmp_path, capsys):
    fake_run(tmp_path, "qdagger", 0, done=False)
    main(["watch", str(tmp_path), "--once"])
    assert "open" in capsys.readouterr().err
    assert "How far they are" in (tmp_path / PAGE).read_text()
    with pytest.raises(UserError, match="is not a directory"):
        write_live(tmp_path / "nothing", tmp_path / "x.html", 5.0)


def test_a_budget_that_exploration_or_warm_up_would_eat_is_told_with_what_to_say():
    run = Run("CartPole-v1", Scratch(), DQN(epsilon_steps=10_000, warmup=1_000), env_steps=3_000)
    explores, waits = budget_remarks(run)
    assert "--student.epsilon-steps 600" in explores and "--student.warmup 300" in waits
    assert not budget_remarks(replace(run, env_steps=50_000))
    (waits,) = budget_remarks(replace(run, method=METHODS["finetune"](), weights="store:x"))  # it need not explore
    assert "nothing is learnt in the first 1,000 of 3,000 env steps" in waits


def test_a_rollout_that_evaluations_would_cut_is_told_with_what_to_say():
    run = Run("CartPole-v1", Scratch(), PPO(), env_steps=4_000, evaluations=8)
    (cut,) = budget_remarks(run)
    assert "much is not learnt from: a rollout is 2,048 env steps, and evaluations are 500 apart" in cut
    assert "--student.rollout 16" in cut and not budget_remarks(replace(run, student=PPO(rollout=16)))
    (nothing,) = budget_remarks(replace(run, env_steps=2_000, evaluations=1))
    assert nothing.startswith("nothing is learnt: ")
