"""What all benchmarks share: fresh processes with so many threads, medians with their spread, the machine, JSON."""

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NPROC",
    "PJRT_NPROC",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
Measured = dict[str, Any]


def fresh(
    script: str, *arguments: Any, threads: int, python: Path | str = sys.executable, pin: bool = False
) -> Measured:
    """Run a script of this folder in a process of its own; the last line it prints is what it measured, as JSON.

    Whatever library it uses is told of `threads`. `pin` also keeps the process on as many cores.
    """
    settings = {name: str(threads) for name in THREAD_VARIABLES}
    if threads == 1:  # XLA's thread pool otherwise runs convolutions on all cores
        settings["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    quiet = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    command = [str(python), str(HERE / script), *map(str, arguments)]
    cores = set(sorted(os.sched_getaffinity(0))[:threads]) if pin else os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, **settings, **quiet},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def alternate(sides: dict[str, Callable[[], Measured]], repeats: int) -> dict[str, list[Measured]]:
    """Measure every side in turn, as often as `repeats` says, so that whatever disturbs the machine meets them all."""
    taken: dict[str, list[Measured]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, measure in sides.items():
            taken[side].append(measure())
    return taken


def spread(values: list[float]) -> dict[str, Any]:
    """Median, range and all values, floats to five digits."""
    values = [value if isinstance(value, int) else float(f"{value:.5g}") for value in values]
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "all": values}


def table(taken: dict[str, list[Measured]]) -> dict[str, dict[str, Any]]:
    """Per side and number that it measured: the spread over the repeats."""
    return {side: {key: spread([m[key] for m in all_]) for key in all_[0]} for side, all_ in taken.items()}


def ratio(above: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """Of two spreads of equally many repeats: the ratio of medians, and the range of the ratios repeat by repeat."""
    each = [a / b for a, b in zip(above["all"], below["all"], strict=True)]
    of_medians = above["median"] / below["median"]
    return {"of_medians": round(of_medians, 3), "min": round(min(each), 3), "max": round(max(each), 3)}


def machine() -> dict[str, Any]:
    """What was measured on, and when."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(int(_first("/proc/meminfo", "MemTotal").split()[0]) / 1e6, 1),
        "load_at_start": LOAD_AT_START,
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }


def write(path: Path, script: str, unit: str, results: dict[str, Any]) -> None:
    """The results with the command, the machine and the versions that matter."""
    packages = ("reincarnate", "torch", "numpy", "stable-baselines3", "gymnasium", "ale-py", "minatar")
    head = {
        "command": " ".join(["python", f"benchmarks/{script}", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {name: version(name) for name in packages},
        "unit": unit,
    }
    path.write_text(json.dumps({**head, **results}, indent=1) + "\n")
    print(f"written to {path}")


def memory_kb(key: str) -> int:
    """A line of /proc/meminfo or of this process's status, in units of 1024 bytes."""
    return int((_first("/proc/meminfo", key) or _first("/proc/self/status", key)).split()[0])


def _first(file: str, key: str) -> str:
    lines = Path(file).read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.split(":")[0].strip() == key), "")


LOAD_AT_START = round(os.getloadavg()[0], 2)  # a quiet machine has next to none
