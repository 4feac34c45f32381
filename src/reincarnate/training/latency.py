"""How long each of a cast takes to act, measured when training is over: not among the bits that a seed decides."""

import statistics
import time
from typing import Any

import numpy as np
import torch

from reincarnate.nets.probe import blank
from reincarnate.types import Student, TaskSpec, TimeStep

CALLS, WARM = 60, 10
COPIES = 8


def acting_ms(cast: dict[str, Student]) -> dict[str, dict[str, Any]]:
    """Median milliseconds of an acting step of one and of eight copies, and how many parameters act or learn."""
    return {
        name: {
            "ms": round(_ms(student, 1), 4),
            f"ms_of_{COPIES}": round(_ms(student, COPIES), 4),
            "parameters": sum(p.numel() for p in student.network.parameters()),
        }
        for name, student in cast.items()
    }


def _ms(student: Student, n: int) -> float:
    step, rng = _step(student.spec, n), np.random.default_rng(0)
    carry, taken = student.initial(n), []
    for i in range(WARM + CALLS):
        start = time.perf_counter()
        carry = student.act(step, carry, 0.0, rng).carry
        if i >= WARM:
            taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken)


def _step(spec: TaskSpec, n: int) -> TimeStep:
    obs = blank(spec, n)
    return TimeStep(obs, torch.zeros(n, dtype=torch.bool))
