"""Where the time of a run on screens goes that is not its bare updates: DQN on Breakout, one torch thread.

    python benchmarks/shares.py             # writes shares.json

Unit: milliseconds of wall clock per update (one for 4 env steps), as the learner's thread sees them. All sides
alternate, each repeat in a process of its own; work as in `training.py`, whose "ours" and "bare" these are:

- "bare": the updates alone, on ready batches.
- "beside a process": the same, while another process acts and steps the game as often as a run does. What it costs
  more is the machine's: caches, memory and clock rate that two busy cores share.
- "beside a thread": the same, with those steps on a thread of the learner's own process. What it costs more is
  Python's lock, and whatever libraries share.
- "ours": a whole run, its cycle cut into update, sample, wait (for who steps) and rest (storing, publishing, counting).
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
from training import COMMON, TASKS, config, ours, ready_updates

TASK = {**TASKS["breakout"], **COMMON}
SIDES = ("bare", "beside a process", "beside a thread", "ours")
PARTS = ("update", "sample", "wait")


class Stepper:
    """Acts and steps as often as a run that makes an update every `period` seconds, until it is stopped."""

    def __init__(self, period: float):
        import numpy as np

        from reincarnate import envs
        from reincarnate.training.players import Stage

        self._period, self._rng = period, np.random.default_rng(1)
        self._env = envs.make(TASK["env"], 1)
        student = config(TASK).newborn(self._env.spec, 1)
        self._stage = Stage(self._env, student, self._env.reset(self._rng))
        self.going = True

    def run(self) -> None:
        due = time.perf_counter()
        while self.going:
            for _ in range(TASK["every"]):
                self._stage.play(TASK["final_epsilon"], self._rng)
            due = max(due + self._period, time.perf_counter())
            time.sleep(due - time.perf_counter())


def updates(count: int) -> float:
    """Milliseconds of an update."""
    update = ready_updates(TASK)
    start = time.perf_counter()
    for i in range(count):
        update(i)
    return (time.perf_counter() - start) / count * 1e3


def beside_a_process(count: int, period: float) -> float:
    """Milliseconds of an update while somebody else's process steps."""
    command = [sys.executable, str(Path(__file__).absolute()), "--stepper", str(period)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline(), "the other process has not begun"
        return updates(count)
    finally:
        other.kill()
        other.wait()


def beside_a_thread(count: int, period: float) -> float:
    """Milliseconds of an update while a thread of this process steps."""
    stepper = Stepper(period)
    thread = threading.Thread(target=stepper.run)
    thread.start()
    try:
        return updates(count)
    finally:
        stepper.going = False
        thread.join()


def parts_of_a_run() -> dict[str, float]:
    """Milliseconds of a run's cycle and of its parts."""
    from reincarnate.data.memory import Memory
    from reincarnate.students.value import ValueStudent
    from reincarnate.training import collector, loop

    spent: dict[str, float] = dict.fromkeys(("cycle", *PARTS), 0.0)
    cycles = [-(TASK["clock"] // TASK["every"])]

    def watch(owner: Any, name: str, part: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*arguments, **named)
            finally:
                spent[part] += time.perf_counter() - start

        setattr(owner, name, timed)

    class Pool(collector.ThreadPoolExecutor):
        def submit(self, *arguments: Any, **named: Any) -> Any:  # pyright: ignore
            cycles[0] += 1
            if cycles[0] == 0:  # all is warm
                spent.update(dict.fromkeys(tuple(spent), 0.0))
            future = super().submit(*arguments, **named)
            watch(future, "result", "wait")
            return future

    collector.ThreadPoolExecutor = Pool
    watch(loop.Loop, "_cycle", "cycle")
    watch(ValueStudent, "update", "update")
    watch(Memory, "sample", "sample")
    ours(TASK, "ours")
    found = {part: seconds / cycles[0] * 1e3 for part, seconds in spent.items()}
    return {**found, "rest": found["cycle"] - sum(found[part] for part in PARTS)}


def side(name: str, period: float) -> dict[str, float]:
    """One repeat of one side, in this process."""
    import torch

    torch.set_num_threads(1)
    count = (TASK["steps"] - TASK["clock"]) // TASK["every"]
    if name == "ours":
        return parts_of_a_run()
    ways = {"bare": lambda: updates(count), "beside a process": lambda: beside_a_process(count, period)}
    return {"update": ways.get(name, lambda: beside_a_thread(count, period))()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "PERIOD"), help="one repeat, as the others run it")
    parser.add_argument("--stepper", type=float, metavar="PERIOD", help="step until killed, as another process does")
    args = parser.parse_args()
    if args.stepper:
        import torch

        torch.set_num_threads(1)
        stepper = Stepper(args.stepper)
        print("stepping", flush=True)
        stepper.run()
        return
    if args.side:
        print(json.dumps(side(args.side[0], float(args.side[1]))))
        return
    period = harness.fresh("shares.py", "--side", "ours", 1, threads=1)["cycle"] / 1e3  # how often a run updates
    measure = lambda name: lambda: harness.fresh("shares.py", "--side", name, period, threads=1)
    rows = harness.table(harness.alternate({name: measure(name) for name in SIDES}, args.repeats))
    for name, row in rows.items():
        told = [f"{part} {found['median']:.2f} ({found['min']:.2f}–{found['max']:.2f})" for part, found in row.items()]
        print(f"{name:17}", ", ".join(told), flush=True)
    harness.write(args.out, "shares.py", "milliseconds per update", {"repeats": args.repeats, "sides": rows})


if __name__ == "__main__":
    main()
