"""SAC's and TD3's training throughput and memory against Stable-Baselines3, and SBX (JAX) where it is given.

    python benchmarks/continuous.py                      # ours and sb3, one thread; writes continuous.json
    python benchmarks/continuous.py --rivals DIR         # sbx too (`benchmarks/rivals/README.md`)

Unit: env steps per second, learner included, of HalfCheetah-v5; the clock starts 200 env steps after the first update.
Memory: the most that the process ever held (VmHWM). All sides alternate, each repeat in a process of its own.
Identical work: networks of 256-256, batches of 256, one update a step, a replay of the same size, α found by itself,
TD3's actor and targets with every second update. Stable-Baselines3 monitors episodes; ours logs losses and returns.
"bare" is the limit: the updates alone, on ready batches of the same shapes; "bfloat16" is ours with its hidden layers'
arithmetic in half precision (`--student.bfloat16`), which neither rival offers.
"""

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import harness

TASK: dict[str, Any] = {"env": "HalfCheetah-v5", "batch": 256, "hidden": 256, "warmup": 500, "capacity": 100_000}
STEPS, BATCHES = 2_500, 16
ALGORITHMS = ("sac", "td3")


def settings(task: dict[str, Any]) -> Any:
    from reincarnate.students import STUDENTS

    kind, wide = STUDENTS[task["algorithm"]], (task["hidden"],) * 2
    own = {"bfloat16": task.get("half", False), "replay_size": task["capacity"]}
    return kind(hidden=wide, batch_size=task["batch"], warmup=task["warmup"], **own)


def ours(task: dict[str, Any]) -> dict[str, float]:
    from ours import timed, training

    from reincarnate.methods import Scratch

    raised = training(settings(task), task["env"], Scratch().phases(task["steps"]))
    return timed(raised, task["env"], "online", task["clock"])


def bare(task: dict[str, Any]) -> dict[str, float]:
    """Updates on ready batches."""
    import numpy as np
    import torch

    from reincarnate import envs
    from reincarnate.types import Batch, Weighing

    spec, rng, size = envs.spec(task["env"]), np.random.default_rng(0), task["batch"]
    student = settings(task).newborn(spec, 0)

    def batch() -> Batch:
        obs = [torch.randn(size, *spec.obs_shape) for _ in range(2)]
        action = torch.rand(size, spec.actions) * 2 - 1
        return Batch(obs[0], action, torch.randn(size), torch.full((size,), 0.99), obs[1])

    batches = [batch() for _ in range(BATCHES)]
    for ready in batches:
        student.update(ready, Weighing(), rng)
    updates = task["steps"] - task["clock"]
    start, busy = time.perf_counter(), time.process_time()
    for i in range(updates):
        student.update(batches[i % BATCHES], Weighing(), rng)
    seconds = time.perf_counter() - start
    return {"per_second": updates / seconds, "cores_busy": (time.process_time() - busy) / seconds}


def own_side(side: str, task: dict[str, Any], threads: int) -> dict[str, float]:
    import torch

    torch.set_num_threads(threads)
    found = bare(task) if side == "bare" else ours(task)
    return {**found, "memory_mb": round(harness.memory_kb("VmHWM") / 1024, 1)}


def measure(side: str, task: dict[str, Any], threads: int, rivals: Path | None) -> dict[str, float]:
    """One repeat of one side, in a fresh process."""
    if side in ("ours", "bfloat16", "bare"):
        task = {**task, "half": side == "bfloat16"}
        return harness.fresh("continuous.py", "--side", side, threads, json.dumps(task), threads=threads)
    task = {**task, "library": {"sb3": "stable_baselines3"}.get(side, side)}
    python = {} if side == "sb3" else {"python": (rivals or Path()).absolute() / side / "bin" / "python"}
    return harness.fresh("rivals/sb3_continuous.py", threads, json.dumps(task), threads=threads, **python)


def contest(algorithm: str, threads: int, args: argparse.Namespace) -> dict[str, Any]:
    task = {**TASK, "algorithm": algorithm, "steps": args.steps, "clock": TASK["warmup"] + 200}
    names = ["ours", "bfloat16", "bare", "sb3", *(["sbx"] if args.rivals else [])]
    sides = {side: lambda side=side: measure(side, task, threads, args.rivals) for side in names}
    rows = harness.table(harness.alternate(sides, args.repeats))
    ratios = {}
    for own, rival in itertools.product(names[:2], names[3:]):
        for key in ("per_second", "memory_mb"):
            ratios[f"{own} / {rival}, {key}"] = harness.ratio(rows[own][key], rows[rival][key])
    told = "; ".join(
        f"{name} {ratio['of_medians']} ({ratio['min']} to {ratio['max']})" for name, ratio in ratios.items()
    )
    print(f"{algorithm}, {threads} thread(s): {told}", flush=True)
    return {**task, "threads": threads, "sides": rows, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", type=Path, help="the folder of SBX's virtual environment, sbx")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--side", nargs=3, metavar=("SIDE", "THREADS", "TASK"), help="one repeat of ours")
    args = parser.parse_args()
    if args.side:
        side, threads, task = args.side
        print(json.dumps(own_side(side, json.loads(task), int(threads))))
        return
    rows = [contest(name, threads, args) for name in args.algorithms for threads in args.threads]
    harness.write(args.out, "continuous.py", "env steps per second", {"repeats": args.repeats, "rows": rows})


if __name__ == "__main__":
    main()
