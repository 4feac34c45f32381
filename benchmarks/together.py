"""Ten seeds as a batch dimension against one seed, and against ten processes' worth of one: `--seeds 10 --together`.

    python benchmarks/together.py            # CartPole MLP, MinAtar CNN (also on 2 threads); writes JSON beside itself

Seconds of training (acting, environment, replay, updates; no evaluation) of the same DQN for the same env steps: one
seed alone, and ten together; plain and with the update compiled before the clock starts. All sides alternate, each
repeat in a process of its own. `ratio` is ten together over one alone, both at their best (compiled); ten alone in a
row are ten by definition, in two processes on two cores five at best.
"""

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import harness

TASKS = {
    "cartpole": {"env": "CartPole-v1", "hidden": (64, 64), "batch": 64, "update_every": 1, "steps": 4000},
    "cartpole, update every 4": {
        "env": "CartPole-v1",
        "hidden": (64, 64),
        "batch": 32,
        "update_every": 4,
        "steps": 8000,
    },
    "minatar": {
        "env": "MinAtar/Breakout-v1",
        "hidden": (),
        "batch": 32,
        "update_every": 4,
        "steps": 4000,
        "threads": (1, 2),
    },
}
WARMUP = 200
SEEDS = 10


def training_of(task: dict, seed: int, memory, env):
    from reincarnate import envs
    from reincarnate.evaluate import Evaluation
    from reincarnate.exploration import Exploration
    from reincarnate.methods import Scratch
    from reincarnate.training import Training

    config, spec = config_of(task), envs.spec(task["env"])
    return Training(
        student=config.newborn(spec, seed),
        env=env,
        phases=[replace(phase, evaluations=1) for phase in Scratch().phases(task["steps"])],
        memory=memory,
        prior=None,
        teacher=None,
        scale=None,
        exploration=Exploration(WARMUP, 1000, 0.05),
        evaluate=lambda index: Evaluation((0.0,), 0),
        seed=seed,
        pace=config.pace(1),
    )


def config_of(task: dict):
    from reincarnate.students import DQN

    settings = {key: task[key] for key in ("hidden", "update_every")}
    return DQN(**settings, batch_size=task["batch"], replay_size=20_000, target_every=500)


def one(task: dict, compiled: bool) -> float:
    from reincarnate import envs

    spec = envs.spec(task["env"])
    training = training_of(task, 0, config_of(task).memory(spec, 1), envs.make(task["env"], 1))
    if compiled:
        training.student.compile()
        warm_up(training.student.update, training.student, spec, 1)
    return clock(lambda: training.run(lambda line: None, lambda: None, lambda phase: None))


def ten(task: dict, compiled: bool) -> float:
    from reincarnate import envs
    from reincarnate.students.stacked import StackedStudent
    from reincarnate.together import Together

    spec, config = envs.spec(task["env"]), config_of(task)
    memory, env = config.memory(spec, SEEDS), envs.make(task["env"], SEEDS)
    trainings = [training_of(task, seed, memory.part(seed, SEEDS), env) for seed in range(SEEDS)]
    stacked = StackedStudent([t.student for t in trainings], compiled)
    if compiled:
        update = lambda batch, terms, rng: stacked.update(batch, terms, [rng] * SEEDS, 1.0, [1.0] * SEEDS)
        warm_up(update, stacked, spec, SEEDS)
    both = Together(trainings, stacked, env, memory)
    nothing = [lambda *_: None] * SEEDS
    return clock(lambda: both.run(nothing, nothing, lambda phase: None))


def warm_up(update, student, spec, seeds: int) -> None:
    """Compile before the clock starts, and say on stderr how long that took."""
    import numpy as np
    import torch

    from reincarnate.types import Batch

    size = student.config.batch_size * seeds
    obs = [torch.zeros(size, *spec.obs_shape, dtype=getattr(torch, spec.obs_dtype)) for _ in range(2)]
    start = time.perf_counter()
    numbers = [torch.zeros(size) for _ in range(2)]
    update(Batch(obs[0], torch.zeros(size, dtype=torch.int64), *numbers, obs[1]), [], np.random.default_rng(0))
    print(f"compiled in {time.perf_counter() - start:.1f} s", file=sys.stderr)


def clock(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


SIDES = {
    "one": lambda task: one(task, False),
    "one compiled": lambda task: one(task, True),
    "ten": lambda task: ten(task, False),
    "ten compiled": lambda task: ten(task, True),
}


def measure(side: str, name: str, threads: int) -> float:
    """One repeat in a fresh process."""
    command = [sys.executable, __file__, "--side", side, "--task", name, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.strip().splitlines()[-1])


def contest(name: str, threads: int, repeats: int) -> dict:
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side, values in times.items():
            values.append(round(measure(side, name, threads), 3))
    task = TASKS[name]
    row: dict = {**task, "task": name, "threads": threads, "seeds": SEEDS, "repeats": repeats}
    for side, values in times.items():
        row[side] = {"median": statistics.median(values), "min": min(values), "max": max(values), "all": values}
    medians = {side: row[side]["median"] for side in SIDES}
    row["ratio"] = round(min(medians["ten"], medians["ten compiled"]) / min(medians["one"], medians["one compiled"]), 2)
    print(
        f"{name}, {threads} thread(s): " + "  ".join(f"{k} {v:.2f} s" for k, v in medians.items()),
        row["ratio"],
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=TASKS)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.side:
        import torch

        torch.set_num_threads(args.threads)
        print(SIDES[args.side](TASKS[args.task]))
        return
    names = [args.only] if args.only else list(TASKS)
    rows = [contest(name, threads, args.repeats) for name in names for threads in TASKS[name].get("threads", (1,))]
    harness.write(args.out, "together.py", "seconds", {"repeats": args.repeats, "rows": rows})


if __name__ == "__main__":
    main()
