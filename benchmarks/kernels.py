"""What compiled kernels save of a whole update: plainly, by one program of TorchInductor, by kernels of our own.

    python benchmarks/kernels.py          # writes kernels.json beside itself

Updates of students as a run makes them, on ready batches: the gradient, its clipping, the optimiser. "taught": beside a
discrete teacher (the KL of QDagger and of kickstarting). Each student has its defaults, one thread; microseconds of the
processor per update, all ways of one student in turn. A PQN's program was never made (docs/log.md), nor is one of a
stack of MinAtar's networks. All ways agree within float tolerance (`tests/test_native.py`).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch

from reincarnate.losses.terms import Distil
from reincarnate.students import STUDENTS
from reincarnate.students.gradient import FunctionalGradient
from reincarnate.students.policy_program import PolicyProgram
from reincarnate.types import Batch, Prediction, TaskSpec, Weighing

POLE = TaskSpec("CartPole-v1", (4,), "float32", 2, 1, None, {})
GRID = TaskSpec("MinAtar/Breakout-v1", (10, 10, 4), "bool", 3, 1, None, {})
CASES = {"dqn, CartPole": POLE, "ppo, CartPole": POLE, "dqn, MinAtar": GRID, "pqn, MinAtar": GRID}
TERM = Distil(1.0, 1.0)
UPDATES = 50
FULL = 0.1  # of MinAtar's cells, about as in play


def batch_for(name: str, spec: TaskSpec, size: int) -> Batch:
    """Random rows, with what a teacher says of them."""
    torch.manual_seed(0)
    of = lambda: torch.randn(size, 4) if spec is POLE else torch.rand(size, 10, 10, 4) < FULL
    number = lambda: torch.rand(size)
    said = {"teacher": Prediction("logits", torch.randn(size, spec.actions))}
    batch = Batch(of(), torch.randint(spec.actions, (size,)), number(), number(), of(), said)
    if name == "ppo":
        notes = {"advantage": torch.randn(size), "value": number(), "log_prob": -number()}
        return batch._replace(next_obs=None, notes=notes)
    return batch._replace(next_obs=None) if name == "pqn" else batch


def side(name: str, spec: TaskSpec, taught: bool, way: str) -> Callable[[], harness.Measured]:
    """Updates of a student, this way."""
    student: Any = STUDENTS[name]().newborn(spec, 0)
    if way == "kernels":
        student.compile()
    elif way == "program":
        s = student
        own = s if name == "ppo" else (s.online, s.target, s.critic, s.settings.double)
        s._program = PolicyProgram(s) if name == "ppo" else FunctionalGradient(*own)
    batch, rng = batch_for(name, spec, student.settings.batch_size), np.random.default_rng(0)
    weighing = Weighing(terms=[(0.5, TERM)] if taught else [])

    def measure() -> harness.Measured:
        student.update(batch, weighing, rng)
        start = time.thread_time()
        for _ in range(UPDATES):
            student.update(batch, weighing, rng)
        return {"microseconds": 1e6 * (time.thread_time() - start) / UPDATES}

    return measure


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=harness.HERE / "kernels.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for case, spec in CASES.items():
        for taught in (False, True):
            name, said = case.split(",")[0], f"{case}, taught" if taught else case
            ways = ("plain", "kernels") if name == "pqn" else ("plain", "program", "kernels")
            rows = harness.table(harness.alternate({w: side(name, spec, taught, w) for w in ways}, given.repeats))
            ratio = lambda way, rows=rows: harness.ratio(rows[way]["microseconds"], rows["kernels"]["microseconds"])
            found[said] = {**rows, **{f"{way} / kernels": ratio(way) for way in ways[:-1]}}
            print(said, {way: rows[way]["microseconds"]["median"] for way in ways}, flush=True)
    details = {"repeats": given.repeats, "updates": UPDATES, "rows": found}
    harness.write(given.out, "kernels.py", "microseconds of the processor per update", details)


if __name__ == "__main__":
    main()
