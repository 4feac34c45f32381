"""Finished runs, read from their directories, and the refusal to compare what is not comparable."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from reincarnate.errors import UserError
from reincarnate.evaluate import Scale
from reincarnate.report.reading import finite, get, integer, number, optional, parse, read_record, read_text
from reincarnate.report.statistics import Interval


@dataclass(frozen=True)
class Evaluation:
    """One evaluation on the way. `updates` counts from the run's start; offline, `env_steps` stays 0."""

    phase: str  # "offline" or "online"
    env_steps: int
    updates: int
    score: float
    normalised: float | None


@dataclass(frozen=True)
class FinishedRun:
    """One finished run. `label` tells apart methods that share a name; `config` and `result` are as read.

    `normalised` is None where there is no teacher; `random` and `teacher` are the reference scores, raw.
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
    evaluations: tuple[Evaluation, ...]
    config: dict[str, Any]
    result: dict[str, Any]

    @property
    def prior(self) -> dict[str, Any]:
        """Hashes of teacher and data, and the env steps in the data."""
        return self.result.get("prior") or {}


class Loaded(NamedTuple):
    """The finished runs found, and the directories of those that have not finished."""

    runs: list[FinishedRun]
    unfinished: list[Path]

    @property
    def note(self) -> str:
        """One line that names the unfinished runs; empty when there are none."""
        names = ", ".join(map(str, self.unfinished))
        return f"left out, not finished ({len(self.unfinished)}): {names}" if names else ""


# ---- loading -----------------------------------------------------------------------------------------


def load_run(directory: Path) -> FinishedRun:
    """One finished run. Raises UserError if it is unfinished, incomplete, of another format or without score."""
    directory = Path(directory)
    if not (directory / "done").is_file():
        raise UserError(f"{directory} is not a finished run (no file 'done'): resume it, or leave it out")
    config, result = read_record(directory / "config.json"), read_record(directory / "result.json")
    where = directory / "result.json"
    method = str(get(config, "method.name", directory / "config.json"))
    return FinishedRun(
        path=directory,
        label=method,
        method=method,
        env=str(get(result, "env", where)),
        seed=integer(result, "seed", where),
        env_steps=integer(result, "env_steps", where),
        updates=integer(result, "updates", where),
        offline_updates=integer(result, "offline_updates", where),
        seconds=number(result, "seconds", where),
        score=number(result, "score", where),
        normalised=optional(result, "normalised", where),
        returns=tuple(finite(x, "returns", where) for x in get(result, "returns", where)),
        random=_reference(result, "random", where),
        teacher=_reference(result, "teacher", where) if get(result, "reference.teacher", where) else None,
        evaluations=_evaluations(directory / "metrics.jsonl"),
        config=config,
        result=result,
    )


def load_runs(directories: Iterable[Path | str]) -> Loaded:
    """Every run in `directories`, each a run itself or a folder searched for runs; sorted, none twice.

    Runs of one method whose settings differ get labels that say how. A run that was given no teacher is put
    on the scale of the other runs of its task. Raises UserError if nothing has finished.
    """
    found = {path.resolve(): path for directory in directories for path in _find(Path(directory))}
    paths = [found[key] for key in sorted(found)]
    finished = [path for path in paths if (path / "done").is_file()]
    unfinished = [path for path in paths if path not in finished]
    if not finished:
        stuck = f"; not finished: {', '.join(map(str, unfinished))}" if unfinished else ""
        raise UserError(f"no finished run to compare{stuck}")
    return Loaded(_normalise(_label([load_run(path) for path in finished])), unfinished)


def by_env(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """The runs of each task, tasks in alphabetical order."""
    return {env: [run for run in runs if run.env == env] for env in sorted({run.env for run in runs})}


def by_label(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """The runs of each method, methods in alphabetical order."""
    labels = sorted({run.label for run in runs})
    return {label: [run for run in runs if run.label == label] for label in labels}


def is_normalised(runs: Sequence[FinishedRun]) -> bool:
    """All these runs have a score on the scale where the random policy is 0 and the teacher 1."""
    return all(run.normalised is not None for run in runs)


def _find(directory: Path) -> list[Path]:
    """`directory` if it is a run, else the runs below. A run is not searched: its agent may look like one."""
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory")
    found = []
    for folder, below, files in os.walk(directory):
        if "config.json" in files:
            found.append(Path(folder))
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))
    if not found:
        raise UserError(f"no run in {directory}: nothing there or below holds a config.json")
    return found


def _reference(result: dict[str, Any], name: str, where: Path) -> Interval:
    mean, low, high = (number(result, f"reference.{name}.{key}", where) for key in ("mean", "low", "high"))
    return Interval(mean, low, high)


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
        )
        for where, record in records
        if record.get("kind") == "eval"
    )


def _label(runs: list[FinishedRun]) -> list[FinishedRun]:
    """Runs of one method on one task, told apart by those settings that differ."""
    labelled = []
    for run in runs:
        if run.config.get("label"):
            labelled.append(replace(run, label=run.config["label"]))
            continue
        same = [other for other in runs if not other.config.get("label")]
        peers = [_settings(other) for other in same if (other.method, other.env) == (run.method, run.env)]
        keys = sorted({key for peer in peers for key in peer})
        differ = [key for key in keys if len({json.dumps(peer.get(key)) for peer in peers}) > 1]
        told = ", ".join(f"{key}={_settings(run).get(key)}" for key in differ)
        labelled.append(replace(run, label=f"{run.method} ({told})" if told else run.method))
    return labelled


def _settings(run: FinishedRun) -> dict[str, Any]:
    student = {f"student.{key}": value for key, value in (run.config.get("student") or {}).items()}
    return run.config["method"] | student


def _normalise(runs: list[FinishedRun]) -> list[FinishedRun]:
    scale = {run.env: run.teacher for run in runs if run.teacher is not None and run.normalised is not None}
    return [_scaled(run, scale.get(run.env)) if run.teacher is None else run for run in runs]


def _scaled(run: FinishedRun, teacher: Interval | None) -> FinishedRun:
    if teacher is None:
        return run
    scale = Scale(run.random.point, teacher.point)
    evaluations = tuple(replace(e, normalised=scale.normalise(e.score)) for e in run.evaluations)
    return replace(run, normalised=scale.normalise(run.score), teacher=teacher, evaluations=evaluations)


# ---- refusing to mix ---------------------------------------------------------------------------------

_HELD_EQUAL: dict[str, Callable[[FinishedRun], Any]] = {
    "protocol_hash": lambda run: run.result.get("protocol_hash"),
    "env_steps": lambda run: run.env_steps,
    "eval_episodes": lambda run: run.config.get("eval_episodes"),
    "prior.teacher": lambda run: run.prior.get("teacher"),
    "prior.data": lambda run: run.prior.get("data"),
    "reference.random": lambda run: run.result["reference"]["random"],
    "reference.teacher": lambda run: run.result["reference"]["teacher"],
}
_MAY_LACK = {"prior.teacher", "prior.data", "reference.teacher"}


def check_comparable(runs: Sequence[FinishedRun]) -> None:
    """Nothing, if runs of one task differ only in method, student and seed; else UserError says in what more.

    Held equal: the environment's protocol, the budget of env steps, the evaluation episodes, the hashes of
    teacher and data, and the reference scores. A run without a teacher or without data goes with any. A seed
    that one method ran twice is refused too: a copy is not an independent run.
    """
    for group in by_env(runs).values():
        for key in sorted({key for run in group for key in run.result.get("protocol") or {}}):
            _refuse(group, f"protocol.{key}", lambda run, key=key: (run.result.get("protocol") or {}).get(key))
        for field, value in _HELD_EQUAL.items():
            _refuse([run for run in group if value(run) is not None or field not in _MAY_LACK], field, value)
        _refuse_copies(group)


def _refuse(runs: list[FinishedRun], field: str, value: Callable[[FinishedRun], Any]) -> None:
    seen: dict[str, FinishedRun] = {}
    for run in runs:
        seen.setdefault(json.dumps(value(run), sort_keys=True), run)
    if len(seen) > 1:
        each = "; ".join(f"{text} in {run.path}" for text, run in seen.items())
        raise UserError(f"these runs of {runs[0].env} cannot be compared, {field} differs: {each}")


def _refuse_copies(runs: list[FinishedRun]) -> None:
    seen: dict[tuple[str, int], FinishedRun] = {}
    for run in runs:
        first = seen.setdefault((run.label, run.seed), run)
        if first is not run:
            both = f"{first.path} and {run.path}"
            raise UserError(f"seed {run.seed} of {run.label} on {run.env} is there twice, leave one out: {both}")
