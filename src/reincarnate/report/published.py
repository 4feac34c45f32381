"""A report's `index.json` read back: the runs it was made of, so that its page can be made anew without them."""

import html
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reincarnate.errors import UserError
from reincarnate.files.records import shown
from reincarnate.report.fields import get, optional, read_record, read_text
from reincarnate.report.runs import Evaluation, FinishedRun, Loaded, Missing, load_runs, made, seconds_of
from reincarnate.report.scales import on_one_scale

CURVE = ("phase", "env_steps", "updates", "score", "normalised", "seconds")  # older ones end before the seconds


def load_published(path: Path) -> Loaded:
    """The runs in an `index.json`. UserError: it is none, or an older one that holds no curves."""
    record, runs = read_record(path), list[FinishedRun]()
    for i, run in enumerate(_objects(record, "runs", path)):
        where = path.parent / f"{path.name}: runs[{i}]"
        if "curve" not in run:
            raise UserError(f"{path} holds no curves (an older report): its page is made from the runs themselves")
        config, result = get(run, "config", where), get(run, "result", where)
        label = get(run, "label", where)
        if not isinstance(config, dict) or not isinstance(result, dict) or not isinstance(label, str):
            raise UserError(f"{where}: label, config and result should be a text and two objects")
        runs.append(made(where, config, result, tuple(_curve(run["curve"], where)), label))
    if not runs:
        raise UserError(f"{path} holds no run")
    missing = [_missing(one, path) for one in _objects(record, "missing", path)] if "missing" in record else []
    return Loaded(runs, missing, record.get("by_clock") is True)


def load_all(directories: Iterable[Path | str]) -> Loaded:
    """Runs, folders of runs, and reports: of a folder with an `index.json` and no run below, the runs it tells of.

    UserError: as `load_runs` and `load_published`.
    """
    paths = [Path(directory) for directory in directories]
    reports = [path for path in paths if is_report(path)]
    told = [load_published(path / "index.json") for path in reports]
    others = [path for path in paths if path not in reports]
    told += [load_runs(others)] if others or not told else []
    runs = [run for one in told for run in one.runs]
    linked = tuple(link for one in told for link in one.linked)
    return Loaded(on_one_scale(runs), [run for one in told for run in one.missing], linked=linked)


def is_report(directory: Path) -> bool:
    """Whether a report was published here without its runs; a study's own folder is told by its runs alone."""
    if (directory / "study.json").exists():
        return False
    below = (files for _, _, files in os.walk(directory))
    return (directory / "index.json").is_file() and not any("config.json" in files for files in below)


def title_of(path: Path) -> str:
    """What heads the report: the title in its `index.json`, or in the page beside it; "" where neither says."""
    title = read_record(path).get("title")
    if isinstance(title, str):
        return title
    page = path.with_suffix(".html")
    found = re.search(r"<h1>([^<]{1,300})</h1>", read_text(page)) if page.is_file() else None
    return html.unescape(found[1]) if found else ""


def _objects(record: dict[str, Any], field: str, path: Path) -> list[dict[str, Any]]:
    value = get(record, field, path)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise UserError(f"{path}: {field} should be a list of objects, not {shown(value)}")
    return value


def _curve(rows: Any, where: Path) -> Iterable[Evaluation]:
    if not isinstance(rows, list):
        raise UserError(f"{where}: curve should be a list, not {shown(rows)}")
    for row in rows:
        if not isinstance(row, list) or len(row) not in (len(CURVE) - 1, len(CURVE)):
            raise UserError(f"{where}: an evaluation is {', '.join(CURVE)}, not {shown(row)}")
        told = {"seconds": None, **dict(zip(CURVE, row, strict=False))}
        steps, updates, score = (optional(told, key, where) for key in CURVE[1:4])
        if steps is None or updates is None or score is None:
            raise UserError(f"{where}: an evaluation lacks a number: {shown(row)}")
        normalised, seconds = optional(told, "normalised", where), seconds_of(told["seconds"], where)
        yield Evaluation(str(told["phase"]), int(steps), int(updates), score, normalised, seconds)


def _missing(one: dict[str, Any], path: Path) -> Missing:
    texts = {key: str(one.get(key, "")) for key in ("state", "reason", "env", "label")}
    return Missing(path.parent / str(one.get("path", "")), **texts)
