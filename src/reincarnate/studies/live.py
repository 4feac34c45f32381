"""A page that is written anew while runs go on, and reloads itself: what is finished, and how far the others are."""

import time
from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.atomic import disk_errors, write_bytes
from reincarnate.files.records import is_text, loads
from reincarnate.files.regular import open_regular, within
from reincarnate.files.text import clean, visible
from reincarnate.report.comparable import check_comparable
from reincarnate.report.page import write_page
from reincarnate.report.runs import NOT_BEGUN, Loaded, load_runs
from reincarnate.report.style import document, note, row, section, table
from reincarnate.studies.overview import load_study
from reincarnate.studies.pins import FILE, read_study_record

PAGE = "live.html"
LAST = 4096  # bytes of a run's metrics that are looked at: a few lines
NAME = 80  # letters of a phase's name that are shown
HEAD = "</title>"


def watch(directory: Path, every: float, once: bool, say: Callable[[str], None]) -> Path:
    """Write DIR/live.html (of a run alone DIR-live.html) every so many seconds until every run is done.

    Raises UserError where there are no runs.
    """
    if not 1 <= every < float("inf"):
        raise UserError(f"--every must be at least 1 second, not {every:g}")
    page, told = page_of(directory), False
    while True:
        left = write_live(directory, page, every)
        if not told:
            say(f"open {page} in a browser; it reloads itself")
            told = True
        if not left or once:
            return page
        time.sleep(every)


def page_of(directory: Path) -> Path:
    """Where its page stands: in it, or beside a run, which keeps nothing but its own."""
    if not (directory / "config.json").is_file():
        return directory / PAGE
    place = directory if directory.name else directory.absolute()
    return place.with_name(f"{place.name}-{PAGE}")


def write_live(directory: Path, page: Path, every: float) -> int:
    """Write the page once. Returns how many runs are not done; it reloads itself as long as there are any."""
    running = [path.parent for path in sorted(directory.rglob("config.json")) if not (path.parent / "done").exists()]
    running = [path for path in running if path.name not in ("agent", "agent-best")]
    title, loaded, why = _loaded(directory)
    left = sum(not (path / "failed.json").exists() for path in running)
    left += sum(run.state == NOT_BEGUN for run in loaded.missing)
    if not running and not loaded.runs:
        raise UserError(why or f"{directory} holds no runs")
    progress = section("How far they are", _progress(running, directory)) if running else ""
    with disk_errors(page):
        if loaded.runs:
            write_page(loaded.runs, page, np.random.default_rng(0), title, loaded.missing)
            text = page.read_text()
        else:
            text = visible(document(title, f"<h1>{escape(title)}</h1>{note(why)}"))
        text = text.replace("<section>", f"{progress}<section>", 1) if "<section>" in text else _ended(text, progress)
        again = f'<meta http-equiv="refresh" content="{every:.0f}">' if left else ""
        write_bytes(page, text.replace(HEAD, HEAD + again, 1).encode())
    return left


def _ended(text: str, more: str) -> str:
    """More at the end of a page's body."""
    return text.replace("</main>", f"{more}</main>", 1)


def _loaded(directory: Path) -> tuple[str, Loaded, str]:
    """A title, what can be compared, and why nothing can where that is so."""
    title = directory.name
    try:
        if (directory / FILE).exists():
            record = read_study_record(directory)
            title = str(record["title"])
            loaded = load_study(directory, record)
        else:
            loaded = load_runs([directory])
        check_comparable(loaded.runs, loaded.by_clock)
        return title, loaded, ""
    except UserError as error:
        return title, Loaded([], []), str(error)


def _progress(running: list[Path], directory: Path) -> str:
    """A line a run that is not done: its newest numbers."""
    body = []
    for path in running:
        last = _newest(path)
        phase = clean(last.get("phase", "not begun"), NAME)
        cells = [str(path.relative_to(directory)), phase, f"{last.get('env_steps', 0):,}"]
        cells += [f"{last[key]:.4g}" if key in last else "–" for key in ("score", "return")]
        body.append(row([escape(cell) for cell in cells]))
    return table(["run", "phase", "env steps", "last score", "last return"], body, "Runs that are not done")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


SHOWN: dict[str, Callable[[Any], bool]] = {
    "phase": is_text,
    "env_steps": _is_count,
    "score": _is_number,
    "return": _is_number,
}


def _newest(run: Path) -> dict[str, Any]:
    """The newest of everything that is shown of a run's metrics; what is not of its kind, or no record, is left out."""
    found: dict[str, Any] = {}
    for line in _last_lines(run):
        with suppress(UserError):  # the first is half a line, and the last may be
            value = loads(line, run, numbers_may_be_none=True)
            told = value if isinstance(value, dict) else {}
            found |= {key: told[key] for key, fits in SHOWN.items() if key in told and fits(told[key])}
    return found


def _last_lines(run: Path) -> list[str]:
    """The ends of a run's metrics; nothing where they are no file, or a link out of its folder."""
    try:
        with open_regular(within(run, "metrics.jsonl")) as file:
            file.seek(max(0, file.seek(0, 2) - LAST))
            return file.read(LAST).decode(errors="replace").splitlines()
    except (OSError, UserError):
        return []
