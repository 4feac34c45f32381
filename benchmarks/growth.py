"""How the cost of training grows with copies of the environment and with the batch: our DQN, as a table.

    python benchmarks/growth.py                      # CartPole and MinAtar Breakout; writes JSON, prints tables

Env steps per second of all copies together, learner included, one thread, not compiled. The ratio of updates to env
steps is the same in every cell: one update per 4 env steps, however many copies take them. So along a row only the
cost of acting and stepping is shared by more copies, and along a column only the update grows. The clock starts at
env step 1200; the first update is at 1000. Cells alternate, each repeat in a process of its own.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import harness

TASKS = {"cartpole": "CartPole-v1", "minatar": "MinAtar/Breakout-v1"}
COPIES, BATCHES = (1, 4, 16), (32, 128, 512)
STEPS = {"cartpole": 13_200, "minatar": 5200}
WARMUP, CLOCK, EVERY = 1000, 1200, 4


def cell(task: str, copies: int, batch: int, steps: int, threads: int) -> dict[str, float]:
    import torch
    from ours import settings, timed, training

    from reincarnate.methods import Scratch
    from reincarnate.students import DQN

    torch.set_num_threads(threads)
    hidden = (64, 64) if task == "cartpole" else ()
    config = DQN(hidden=hidden, n_step=1, batch_size=batch, update_every=EVERY, target_every=500, replay_size=50_000)
    raised = training(settings(config, WARMUP), TASKS[task], Scratch().phases(steps), copies)
    return timed(raised, TASKS[task], "online", CLOCK)


def grid(task: str, args: argparse.Namespace) -> dict[str, Any]:
    steps = args.steps or STEPS[task]

    def measurer(copies: int, batch: int):
        flags = ("--cell", task, copies, batch, steps, args.threads)
        return lambda: harness.fresh("growth.py", *flags, threads=args.threads)

    cells = {f"{n} x {batch}": measurer(n, batch) for n in COPIES for batch in BATCHES}
    rows = harness.table(harness.alternate(cells, args.repeats))
    print(f"\n| {TASKS[task]}, environments | " + " | ".join(f"batch {batch}" for batch in BATCHES) + " |")
    print("|---" * (len(BATCHES) + 1) + "|")
    for n in COPIES:
        medians = [rows[f"{n} x {batch}"]["per_second"]["median"] for batch in BATCHES]
        print(f"| {n} | " + " | ".join(f"{median:,.0f}" for median in medians) + " |", flush=True)
    return {"task": TASKS[task], "steps": steps, "environments x batch": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, help="env steps instead of the task's own, for a quick look")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--cell", nargs=5, help="one repeat, as the others run it")
    args = parser.parse_args()
    if args.cell:
        task, *numbers = args.cell
        print(json.dumps(cell(task, *map(int, numbers))))
        return
    grids = [grid(task, args) for task in args.tasks]
    ratio = {"update_every": EVERY, "updates_each": 1, "threads": args.threads, "repeats": args.repeats}
    harness.write(args.out, "growth.py", "env steps per second", {**ratio, "grids": grids})


if __name__ == "__main__":
    main()
