"""A clock from a given env step to the last, for every rival alike; standard library only."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def arguments() -> tuple[int, dict[str, Any]]:
    """THREADS and TASK (JSON) of the command line."""
    return int(sys.argv[1]), json.loads(sys.argv[2])


def most_kb() -> int:
    """The most memory that this process ever held, kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


class Stopwatch:
    """Tell it of every env step; it starts at step `begin`."""

    def __init__(self, begin: int):
        self._begin, self._start = begin, None
        self._steps, self._busy = 0, 0.0

    def __call__(self, steps: int) -> None:
        if self._start is None and steps >= self._begin:
            self._steps, self._start, self._busy = steps, time.perf_counter(), time.process_time()

    def read(self, steps: int) -> dict[str, float]:
        """Env steps per second, the cores kept busy, and the most memory that the process ever held."""
        assert self._start is not None, "too few steps to start the clock"
        seconds, busy = time.perf_counter() - self._start, time.process_time() - self._busy
        rate = (steps - self._steps) / seconds
        return {"per_second": rate, "cores_busy": busy / seconds, "memory_mb": round(most_kb() / 1024, 1)}

    def report(self, steps: int) -> None:
        """Print them as JSON."""
        print(json.dumps(self.read(steps)))


def twice(train: Callable[[], object], steps: int) -> None:
    """Run a compiled training once to compile and warm up, once against the clock, and print what was measured.

    `train` waits until all is computed.
    """
    train()
    start, busy = time.perf_counter(), time.process_time()
    train()
    seconds = time.perf_counter() - start
    told = {"per_second": steps / seconds, "cores_busy": (time.process_time() - busy) / seconds}
    print(json.dumps({**told, "memory_mb": round(most_kb() / 1024, 1)}))
