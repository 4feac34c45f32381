"""Scores of runs without a teacher, on the scale of those of their task that had one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reincarnate.files.records import Record
from reincarnate.report.fields import number
from reincarnate.training.evaluate import Scale

if TYPE_CHECKING:
    from reincarnate.report.runs import FinishedRun


def on_one_scale(runs: "list[FinishedRun]") -> "list[FinishedRun]":
    """Runs that were given no teacher too, where others of their task were."""
    taught = {run.env: run for run in runs if run.teacher is not None and run.normalised is not None}
    return [_scaled(run, taught[run.env]) if run.teacher is None and run.env in taught else run for run in runs]


def _scaled(run: "FinishedRun", taught: "FinishedRun") -> "FinishedRun":
    assert taught.teacher is not None
    if scales := _scales_of_tasks(taught):
        return _scaled_by_task(run, taught, scales)
    scale = Scale(run.random.point, taught.teacher.point)
    evaluations = tuple(replace(e, normalised=scale.normalise(e.score)) for e in run.evaluations)
    return replace(run, normalised=scale.normalise(run.score), teacher=taught.teacher, evaluations=evaluations)


def _scaled_by_task(run: "FinishedRun", taught: "FinishedRun", scales: Sequence[Scale]) -> "FinishedRun":
    """The mean of the tasks' normalised scores, as where there is a teacher; evaluations without them are left out."""

    def mean(scores: Sequence[float]) -> float:
        return sum(scale.normalise(score) for scale, score in zip(scales, scores, strict=True)) / len(scales)

    where = run.path / "result.json"
    final = [number(task, "score", where) for task in Record(run.result, where).record("tasks").value.values()]
    told = (replace(e, normalised=mean(e.parts)) if len(e.parts) == len(scales) else e for e in run.evaluations)
    evaluations = tuple(e for e in told if e.normalised is not None)
    return replace(run, normalised=mean(final), teacher=taught.teacher, evaluations=evaluations)


def _scales_of_tasks(taught: "FinishedRun") -> list[Scale]:
    """Of a run of several tasks each one's; empty of a run of one."""
    where = taught.path / "result.json"
    tasks = taught.result.get("tasks") or {}
    ends = [[number(task, f"reference.{who}.mean", where) for who in ("random", "teacher")] for task in tasks.values()]
    return [Scale(*pair) for pair in ends]
