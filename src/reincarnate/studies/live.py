"""A page that is written anew while runs go on, and reloads itself: what is finished, and how far the others are."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.atomic import disk_errors, write_bytes
from reincarnate.files.text import visible
from reincarnate.report.comparable import check_comparable
from reincarnate.report.page import write_page
from reincarnate.report.runs import NOT_BEGUN, Loaded, load_runs
from reincarnate.report.style import document, note, row, section, table
from reincarnate.studies.overview import load_study
from reincarnate.studies.pins import FILE, read_study_record

PAGE = "live.html"
LAST = 4096  # bytes of a run's metrics that are looked at: a few lines
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
        cells = [str(path.relative_to(directory)), str(last.get("phase", "not begun")), f"{last.get('env_steps', 0):,}"]
        cells += [f"{last[key]:.4g}" if isinstance(last.get(key), int | float) else "–" for key in ("score", "return")]
        body.append(row([escape(cell) for cell in cells]))
    return table(["run", "phase", "env steps", "last score", "last return"], body, "Runs that are not done")


def _newest(run: Path) -> dict:
    """The newest of every number in a run's metrics."""
    found: dict = {}
    with suppress(OSError), open(run / "metrics.jsonl", "rb") as file:
        file.seek(max(0, file.seek(0, 2) - LAST))
        for line in file.read().decode(errors="replace").splitlines():
            with suppress(ValueError):
                value = json.loads(line)
                found |= value if isinstance(value, dict) else {}
    return found
