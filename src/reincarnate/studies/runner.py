"""Running a study on this machine: processes of one torch thread each, at any kill resumable, failures recorded."""

import json
import multiprocessing
import os
import queue
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from reincarnate import report, ui
from reincarnate.errors import UserError
from reincarnate.files import FORMAT, read_json, write_json
from reincarnate.run import execute, prepare, prior_of, record, threads
from reincarnate.studies.matrix import Cell, Study

OF_ONE_RUN = ("seed", "student", "command", "versions")  # of a run's record: says nothing of its prior
POLL = 0.5  # seconds between looks at the workers' progress


def run_study(study: Study, out: Path, workers: int) -> list[report.Row]:
    """Do what is not done yet, then write the comparison into `out`. Returns its rows.

    Priors are made once, before any worker starts. Raises UserError when every run failed.
    """
    todo = [cell for cell in study.cells if not (out / cell.directory / "done").exists()]
    _same_settings(study, out)
    _make_priors(todo)
    failed = _run_all(study, todo, out, workers)
    for directory, reason in failed.items():
        ui.note(f"warning: {directory} failed: {reason}")
    done = [out / cell.directory for cell in study.cells if (out / cell.directory / "done").exists()]
    if not done:
        raise UserError(f"no run of the study in {out} is finished")
    rows = report.compare(done, out, tell=ui.note)
    ui.console.print(report.as_rich(rows))
    ui.console.print(f"page: {out / 'index.html'}", highlight=False)
    return rows


def _same_settings(study: Study, out: Path) -> None:
    """A directory that holds another run under the same name would be mistaken for this study's."""
    for cell in study.cells:
        config = out / cell.directory / "config.json"
        if config.exists():
            found = read_json(config)
            asked = json.loads(json.dumps(record(cell.run)))
            for key in asked:
                if key not in ("versions", "command") and found.get(key) != asked[key]:
                    where = out / cell.directory
                    raise UserError(f"{where} has {key} = {found.get(key)!r}, the study {asked[key]!r}; move it away")


def _make_priors(cells: list[Cell]) -> None:
    seen: set[str] = set()
    with ui.Bars() as tick:
        for cell in cells:
            key = json.dumps({k: v for k, v in record(cell.run).items() if k not in OF_ONE_RUN})
            if key not in seen:
                seen.add(key)
                prepared = prepare(cell.run)
                torch.set_num_threads(threads(cell.run, prepared.spec))
                prior_of(prepared, tick)


def _run_all(study: Study, todo: list[Cell], out: Path, workers: int) -> dict[str, str]:
    """Returns the reasons of those that failed."""
    if not todo:
        return {}
    context = multiprocessing.get_context("spawn")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with context.Manager() as manager, ProcessPoolExecutor(workers, mp_context=context) as pool:
        ticks = manager.Queue()
        futures = {pool.submit(work, cell, out, ticks): cell for cell in todo}
        try:
            return _watch(study, futures, ticks, len(study.cells) - len(todo))
        except KeyboardInterrupt:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _watch(study: Study, futures: dict[Future[str | None], Cell], ticks: Any, before: int) -> dict[str, str]:
    failed: dict[str, str] = {}
    pending, parts = set(futures), {}
    with _bars() as bars:
        task = bars.add_task(study.title, total=len(futures) + before, completed=before, left="")
        while pending:
            finished, pending = wait(pending, timeout=POLL, return_when=FIRST_COMPLETED)
            for future in finished:
                name = str(futures[future].directory)
                parts[name] = 1.0
                reason = repr(future.exception()) if future.exception() else future.result()
                if reason:
                    failed[name] = reason
            _drain(ticks, parts)
            done = sum(parts.values())
            elapsed = bars.tasks[0].elapsed or 0.0
            left = elapsed * (len(futures) - done) / done if done > 0.05 else None
            bars.update(task, completed=before + done, left=f"{left / 60:.1f} min left" if left is not None else "")
            if finished:
                ui.plain(f"{study.title}: {before + int(done)} of {len(futures) + before} runs")
    return failed


def _drain(ticks: Any, parts: dict[str, float]) -> None:
    while True:
        try:
            name, part = ticks.get_nowait()
        except queue.Empty:
            return
        parts[name] = max(part, parts.get(name, 0.0))


def _bars() -> Progress:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed:.1f}/{task.total:.0f} runs"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    return Progress(*columns, console=ui.errors, disable=not ui.errors.is_terminal)


def work(cell: Cell, out: Path, ticks: Any) -> str | None:
    """One run, in a process of its own. Returns why it failed, or None; the reason also lies in `failed.json`."""
    directory = out / cell.directory
    phases = cell.run.phases()
    total = sum(phase.updates + phase.env_steps for phase in phases)
    before = {phase.name: sum(p.updates + p.env_steps for p in phases[:i]) for i, phase in enumerate(phases)}

    def tick(what: str, done: int, of: int) -> None:
        name = what.split()[0]
        if name in before:
            ticks.put((str(cell.directory), 0.99 * (before[name] + done) / total))

    return _attempt(cell, directory, tick)


def _attempt(cell: Cell, directory: Path, tick: Callable[[str, int, int], None]) -> str | None:
    (directory / "failed.json").unlink(missing_ok=True)
    try:
        execute(cell.run, directory, resume=(directory / "config.json").exists(), tick=tick)
    except Exception as error:
        trace = traceback.format_exc()
        if directory.exists():
            write_json(directory / "failed.json", {"format": FORMAT, "error": str(error), "traceback": trace})
        return f"{type(error).__name__}: {error}"
    return None
