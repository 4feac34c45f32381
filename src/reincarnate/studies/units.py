"""Units of work: what one process does of a study, whichever backend runs it. Doing one again goes on where it was."""

import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from reincarnate.errors import FAILURES, reason_of
from reincarnate.files.atomic import FORMAT, write_json
from reincarnate.run.execute import execute, execute_together, gains
from reincarnate.run.prepare import Prepared
from reincarnate.studies.matrix import Cell

Unit = list[Cell]
Tell = Callable[[str, float], object]
"""(a run's directory, the share of it that is done)"""


def groups(cells: Sequence[Cell], prepared: Sequence[Prepared]) -> list[Unit]:
    """What goes to a worker as one: the seeds of a run where they gain from training together, else single runs."""
    alike: dict[str, list[tuple[Cell, Prepared]]] = {}
    for cell, opened in zip(cells, prepared, strict=True):
        alike.setdefault(repr(replace(cell.run, seed=0)), []).append((cell, opened))
    units: list[Unit] = []
    for pairs in alike.values():
        same = [cell for cell, _ in pairs]
        together = len(same) > 1 and gains(pairs[0][1])
        units += [same] if together else [[cell] for cell in same]
    return sorted(units, key=lambda unit: cells.index(unit[0]))


def work(unit: Unit, out: Path, tell: Tell) -> dict[str, str]:
    """Do a unit's runs. Returns why those that failed did; the reason also lies in `failed.json`."""
    phases = unit[0].run.phases()
    total = sum(phase.updates + phase.env_steps for phase in phases)
    before = {phase.name: sum(p.updates + p.env_steps for p in phases[:i]) for i, phase in enumerate(phases)}

    def tick_of(cells: list[Cell]) -> Callable[[str, int, int], None]:
        def tick(what: str, done: int, of: int) -> None:
            name = what.split()[0]
            if name in before:
                for cell in cells:
                    tell(str(cell.directory), 0.99 * (before[name] + done) / total)

        return tick

    if len(unit) > 1 and _together(unit, out, tick_of(unit)):
        return {}
    reasons = {str(cell.directory): _attempt(cell, out / cell.directory, tick_of([cell])) for cell in unit}
    return {name: reason for name, reason in reasons.items() if reason}


def _together(unit: Unit, out: Path, tick: Callable[[str, int, int], None]) -> bool:
    """Whether all went well together. If not, each goes on alone from its last checkpoint, so that one that fails
    does not take the others along."""
    directories = [out / cell.directory for cell in unit]
    for directory in directories:
        forget_failure(directory)
    resume = [(directory / "config.json").exists() for directory in directories]
    try:
        execute_together([cell.run for cell in unit], directories, resume, tick=tick)
    except FAILURES:
        return False
    return True


def _attempt(cell: Cell, directory: Path, tick: Callable[[str, int, int], None]) -> str | None:
    if (directory / "done").exists():
        return None
    forget_failure(directory)
    try:
        execute(cell.run, directory, resume=(directory / "config.json").exists(), tick=tick)
    except FAILURES as error:
        reason = reason_of(error)
        said = reason if isinstance(error, SystemExit) else str(error) or type(error).__name__
        note_failure(directory, said, traceback.format_exc())
        return reason
    return None


def note_failure(directory: Path, reason: str, trace: str = "") -> None:
    """Write down why a run failed."""
    write_json(directory / "failed.json", {"format": FORMAT, "error": reason, "traceback": trace})


def forget_failure(directory: Path) -> None:
    """Take a failure's record away before the run is tried again; with it the folder, if it held nothing else."""
    if (directory / "failed.json").exists():
        (directory / "failed.json").unlink()
        with suppress(OSError):  # not empty: a run to be resumed
            directory.rmdir()
