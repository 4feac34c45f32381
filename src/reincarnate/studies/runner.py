"""Running a study on this machine: processes of one torch thread each, at any kill resumable, failures recorded."""

import json
import multiprocessing
import os
import queue
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from reincarnate import report, ui
from reincarnate.assembly import prior_of, threads
from reincarnate.errors import UserError
from reincarnate.execution import execute, execute_together, gains
from reincarnate.files import FORMAT, read_json, write_json
from reincarnate.run import prepare, record
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
        futures = {pool.submit(work, group, out, ticks): group for group in groups(todo)}
        try:
            return _watch(study, futures, ticks, len(study.cells) - len(todo))
        except KeyboardInterrupt:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _watch(study: Study, futures: dict[Future[dict[str, str]], list[Cell]], ticks: Any, before: int) -> dict[str, str]:
    failed: dict[str, str] = {}
    todo = sum(map(len, futures.values()))
    pending, parts = set(futures), {}
    with _bars() as bars:
        task = bars.add_task(study.title, total=todo + before, completed=before, left="")
        while pending:
            finished, pending = wait(pending, timeout=POLL, return_when=FIRST_COMPLETED)
            for future in finished:
                names = [str(cell.directory) for cell in futures[future]]
                parts |= dict.fromkeys(names, 1.0)
                broken = future.exception()
                failed |= dict.fromkeys(names, repr(broken)) if broken else future.result()
            _drain(ticks, parts)
            done = sum(parts.values())
            elapsed = bars.tasks[0].elapsed or 0.0
            left = elapsed * (todo - done) / done if done > 0.05 else None
            bars.update(task, completed=before + done, left=f"{left / 60:.1f} min left" if left is not None else "")
            if finished:
                ui.plain(f"{study.title}: {before + int(done)} of {todo + before} runs")
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


def groups(cells: list[Cell]) -> list[list[Cell]]:
    """What goes to a worker as one: the seeds of a run where they gain from training together, else single runs."""
    alike: dict[str, list[Cell]] = {}
    for cell in cells:
        alike.setdefault(repr(replace(cell.run, seed=0)), []).append(cell)
    units: list[list[Cell]] = []
    for same in alike.values():
        together = len(same) > 1 and gains(prepare(same[0].run))
        units += [same] if together else [[cell] for cell in same]
    return sorted(units, key=lambda unit: cells.index(unit[0]))


def work(group: list[Cell], out: Path, ticks: Any) -> dict[str, str]:
    """Runs, in a process of their own. Returns why those that failed did; the reason also lies in `failed.json`."""
    phases = group[0].run.phases()
    total = sum(phase.updates + phase.env_steps for phase in phases)
    before = {phase.name: sum(p.updates + p.env_steps for p in phases[:i]) for i, phase in enumerate(phases)}

    def tick_of(cells: list[Cell]) -> Callable[[str, int, int], None]:
        def tick(what: str, done: int, of: int) -> None:
            name = what.split()[0]
            if name in before:
                for cell in cells:
                    ticks.put((str(cell.directory), 0.99 * (before[name] + done) / total))

        return tick

    if len(group) > 1 and _together(group, out, tick_of(group)):
        return {}
    reasons = {str(cell.directory): _attempt(cell, out / cell.directory, tick_of([cell])) for cell in group}
    return {name: reason for name, reason in reasons.items() if reason}


def _together(group: list[Cell], out: Path, tick: Callable[[str, int, int], None]) -> bool:
    """Whether all went well together. If not, each goes on alone from its last checkpoint, so that one that fails
    does not take the others along."""
    directories = [out / cell.directory for cell in group]
    resume = [(directory / "config.json").exists() for directory in directories]
    try:
        execute_together([cell.run for cell in group], directories, resume, tick=tick)
    except Exception:
        return False
    return True


def _attempt(cell: Cell, directory: Path, tick: Callable[[str, int, int], None]) -> str | None:
    if (directory / "done").exists():
        return None
    (directory / "failed.json").unlink(missing_ok=True)
    try:
        execute(cell.run, directory, resume=(directory / "config.json").exists(), tick=tick)
    except Exception as error:
        trace = traceback.format_exc()
        if directory.exists():
            write_json(directory / "failed.json", {"format": FORMAT, "error": str(error), "traceback": trace})
        return f"{type(error).__name__}: {error}"
    return None
