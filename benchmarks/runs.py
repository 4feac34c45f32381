"""Env steps per second of whole runs of the command line, several ways of one run in turn.

Two runs of different length are taken from each other, so that start-up, references and evaluations are not in the
figure.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import harness

CALL = "import sys; from reincarnate.cli import main; sys.exit(main())"
COMMON = "--evaluations 1 --eval-episodes 1 --final-episodes 1 --reference-episodes 2 --threads 1 --compile off"


def command(flags: str, env_steps: int, folder: str) -> list[str]:
    """A run that evaluates as little as can be and leaves all in a folder; flags begin with the method."""
    given = f"train {flags} {COMMON} --env-steps {env_steps}".split()
    return [sys.executable, "-c", CALL, *given, "--out", f"{folder}/out", "--store", f"{folder}/store"]


def wall(flags: str, env_steps: int) -> float:
    """Seconds of one run."""
    with tempfile.TemporaryDirectory() as folder:
        given = command(f"{flags} --log csv", env_steps, folder)
        began = time.perf_counter()
        done = subprocess.run(given, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        return time.perf_counter() - began


def speed(flags: str, steps: tuple[int, int]) -> harness.Measured:
    """Env steps per second of the steps by which the longer run is longer."""
    short, long = steps
    return {"env_steps_per_second": (long - short) / (wall(flags, long) - wall(flags, short))}


def measured(name: str, task: dict[str, Any], against: str, repeats: int) -> dict[str, Any]:
    """All `sides` of a task in turn (each with `flags` before its own), as ratios to one of them."""
    sides: dict[str, Callable[[], harness.Measured]] = {
        side: (lambda more=more: speed(f"{task.get('flags', '')} {more}", task["steps"]))
        for side, more in task["sides"].items()
    }
    table = harness.table(harness.alternate(sides, repeats))
    key = "env_steps_per_second"
    ratios = {side: harness.ratio(table[side][key], table[against][key]) for side in table}
    return {"task": name, **task, "speed": table, f"against {against}": ratios}
