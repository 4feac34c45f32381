"""Comparisons of finished runs: statistics, tables, learning curves, one self-contained page."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from reincarnate.files import write_bytes
from reincarnate.report.curves import as_svg, figure, save_png
from reincarnate.report.page import write_page
from reincarnate.report.runs import FinishedRun, Loaded, check_comparable, load_run, load_runs
from reincarnate.report.statistics import Interval
from reincarnate.report.table import Row, as_json, as_markdown, as_rich, summarise
from reincarnate.report.verdict import headline

__all__ = [
    "FinishedRun",
    "Interval",
    "Loaded",
    "Row",
    "as_json",
    "as_markdown",
    "as_rich",
    "as_svg",
    "check_comparable",
    "compare",
    "figure",
    "headline",
    "load_run",
    "load_runs",
    "save_png",
    "summarise",
    "write_page",
]


def compare(
    directories: Iterable[Path | str],
    out: Path | None,
    seed: int = 0,
    tell: Callable[[str], object] = warnings.warn,
) -> list[Row]:
    """Load, check and summarise runs; with `out`, write the page, the rows as JSON and the curves as PNG.

    `out` is the page, if its name ends in `.html`, with the other two beside it; else a folder for
    `index.html`, `index.json` and `index.png`. `tell` is given a line about unfinished runs, if any. One `seed`
    gives the same numbers everywhere. Raises UserError if nothing can be compared, or runs must not be.
    """
    loaded = load_runs(directories)
    check_comparable(loaded.runs)
    if loaded.note:
        tell(loaded.note)
    rows = summarise(loaded.runs, np.random.default_rng(seed))
    if out is not None:
        _write(loaded, rows, Path(out), seed)
    return rows


def _write(loaded: Loaded, rows: list[Row], out: Path, seed: int) -> None:
    page = out if out.suffix == ".html" else out / "index.html"
    title = "What the prior was worth: " + ", ".join(sorted({run.env for run in loaded.runs}))
    write_page(loaded.runs, page, np.random.default_rng(seed), title, loaded.unfinished)
    write_bytes(page.with_suffix(".json"), as_json(rows, loaded.runs).encode())
    save_png(figure(loaded.runs, np.random.default_rng(seed)), page.with_suffix(".png"))
