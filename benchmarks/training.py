"""DQN training throughput against Stable-Baselines3, SBX (JAX), TorchRL and Dopamine (JAX), and against its own limit.

    python benchmarks/training.py --rivals DIR                   # all sides, 1 and 2 threads; writes JSON
    python benchmarks/training.py --only ours sb3 bare           # no rival but SB3, which our tests install anyway

DIR holds the virtual environments sbx, torchrl and dopamine (`benchmarks/rivals/README.md`). Unit: env steps per
second, learner included. All sides alternate, each repeat in a process of its own. The clock starts at env step
200: 100 steps of warm-up by random actions are over, and so is whatever compiles or initialises itself in the first
updates.

Identical work on all sides: task, network, batch, one update per step (CartPole) or per 4 steps (Breakout), 1-step
targets, Huber loss, Adam with a learning rate of 1e-4, hard target syncs every 500 updates, γ = 0.99, one environment,
ε from 1 to 0.05 over the first tenth, uniform replay of the same capacity; Atari with sticky actions (0.25), frame
skip 4, no no-ops, no fire at reset, no episode at a life's loss, 84 × 84 × 4 bytes.

What differs: each library preprocesses Atari by its own means (ours ale-py's native vector environment; SB3 its OpenCV
wrappers; TorchRL and Dopamine gymnasium's AtariPreprocessing). SB3 and SBX monitor episodes; SB3 clips the gradient's
norm (it has no switch for that); ours logs losses and returns. SB3 stores whole stacks, TorchRL whole transitions,
Dopamine single frames that it compresses. Dopamine's network is given the paper's VALID padding (its own, SAME, has 2.4
times the parameters). Ours steps the environment, and passes the target network, on Python threads beside the learner
where that is its default (Atari): with one torch thread it may thus keep two cores busy. `cores_busy` (CPU seconds
per second) tells for every side, and `--pin` allows each process only as many cores as threads. "compiled" (ours) and
"torchrl-compiled" compile the update before the clock starts; the others that have a compiler (JAX) always do.

"bfloat16" is ours with the torso's arithmetic in half precision, which the others do not offer and which is not the
same work: beside the comparison, not in it. "bare" is the limit on Breakout: the updates alone, on the same student
object with ready batches of the same shapes, as env steps per second if nothing else took time.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness

TASKS: dict[str, dict[str, Any]] = {
    "cartpole": {"env": "CartPole-v1", "batch": 64, "every": 1, "steps": 6000, "capacity": 50_000},
    "breakout": {"env": "ALE/Breakout-v5", "batch": 32, "every": 4, "steps": 1600, "capacity": 10_000},
}
COMMON = {"warmup": 100, "clock": 200, "target_updates": 500, "final_epsilon": 0.05, "lr": 1e-4, "gamma": 0.99}
SIDES = {
    "cartpole": ("ours", "compiled", "sb3", "sbx", "torchrl", "torchrl-compiled"),
    "breakout": ("ours", "bfloat16", "bare", "sb3", "torchrl", "dopamine"),
}
OWN = ("ours", "compiled", "bfloat16", "bare")
BATCHES = 16  # different ones that "bare" goes through


def config(task: dict[str, Any], bfloat16: bool = False) -> Any:
    from reincarnate.students import DQN

    return DQN(
        hidden=(512,) if task["env"].startswith("ALE/") else (64, 64),
        n_step=1,
        gamma=task["gamma"],
        lr=task["lr"],
        batch_size=task["batch"],
        update_every=task["every"],
        target_every=task["target_updates"],
        replay_size=task["capacity"],
        bfloat16=bfloat16,
    )


def ours(task: dict[str, Any], side: str) -> dict[str, float]:
    from ours import settings, timed, training

    from reincarnate.methods import Scratch

    raised = training(
        settings(config(task, side == "bfloat16"), task["warmup"], task["final_epsilon"], task["steps"] // 10),
        task["env"],
        Scratch().phases(task["steps"]),
        prepare=lambda student: student.compile() if side == "compiled" else None,
    )
    return timed(raised, task["env"], "online", task["clock"])


def bare(task: dict[str, Any]) -> dict[str, float]:
    """The updates that `ours` makes while its clock runs, and nothing else."""
    update, updates = ready_updates(task), (task["steps"] - task["clock"]) // task["every"]
    start, busy = time.perf_counter(), time.process_time()
    for i in range(updates):
        update(i)
    seconds = time.perf_counter() - start
    return {"per_second": updates * task["every"] / seconds, "cores_busy": (time.process_time() - busy) / seconds}


def ready_updates(task: dict[str, Any]) -> Callable[[int], Any]:
    """The i-th update of a student that has made some, on a batch that is ready."""
    import numpy as np
    import torch

    from reincarnate import envs
    from reincarnate.types import Batch, Weighing

    spec, rng, size = envs.spec(task["env"]), np.random.default_rng(0), task["batch"]
    student = config(task).newborn(spec, 0)
    student.overlap()

    def batch() -> Batch:
        obs = [torch.from_numpy(rng.integers(0, 256, (size, *spec.obs_shape), np.uint8)) for _ in range(2)]
        actions = torch.from_numpy(rng.integers(0, spec.actions, size))
        return Batch(obs[0], actions, torch.zeros(size), torch.full((size,), task["gamma"]), obs[1])

    batches = [batch() for _ in range(BATCHES)]
    for ready in batches:
        student.update(ready, Weighing(), rng)
    return lambda i: student.update(batches[i % BATCHES], Weighing(), rng)


def own_side(side: str, task: dict[str, Any], threads: int) -> dict[str, float]:
    import torch

    torch.set_num_threads(threads)
    return bare(task) if side == "bare" else ours(task, side)


def measure(side: str, task: dict[str, Any], threads: int, rivals: Path | None, pin: bool) -> dict[str, float]:
    """One repeat of one side, in a fresh process."""
    if side in OWN:
        return harness.fresh("training.py", "--side", side, threads, json.dumps(task), threads=threads, pin=pin)
    library, _, compiled = side.partition("-")
    settings = json.dumps({**task, "compile": bool(compiled)})
    if library == "sb3":
        return harness.fresh("rivals/sb3_dqn.py", threads, settings, threads=threads, pin=pin)
    if rivals is None:
        raise SystemExit(f"{side} needs --rivals DIR, or leave it out by --only")
    python = rivals.absolute() / library / "bin" / "python"
    return harness.fresh(f"rivals/{library}_dqn.py", threads, settings, threads=threads, python=python, pin=pin)


def contest(name: str, threads: int, args: argparse.Namespace) -> dict[str, Any]:
    task = {**TASKS[name], **COMMON}
    task["steps"] = args.steps or task["steps"]
    sides = [side for side in SIDES[name] if not args.only or side in args.only]

    def measurer(side: str):
        return lambda: measure(side, task, threads, args.rivals, args.pin)

    rows = harness.table(harness.alternate({side: measurer(side) for side in sides}, args.repeats))
    speeds = {side: row["per_second"] for side, row in rows.items()}
    own, others = [s for s in sides if s in OWN[:3]], [s for s in sides if s not in OWN[:3]]
    ratios = {f"{mine} / {other}": harness.ratio(speeds[mine], speeds[other]) for mine in own for other in others}
    for side, speed in speeds.items():
        busy = rows[side]["cores_busy"]["median"]
        print(
            f"{name:9} {threads} thread(s) {side:17}{speed['median']:8.1f} ({speed['min']:.1f}–{speed['max']:.1f})",
            end="",
        )
        print(f"  {busy:.2f} cores", flush=True)
    return {"task": name, "threads": threads, "pinned": args.pin, **task, "sides": rows, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", type=Path, help="the folder of their virtual environments")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--only", nargs="+", choices=sorted({side for sides in SIDES.values() for side in sides}))
    parser.add_argument("--steps", type=int, help="env steps instead of the task's own, for a quick look")
    parser.add_argument("--pin", action="store_true", help="each process on as many cores as threads")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--side", nargs=3, metavar=("SIDE", "THREADS", "TASK"), help="one repeat, as the others run it")
    args = parser.parse_args()
    if args.side:
        side, threads, task = args.side
        print(json.dumps(own_side(side, json.loads(task), int(threads))))
        return
    rows = [contest(name, threads, args) for name in args.tasks for threads in args.threads]
    rivals = rival_versions(args.rivals) if args.rivals else {}
    results = {"repeats": args.repeats, "rivals": rivals, "rows": rows}
    harness.write(args.out, "training.py", "env steps per second", results)


def rival_versions(rivals: Path) -> dict[str, Any]:
    return {
        folder: harness.fresh("rivals/versions.py", threads=1, python=rivals.absolute() / folder / "bin" / "python")
        for folder in ("sbx", "torchrl", "dopamine")
        if (rivals / folder).exists()
    }


if __name__ == "__main__":
    main()
