"""What `studies/mimic.sh` has found so far, as small JSON: per cent of each teacher, and the fifth game.

    python studies/mimic_table.py OUT > studies/mimic.json

Per cent: (score − random) / (teacher − random) in hundredths. Intervals are of the mean over seeds, 95 % by bootstrap;
each seed's own numbers are there too.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.report.statistics import mean_interval


def over_seeds(values: list[float]) -> dict[str, Any]:
    """Mean, interval and each seed's number."""
    found = mean_interval(np.asarray(values), np.random.default_rng(0)) if len(values) > 1 else None
    interval = [round(found.low, 3), round(found.high, 3)] if found else None
    return {"mean": round(float(np.mean(values)), 3), "interval": interval, "seeds": [round(v, 3) for v in values]}


def finished(folder: Path, name: str) -> list[Path]:
    """The runs of an arm that are done, by seed."""
    return sorted(path.parent for path in folder.glob(f"{name}-s*/done"))


def taught(folder: Path) -> dict[str, Any]:
    """Each arm: per cent of each game's teacher."""
    table = {}
    for arm in ("policies", "features"):
        results = [json.loads((run / "result.json").read_text()) for run in finished(folder, arm)]
        if results:
            games = results[0]["tasks"]
            each = {g: over_seeds([100 * r["tasks"][g]["normalised"] for r in results]) for g in games}
            table[arm] = {"mean of games": over_seeds([100 * r["normalised"] for r in results]), **each}
            table[arm]["env_steps"] = results[0]["env_steps"]
    return table


def transferred(folder: Path) -> dict[str, Any]:
    """Each arm on the fifth game: final score, and the mean of the evaluations on the way (area under the curve)."""
    table = {}
    for arm in ("scratch", "policies", "features", "newhead"):
        runs = finished(folder, arm)
        curves = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs]
        scores = [[line["score"] for line in curve if line["kind"] == "eval"] for curve in curves]
        if runs:
            results = [json.loads((run / "result.json").read_text()) for run in runs]
            final, area = [r["score"] for r in results], [float(np.mean(s[1:])) for s in scores]
            first = [s[0] for s in scores]
            table[arm] = {"final": over_seeds(final), "area": over_seeds(area), "before training": over_seeds(first)}
    return table


def main() -> None:
    """Print the tables."""
    out = Path(sys.argv[1])
    folder = next(iter((out / "teach").glob("*-tasks-*")), out)
    table = {"per cent of each teacher": taught(folder), "MinAtar/SpaceInvaders-v1": transferred(out / "transfer")}
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
