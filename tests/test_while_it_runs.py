"""What a run tells while it trains: points between barriers, loggers, the progress line, and when it has done enough."""

import csv
import json
import sys
import types

import pytest

from reincarnate.errors import UserError
from reincarnate.methods import Scratch
from reincarnate.run.execute import execute
from reincarnate.run.settings import Run, check_settings, from_record, record
from reincarnate.run.stopping import stopping
from reincarnate.run.ticker import words
from reincarnate.students import DQN

TINY = {"evaluations": 2, "eval_episodes": 2, "final_episodes": 2, "reference_episodes": 2}


def small_run(place, **changes):
    student = DQN(hidden=(8,), warmup=20, batch_size=8, epsilon_steps=100)
    return Run("CartPole-v1", Scratch(), student, store=str(place / "store"), **{**TINY, "env_steps": 800, **changes})


class Service(types.ModuleType):
    """Stands in for a tracking service's package, and writes down what it is asked to do."""

    def __init__(self, name, calls):
        types.ModuleType.__init__(self, name)
        self.__spec__ = types.SimpleNamespace()  # pyright: ignore
        self._calls = calls

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self._calls.append((name, args, kwargs))


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A run with every logger: its folder, what the services heard, and the words beside its progress bar."""
    place, calls, said = tmp_path_factory.mktemp("told"), {name: [] for name in ("wandb", "trackio", "mlflow")}, []

    class Tick:
        said = ""

        def __call__(self, what, done, total):
            said.append(self.said)

    with pytest.MonkeyPatch.context() as patch:
        for name, heard in calls.items():
            patch.setitem(sys.modules, name, Service(name, heard))
        run = small_run(place, log="tensorboard,csv,wandb,trackio,mlflow")
        assert from_record(record(run)) == run
        execute(run, place / "run", tick=Tick())
    return place / "run", calls, said


def test_points_between_barriers_hold_returns_losses_and_diagnostics(told):
    lines = [json.loads(line) for line in (told[0] / "metrics.jsonl").read_text().splitlines()]
    points = [line for line in lines if line["kind"] == "point"]
    assert [line["env_steps"] for line in points] == [100, 200, 300, 500, 600, 700]
    for line in points:
        assert line["return"] > 0 and line["episodes"] > 0 and line["loss_td"] > 0
        assert {"entropy", "grad_td", "weight"} <= line.keys()
    reports = [line for line in lines if line["kind"] == "train"]
    assert sum(line["episodes"] for line in points) <= sum(line["episodes"] for line in reports)


def test_every_logger_is_told_the_same_numbers_and_ended(told):
    run, calls, _ = told
    with open(run / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["value"]) for row in rows if row["name"] == "score"]
    for name, log, end in [
        ("wandb", "log", "finish"),
        ("trackio", "log", "finish"),
        ("mlflow", "log_metrics", "end_run"),
    ]:
        heard = [args[0] for what, args, _ in calls[name] if what == log]
        assert [found["eval/score"] for found in heard if "eval/score" in found] == scores
        steps = [more["step"] for what, _, more in calls[name] if what == log]
        assert steps == sorted(steps) and calls[name][-1][0] == end
    assert list((run / "tb").glob("events*"))


def test_the_progress_line_says_score_return_loss_and_speed(told):
    assert any("score" in said for said in told[2])  # the run may be over before its speed is known
    latest = {"score": 3.0, "return": 2.0, "weight": 0.5, "agreement_teacher": 0.25, "loss_td": 0.125}
    expected = "score 3, return 2, λ 0.5, agrees 25%, loss td 0.125, 1,000 env steps/s"
    assert words(latest, 1000.0, "env steps") == expected


def test_an_unknown_logger_and_one_that_is_not_installed_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="known, several by commas: tensorboard, csv"):
        check_settings(small_run(tmp_path, log="tensorbord"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'reincarnate\[wandb\]'"):
        check_settings(small_run(tmp_path, log="csv,wandb"))


@pytest.mark.parametrize(
    ("asked", "scores", "expected"),
    [
        ("score=5", [1, 4], False),
        ("score=5", [6, 5], True),
        ("plateau=2", [1, 3, 2], False),  # nothing came before the last two but 1
        ("plateau=2", [3, 1, 3], True),
        ("plateau=2", [3, 1], False),
    ],
)
def test_when_scores_are_enough(asked, scores, expected):
    stop = stopping(asked)
    assert stop is not None and stop(scores, []) is expected


def test_normalised_scores_need_a_teacher_and_nonsense_is_refused():
    assert stopping("normalised=0.5")([0], [0.6]) is True  # pyright: ignore
    for asked in ("normalised=1", "score=x", "loss=1", "plateau=0", "plateau=1.5", "score", "score=nan", "score=inf"):
        with pytest.raises(UserError, match="stop-at"):
            stopping(asked, teacher=False)


def test_a_run_that_has_done_enough_ends_whole_before_its_budget(tmp_path):
    result = execute(small_run(tmp_path, stop_at="score=1"), tmp_path / "run")
    assert result["env_steps"] == 400 and result["stopped"] == "score=1"
    assert (tmp_path / "run/done").exists() and (tmp_path / "run/agent/agent.json").exists()
