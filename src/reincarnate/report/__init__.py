"""Comparisons of finished runs: statistics, tables, learning curves, one self-contained page."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from reincarnate.files.atomic import write_bytes
from reincarnate.files.finished import refuse_inside_a_run
from reincarnate.report.aggregates import Aggregates, aggregate
from reincarnate.report.areas import areas
from reincarnate.report.comparable import check_comparable, gaps
from reincarnate.report.curves import across
from reincarnate.report.page import as_json, write_page
from reincarnate.report.picture import figure, save_png
from reincarnate.report.published import is_report, load_all, load_published, title_of
from reincarnate.report.runs import FinishedRun, Loaded, Missing, load_run, load_runs
from reincarnate.report.statistics import Interval
from reincarnate.report.table import Row, as_markdown, as_rich, headline, summarise
from reincarnate.seeds import check_seed

__all__ = [
    "Aggregates",
    "FinishedRun",
    "Interval",
    "Loaded",
    "Missing",
    "Row",
    "aggregate",
    "as_json",
    "as_markdown",
    "as_rich",
    "check_comparable",
    "compare",
    "figure",
    "gaps",
    "headline",
    "is_report",
    "json_of",
    "load_published",
    "load_run",
    "load_runs",
    "publish",
    "save_png",
    "summarise",
    "title_of",
    "write_page",
]


def compare(
    directories: Path | str | Iterable[Path | str],
    out: Path | str | None,
    seed: int = 0,
    tell: Callable[[str], object] = warnings.warn,
    by_clock: bool = False,
    title: str = "",
) -> list[Row]:
    """Load, check and summarise runs; with `out`, write the page, the rows as JSON and the curves as PNG.

    A directory is a run, a folder of runs, or a report whose runs need not be there any more. `out` is the page, if its
    name ends in `.html`, with the other two beside it; else a folder for `index.html`, `index.json` and `index.png`.
    `title` heads the page. `tell` is given a line about unfinished runs and links, if any. One `seed` gives the same
    numbers everywhere. `by_clock`: methods may have budgets of their own (`check_comparable`). UserError: nothing can
    be compared, or runs must not be.
    """
    if out is not None:
        refuse_inside_a_run(Path(out))  # before anything is read
    several = [directories] if isinstance(directories, str | Path) else directories
    loaded = load_all(several)._replace(by_clock=by_clock)
    if loaded.note:
        tell(loaded.note)
    return publish(loaded, out, seed, title)


def publish(loaded: Loaded, out: Path | str | None, seed: int = 0, title: str = "") -> list[Row]:
    """As `compare`, for runs that are loaded already; `title` heads the page."""
    check_seed(seed)
    check_comparable(loaded.runs, loaded.by_clock)
    rows = summarise(loaded.runs, np.random.default_rng(seed), loaded.missing)
    if out is not None:
        _write(loaded, rows, Path(out), seed, title)
    return rows


def json_of(out: Path) -> Path:
    """Where `compare` and `publish` write the rows as JSON, told to write into `out`."""
    return out.with_suffix(".json") if out.suffix == ".html" else out / "index.json"


def _write(loaded: Loaded, rows: list[Row], out: Path, seed: int, title: str) -> None:
    page = out if out.suffix == ".html" else out / "index.html"
    title = title or "What the prior was worth: " + ", ".join(sorted({run.env for run in loaded.runs}))
    own = {(row.env, row.method): row.area for row in rows}
    under = areas(loaded.runs, own, np.random.default_rng(seed), loaded.missing)
    write_page(loaded.runs, page, np.random.default_rng(seed), title, loaded.missing, under)
    all_of_it = aggregate(loaded.runs, np.random.default_rng(seed), loaded.missing)
    notes = gaps(loaded.runs, loaded.missing)
    text = as_json(rows, loaded.runs, all_of_it, under, loaded.missing, notes, page.parent, title, loaded.by_clock)
    write_bytes(json_of(out), text.encode())
    save_png(figure(loaded.runs, np.random.default_rng(seed), across(loaded.runs)), page.with_suffix(".png"))
