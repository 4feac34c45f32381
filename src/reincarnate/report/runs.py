"""Finished runs, read from their directories."""

import itertools
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from reincarnate.errors import UserError
from reincarnate.files.finished import check_done
from reincarnate.files.records import Record, is_text, shown
from reincarnate.report.fields import NotFinite, finite, get, integer, number, optional, parse, read_record, read_text
from reincarnate.report.scales import on_one_scale
from reincarnate.report.statistics import Interval
from reincarnate.training.evaluate import RETURN

MOST_SECONDS = 1e10  # three centuries
KIND = "student.name"  # the setting that says what student it is
UNFINISHED, FAILED, NO_SCORE, NOT_BEGUN = "not finished", "failed", "no score", "not begun"


@dataclass(frozen=True)
class Missing:
    """A run that is not counted: its state, why, and what it would have been where that is known."""

    path: Path
    state: str
    reason: str = ""
    env: str = ""
    label: str = ""

    def would_be(self, env: str, label: str) -> bool:
        """Whether it belongs with the runs of this label, which may have been given a suffix that tells settings."""
        return self.env == env and (label == self.label or label.startswith(f"{self.label} ("))


@dataclass(frozen=True)
class Evaluation:
    """One evaluation on the way. `updates` counts from the run's start; offline, `env_steps` stays 0.

    `seconds` passed since training began, evaluations included: a seed's share where several were trained together.
    Older reports do not tell them.
    """

    phase: str  # "offline" or "online"
    env_steps: int
    updates: int
    score: float
    normalised: float | None
    seconds: float | None = None
    parts: tuple[float, ...] = ()  # of several tasks each one's score, raw; a report's own curves do not tell them


@dataclass(frozen=True)
class FinishedRun:
    """One finished run. `label` tells apart methods that share a name; `config` and `result` are as read.

    `normalised` is None where there is no teacher; `random` and `teacher` are the reference scores, raw, and `greedy`
    that of a sampling teacher's greedy play, where it was measured. `returns` are what the final episodes scored;
    `beside` is the final mean by the task's other measure, where it has two.
    """

    path: Path
    label: str
    method: str
    env: str
    seed: int
    env_steps: int
    updates: int
    offline_updates: int
    seconds: float
    score: float
    normalised: float | None
    returns: tuple[float, ...]
    random: Interval
    teacher: Interval | None
    greedy: Interval | None
    evaluations: tuple[Evaluation, ...]
    config: dict[str, Any]
    result: dict[str, Any]
    beside: tuple[str, float] | None = None

    @property
    def prior(self) -> dict[str, Any]:
        """Hashes of teacher and data, and the env steps in the data."""
        return self.result.get("prior") or {}


class Loaded(NamedTuple):
    """The finished runs found, and those that cannot be counted; `by_clock`: methods' budgets of env steps differ.

    `linked` are folders elsewhere that links among the runs lead to: these are passed over.
    """

    runs: list[FinishedRun]
    missing: list[Missing]
    by_clock: bool = False
    linked: tuple[Path, ...] = ()

    @property
    def unfinished(self) -> list[Path]:
        """The directories of those that have not finished."""
        return [run.path for run in self.missing if run.state != NO_SCORE]

    @property
    def note(self) -> str:
        """One line that names the runs and links left out; empty when there are none."""
        return "; ".join(filter(None, (left_out(self.missing), passed_over(self.linked))))


# ---- loading -----------------------------------------------------------------------------------------


def load_run(directory: Path) -> FinishedRun:
    """One finished run. Raises UserError if it is unfinished, incomplete, of another format or without score."""
    directory = Path(directory)
    if not (directory / "done").is_file():
        raise UserError(f"{directory} is not a finished run (no file 'done'): resume it, or leave it out")
    check_done(directory)
    config, result = read_record(directory / "config.json"), read_record(directory / "result.json")
    evaluations = _evaluations(directory / "metrics.jsonl")
    together = integer(result, "together", directory / "result.json") if "together" in result else 1
    shares = (e if e.seconds is None else replace(e, seconds=e.seconds / max(together, 1)) for e in evaluations)
    return made(directory, config, result, tuple(shares))


def made(
    directory: Path,
    config: dict[str, Any],
    result: dict[str, Any],
    evaluations: tuple[Evaluation, ...],
    label: str | None = None,
) -> FinishedRun:
    """A finished run of its records. UserError: they are not of their kinds."""
    where = directory / "result.json"
    method = _config(config, directory / "config.json")
    _result(result, where)
    beside = _beside(result, where)
    scored = "own" if beside and beside[0] == RETURN else "returns"
    return FinishedRun(
        path=directory,
        label=label or method,
        method=method,
        env=Record(result, where).text("env"),
        seed=integer(result, "seed", where),
        env_steps=integer(result, "env_steps", where),
        updates=integer(result, "updates", where),
        offline_updates=integer(result, "offline_updates", where),
        seconds=number(result, "seconds", where),
        score=number(result, "score", where),
        normalised=optional(result, "normalised", where),
        returns=tuple(finite(x, scored, where) for x in _list(result, scored, where)),
        random=_reference(result, "random", where),
        teacher=_reference(result, "teacher", where) if get(result, "reference.teacher", where) else None,
        greedy=_reference(result, "greedy", where) if result["reference"].get("greedy") else None,
        evaluations=evaluations,
        config=config,
        result=result,
        beside=beside,
    )


def load_runs(directories: Iterable[Path | str]) -> Loaded:
    """Every run in `directories`, each a run itself or a folder searched for runs; sorted, none twice.

    Runs of one method whose settings differ get labels that say how. A run that was given no teacher is put
    on the scale of the other runs of its task. Raises UserError if nothing has finished with a score.
    """
    places = [Path(directory) for directory in directories]
    searched = [_find(place) for place in places]
    found = {path.resolve(): path for paths, _ in searched for path in paths}
    linked = tuple(link for _, links in searched for link in links if not _within(link, places))
    runs, missing = [], []
    for path in [found[key] for key in sorted(found)]:
        if not (path / "done").is_file():
            missing.append(unfinished(path))
            continue
        try:
            runs.append(load_run(path))
        except NotFinite as error:
            missing.append(replace(unfinished(path), state=NO_SCORE, reason=str(error)))
    if not runs:
        raise UserError("no finished run to compare" + (f"; {left_out(missing)}" if missing else ""))
    return Loaded(on_one_scale(_label(runs)), missing, linked=linked)


def unfinished(path: Path) -> Missing:
    """A run that is not finished, with its reason where it failed."""
    reason, config = why_failed(path), {}
    with suppress(UserError):
        config = read_record(path / "config.json")
    method = config.get("method")
    label = config.get("label") or (method.get("name", "") if isinstance(method, dict) else "")
    state = UNFINISHED if reason is None else FAILED
    return Missing(path, state, reason or "", str(config.get("env", "")), str(label))


def why_failed(path: Path) -> str | None:
    """The reason in a run's `failed.json`, on one line; None where there is no such file."""
    if not (path / "failed.json").is_file():
        return None
    try:
        return " ".join(str(read_record(path / "failed.json").get("error")).split())
    except UserError as error:
        return str(error)


def by_env(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """The runs of each task, tasks in alphabetical order."""
    return {env: [run for run in runs if run.env == env] for env in sorted({run.env for run in runs})}


def by_label(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """The runs of each method, methods in alphabetical order."""
    labels = sorted({run.label for run in runs})
    return {label: [run for run in runs if run.label == label] for label in labels}


def is_normalised(runs: Sequence[FinishedRun]) -> bool:
    """All these runs have a score on a scale where the random policy is 0 and a teacher that is better is 1."""
    return all(run.normalised is not None and _has_scale(run) for run in runs)


def _has_scale(run: FinishedRun) -> bool:
    return run.teacher is None or run.teacher.point > run.random.point


def _find(directory: Path) -> tuple[list[Path], list[Path]]:
    """`directory` if it is a run, else the runs below, and links to folders, which are not followed.

    A run is not searched: its agent may look like one.
    """
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory")
    found, linked = [], []
    for folder, below, files in os.walk(directory):
        if "config.json" in files:
            found.append(Path(folder))
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))
        linked += [link for name in below if (link := Path(folder, name)).is_symlink()]
    if not found:
        more = f"; {passed_over(linked)}" if linked else ""
        raise UserError(f"no run in {directory}: nothing there or below holds a config.json{more}")
    return found, linked


def _within(link: Path, places: Sequence[Path]) -> bool:
    """Whether a link leads to what is searched anyway."""
    return any(link.resolve().is_relative_to(place.resolve()) for place in places)


def _reference(result: dict[str, Any], name: str, where: Path) -> Interval:
    mean, low, high = (number(result, f"reference.{name}.{key}", where) for key in ("mean", "low", "high"))
    return Interval(mean, low, high)


def _config(config: dict[str, Any], where: Path) -> str:
    """The method's name. UserError: what reports read of a run's settings is not of its kind."""
    record = Record(config, where)
    record.text("label", "")
    record.text("command", "")
    if record.get("student", None) is not None:
        record.record("student")
    return record.record("method").text("name")


def _result(result: dict[str, Any], where: Path) -> None:
    """UserError: what reports read of a result besides numbers is not of its kind."""
    record = Record(result, where)
    for name in ("prior", "protocol", "flops"):
        if record.get(name, None) is not None:
            record.record(name)
    plan = record.get("plan", [])
    if not isinstance(plan, list) or not all(map(is_text, plan)):
        raise record.refuse("plan", "a list of texts", plan)
    for name in ("protocol_hash", "machine"):
        record.text(name, "")


def _beside(result: dict[str, Any], where: Path) -> tuple[str, float] | None:
    """Of a task with a score of its own: the measure that is not the run's score, and its mean."""
    record = Record(result, where)
    if record.get("measures", None) is None:
        return None
    metric, measures = record.text("metric"), record.record("measures").value
    others = [name for name in measures if name != metric]
    if len(measures) != 2 or len(others) != 1:
        raise record.refuse("measures", f"{metric} and one more", measures)
    return others[0], number(measures[others[0]], "mean", where)


def references(runs: Sequence[FinishedRun]) -> tuple[Interval, Interval | None, Interval | None]:
    """What the runs of a task are measured against, raw: the random policy, the teacher, and its greedy play."""
    teacher = next((run.teacher for run in runs if run.teacher is not None), None)
    return runs[0].random, teacher, next((run.greedy for run in runs if run.greedy is not None), None)


def reference_beside(runs: Sequence[FinishedRun], who: str) -> tuple[str, float] | None:
    """What the teacher or the random policy scored by the measure that is not the runs' score."""
    for run in runs:
        told = run.result["reference"].get(who)
        if run.beside and told and "measures" in told:
            where, name = run.path / "result.json", run.beside[0]
            return name, number(told["measures"], f"{name}.mean", where)
    return None


def _list(record: dict[str, Any], field: str, where: Path) -> list[Any]:
    value = get(record, field, where)
    if not isinstance(value, list) or not value:
        raise UserError(f"{where}: {field} should be a list of numbers, not {shown(value)}")
    return value


def _evaluations(path: Path) -> tuple[Evaluation, ...]:
    lines = [(f"{path}:{i}", line) for i, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    records = [(where, parse(line, where)) for where, line in lines]
    return tuple(
        Evaluation(
            phase=str(get(record, "phase", where)),
            env_steps=integer(record, "env_steps", where),
            updates=integer(record, "updates", where),
            score=number(record, "score", where),
            normalised=optional(record, "normalised", where),
            seconds=seconds_of(record.get("seconds"), where),
            parts=_parts(record, where),
        )
        for where, record in records
        if record.get("kind") == "eval"
    )


def _parts(record: dict[str, Any], where: str) -> tuple[float, ...]:
    names = itertools.takewhile(record.__contains__, (f"score_{i}" for i in itertools.count()))
    return tuple(number(record, name, where) for name in names)


def seconds_of(value: Any, where: Path | str) -> float | None:
    """When an evaluation was; None where it does not say. UserError: no time that a run can have taken."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_SECONDS:
        raise UserError(f"{where}: seconds is {shown(value)}, not a time since training began")
    return float(value)


def _label(runs: list[FinishedRun]) -> list[FinishedRun]:
    """Runs of one method on one task, told apart by those settings that differ."""
    labelled = []
    for run in runs:
        if run.config.get("label"):
            labelled.append(replace(run, label=run.config["label"]))
            continue
        same = [other for other in runs if not other.config.get("label")]
        peers = [settings_of(other) for other in same if (other.method, other.env) == (run.method, run.env)]
        told = ", ".join(_told_apart(settings_of(run), peers))
        labelled.append(replace(run, label=f"{run.method} ({told})" if told else run.method))
    return labelled


def _told_apart(own: dict[str, Any], peers: list[dict[str, Any]]) -> list[str]:
    """What tells a run's settings from its peers': the kind of student, and what differs among those of its kind."""
    kind = own.get(KIND)
    alike = [peer for peer in peers if peer.get(KIND) == kind]
    keys = sorted({key for peer in alike for key in peer})
    differ = [key for key in keys if len({json.dumps(peer.get(key)) for peer in alike}) > 1]
    return [f"student {kind}"] * (len(alike) < len(peers)) + [f"{key}={own.get(key)}" for key in differ]


def settings_of(run: FinishedRun) -> dict[str, Any]:
    """A run's method, student and company, flat."""
    student = {f"student.{key}": value for key, value in (run.config.get("student") or {}).items()}
    told = {f"exchange.{key}": value for key, value in (run.config.get("exchange") or {}).items()}
    members = {"population": run.config["population"]} if "population" in run.config else {}
    return run.config["method"] | student | members | told


def left_out(missing: Sequence[Missing]) -> str:
    """One line that names the runs left out; empty when there are none."""
    parts = []
    for state in dict.fromkeys(run.state for run in missing):
        group = [run for run in missing if run.state == state]
        names = ", ".join(f"{run.path}{f' ({run.reason})' if run.reason else ''}" for run in group)
        parts.append(f"left out, {state} ({len(group)}): {names}")
    return "; ".join(parts)


def passed_over(linked: Sequence[Path]) -> str:
    """One line that names the links that were not followed; empty when there are none."""
    return f"links are not followed ({len(linked)}): {', '.join(map(str, linked))}" if linked else ""


def unscored(missing: Sequence[Missing], env: str, label: str) -> int:
    """How many runs of a method ended without a finite score: leaving these out flatters the method."""
    return sum(run.state == NO_SCORE and run.would_be(env, label) for run in missing)
