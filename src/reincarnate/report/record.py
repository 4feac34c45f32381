"""The numbers of a report, for programs."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reincarnate.report.aggregates import Aggregates
from reincarnate.report.missing import Missing
from reincarnate.report.runs import FinishedRun
from reincarnate.report.statistics import LEVEL, REPS
from reincarnate.report.table import Row


def as_json(
    rows: Sequence[Row],
    runs: Sequence[FinishedRun],
    aggregates: Sequence[Aggregates] = (),
    missing: Sequence[Missing] = (),
    notes: Sequence[str] = (),
    folder: Path = Path(),
) -> str:
    """Rows, aggregates and the runs they came from, as JSON text; with the runs left out and what is not said.

    `folder` is where the text will lie: it names the runs left out from there, as the page beside it does.
    """
    record = {
        "format": 1,
        "bootstrap": {"kind": "percentile, stratified by task", "reps": REPS, "level": LEVEL},
        "rows": [asdict(row) for row in rows],
        "aggregates": [asdict(row) for row in aggregates],
        "missing": [asdict(run) | {"path": Path(os.path.relpath(run.path, folder)).as_posix()} for run in missing],
        "notes": list(notes),
        "runs": [_run(run) for run in runs],
    }
    return json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _run(run: FinishedRun) -> dict[str, Any]:
    """What a run asked for, what came out, and its curve."""
    curve = [[e.phase, e.env_steps, e.updates, e.score, e.normalised] for e in run.evaluations]
    return {"label": run.label, "config": run.config, "result": run.result, "curve": curve}
