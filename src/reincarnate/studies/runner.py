"""Running a study: checked, pinned, done by a backend, resumable at any kill, failures recorded, then reported."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from reincarnate import report, ui
from reincarnate.errors import UserError
from reincarnate.files.atomic import disk_errors
from reincarnate.files.finished import refuse_inside_a_run
from reincarnate.files.lock import Lock
from reincarnate.files.records import load_record
from reincarnate.files.regular import refuse_links, within
from reincarnate.run.prepare import Prepared, measure_priors, prepare_all, threads
from reincarnate.run.settings import from_record, record
from reincarnate.studies.executors import Executor, LocalProcesses, refuse_starting_up
from reincarnate.studies.matrix import Study
from reincarnate.studies.overview import report_study
from reincarnate.studies.pins import FILE, Pinned
from reincarnate.studies.progress import Watch
from reincarnate.studies.search import folders, search_of, searched
from reincarnate.studies.units import groups, note_failure

OF_ONE_RUN = ("seed", "student", "command", "versions")  # of a run's record: says nothing of its prior


def run_study(
    study: Study, out: Path, workers: int = 2, executor: Executor | None = None, quiet: bool = False
) -> list[report.Row]:
    """Do what is not done yet, by `executor` or else in processes here; then write the report into `out`.

    Priors are checked against their pins and made once, before any worker starts. Returns the report's rows, and
    prints them unless `quiet`. Raises UserError where a prior has changed since the study began, where the study is
    being run already, and when every run failed.
    """
    refuse_starting_up()
    refuse_inside_a_run(out)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    lock = Lock(out)  # also in a folder that is new: two that begin at once would share it
    try:
        _run(study, out, workers, executor)
        return report_study(out, quiet=quiet)
    finally:
        lock.remove()
        lock.release()
        with suppress(OSError):  # not empty, as it should be: something came of it
            out.rmdir()


def _run(study: Study, out: Path, workers: int, executor: Executor | None) -> None:
    search = search_of(study)
    _refuse_links(study, out, folders(study, search) if search else [])
    pinned = Pinned(out)
    if search:
        for one in _prepared(study):
            pinned.check(one)
        study, pinned.found = searched(study, search, out)
    todo = [cell for cell in study.cells if not (out / cell.directory / "done").exists()]
    _same_settings(study, out)
    for cell in study.cells:
        if cell not in todo:
            pinned.adopt(cell.run, out / cell.directory)
    prepared = [p for cell, p in zip(study.cells, _prepared(study), strict=True) if cell in todo]
    _make_priors(prepared, pinned)
    pinned.write(study)
    units = groups(todo, prepared)
    failed = {}
    if units:
        with Watch(study.title, units, len(study.cells) - len(todo)) as watch:
            failed = (executor or LocalProcesses(workers))(units, out, watch)
    for directory, reason in failed.items():
        if not (out / directory / "failed.json").exists():
            note_failure(out / directory, reason)


def _refuse_links(study: Study, out: Path, searches: Sequence[Path]) -> None:
    """UserError where a folder that runs are written to, or one above it, leads out of the study's."""
    written = [FILE]
    for folder in (*(cell.directory for cell in study.cells), *searches):
        written += [
            str(part) for part in (folder, *folder.parents[:-1], folder / "config.json", folder / "failed.json")
        ]
    refuse_links(out, dict.fromkeys(written))


def _same_settings(study: Study, out: Path) -> None:
    """A directory that holds another run under the same name would be mistaken for this study's."""
    for cell in study.cells:
        config = within(out / cell.directory, "config.json")
        if config.exists():
            found, asked = load_record(config), json.loads(json.dumps(record(cell.run)))
            if _differing(found, asked):  # it may be older than a setting
                found = _of_today(found)
            if told := _differing(found, asked):
                name, has, wanted = told
                raise UserError(f"{out / cell.directory} has {name} = {has!r}, the study {wanted!r}; move it away")


def _differing(found: dict[str, Any], asked: dict[str, Any], owner: str = "") -> tuple[str, Any, Any] | None:
    """The first setting that a run has otherwise than is asked for: its name, what the run has, what is asked for."""
    keys = (key for key in asked if owner or key not in ("versions", "command"))
    for key in keys:
        has, wanted = found.get(key), asked[key]
        if has == wanted:
            continue
        inner = None
        if isinstance(has, dict) and isinstance(wanted, dict):
            inner = _differing(has, wanted, f"{owner}{key}.")
        return inner or (f"{owner}{key}", has, wanted)
    return None


def _of_today(config: dict[str, Any]) -> dict[str, Any]:
    """A run's record with the settings that have come since, at what could not be chosen then."""
    try:
        return json.loads(json.dumps(record(from_record(config))))
    except UserError:  # of names that are not known here: as it stands
        return config


def _prepared(study: Study) -> list[Prepared]:
    """Every run of a study, opened once: by whoever read its file, or here."""
    return list(study.prepared) or prepare_all([cell.run for cell in study.cells])


def _make_priors(prepared: list[Prepared], pinned: Pinned) -> None:
    """Teachers and weights are all looked at before the first data is collected."""
    apart = {json.dumps({k: v for k, v in record(p.run).items() if k not in OF_ONE_RUN}): p for p in reversed(prepared)}
    for one in reversed(apart.values()):
        pinned.check(one)
    with ui.Bars() as tick:
        for one in reversed(apart.values()):
            torch.set_num_threads(threads(one.run, one.spec))
            measured = measure_priors(one, tick, lambda _: None)
            pinned.check_data(measured)
