"""Running a study: checked, pinned, done by a backend, resumable at any kill, failures recorded, then reported."""

import json
from pathlib import Path

import torch

from reincarnate import report, ui
from reincarnate.errors import UserError
from reincarnate.files.lock import Lock
from reincarnate.files.records import load_record
from reincarnate.run.prepare import Prepared, prepare, prior_of, threads
from reincarnate.run.settings import record
from reincarnate.studies.executors import Executor, LocalProcesses
from reincarnate.studies.matrix import Cell, Study
from reincarnate.studies.overview import report_study
from reincarnate.studies.pins import Pinned
from reincarnate.studies.progress import Watch
from reincarnate.studies.units import groups, note_failure

OF_ONE_RUN = ("seed", "student", "command", "versions")  # of a run's record: says nothing of its prior


def run_study(study: Study, out: Path, workers: int = 2, executor: Executor | None = None) -> list[report.Row]:
    """Do what is not done yet, by `executor` or else in processes here; then write the report into `out`.

    Priors are checked against their pins and made once, before any worker starts. Returns the report's rows. Raises
    UserError where a prior has changed since the study began, where the study is being run already, and when every
    run failed.
    """
    lock = Lock(out) if out.exists() else None
    try:
        return _run(study, out, workers, executor)
    finally:
        if lock:
            lock.remove()
            lock.release()


def _run(study: Study, out: Path, workers: int, executor: Executor | None) -> list[report.Row]:
    todo = [cell for cell in study.cells if not (out / cell.directory / "done").exists()]
    _same_settings(study, out)
    pinned = Pinned(out)
    for cell in study.cells:
        if cell not in todo:
            pinned.adopt(cell.run, out / cell.directory)
    _make_priors(todo, pinned)
    pinned.write(study)
    units = groups(todo)
    failed = {}
    if units:
        with Watch(study.title, units, len(study.cells) - len(todo)) as watch:
            failed = (executor or LocalProcesses(workers))(units, out, watch)
    for directory, reason in failed.items():
        if not (out / directory / "failed.json").exists():
            note_failure(out / directory, reason)
    return report_study(out)


def _same_settings(study: Study, out: Path) -> None:
    """A directory that holds another run under the same name would be mistaken for this study's."""
    for cell in study.cells:
        config = out / cell.directory / "config.json"
        if config.exists():
            found = load_record(config)
            asked = json.loads(json.dumps(record(cell.run)))
            for key in asked:
                if key not in ("versions", "command") and found.get(key) != asked[key]:
                    where = out / cell.directory
                    raise UserError(f"{where} has {key} = {found.get(key)!r}, the study {asked[key]!r}; move it away")


def _make_priors(cells: list[Cell], pinned: Pinned) -> None:
    """Teachers and weights are all looked at before the first data is collected."""
    prepared = _apart(cells)
    for one in prepared:
        pinned.check(one)
    with ui.Bars() as tick:
        for one in prepared:
            torch.set_num_threads(threads(one.run, one.spec))
            _, data = prior_of(one, tick)
            pinned.check_data(one, data)


def _apart(cells: list[Cell]) -> list[Prepared]:
    """One prepared run for each prior."""
    keys: dict[str, Cell] = {}
    for cell in cells:
        keys.setdefault(json.dumps({k: v for k, v in record(cell.run).items() if k not in OF_ONE_RUN}), cell)
    return [prepare(cell.run) for cell in keys.values()]
