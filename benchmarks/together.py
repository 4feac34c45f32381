"""Ten seeds as a batch dimension against one seed, and against ten processes' worth of one: `--seeds 10 --together`.

    python benchmarks/together.py            # CartPole MLP, MinAtar CNN (also on 2 threads); writes JSON beside itself

Seconds of training (acting, environment, replay, updates; no evaluation) of the same DQN for the same env steps: one
seed alone, and ten together; plain and with the update compiled before the clock starts. All sides alternate, each
repeat in a process of its own. `ratio` is ten together over one alone, both at their best (compiled); ten alone in a
row are ten by definition, in two processes on two cores five at best.
"""

import argparse
import json
import sys
import time
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


def training_of(task: dict, seed: int = 0, memory=None, prepare=lambda student: None):
    from ours import training

    from reincarnate.methods import Scratch

    phases = Scratch().phases(task["steps"])
    return training(config_of(task), task["env"], phases, seed=seed, memory=memory, prepare=prepare)


def config_of(task: dict):
    from ours import settings

    from reincarnate.students import DQN

    own = {key: task[key] for key in ("hidden", "update_every")}
    return settings(DQN(**own, batch_size=task["batch"], replay_size=20_000, target_every=500), WARMUP)


def one(task: dict, compiled: bool) -> float:
    from ours import loop

    from reincarnate.types import Weighing

    def prepare(student) -> None:
        if compiled:
            student.compile()
            warm_up(lambda batch, rng: student.update(batch, Weighing(), rng), student, 1)

    whole = loop(training_of(task, prepare=prepare), task["env"])
    return clock(lambda: whole.run([lambda line: None], [lambda: None], lambda phase: None))


def ten(task: dict, compiled: bool) -> float:
    from dataclasses import replace

    from ours import memory_of

    from reincarnate import envs
    from reincarnate.data.memory import Memory
    from reincarnate.students.stacked import StackedStudent
    from reincarnate.training.loop import Loop
    from reincarnate.training.population import Stacked
    from reincarnate.types import Weighing

    config = config_of(task)
    whole = memory_of(replace(config, replay_size=config.replay_size * SEEDS), task["env"], SEEDS)
    parts = [whole.rows.shard(seed, SEEDS) for seed in range(SEEDS)]
    memories = [Memory(part, config.layout(), whole.sampler.like(part)) for part in parts]
    trainings = [training_of(task, seed, memories[seed]) for seed in range(SEEDS)]
    stacked = StackedStudent([t.student for t in trainings], compiled)
    if compiled:
        update = lambda batch, rng: stacked.update(batch, [Weighing()] * SEEDS, [rng] * SEEDS)
        warm_up(update, trainings[0].student, SEEDS)
    both = Loop(trainings, {"student": Stacked(trainings, stacked, whole.rows)}, envs.make(task["env"], SEEDS))
    nothing = [lambda *_: None] * SEEDS
    return clock(lambda: both.run(nothing, nothing, lambda phase: None))


def warm_up(update, student, seeds: int) -> None:
    """Compile before the clock starts, and say on stderr how long that took."""
    import numpy as np
    import torch

    from reincarnate.types import Batch

    size, spec = student.settings.batch_size * seeds, student.spec
    obs = [torch.zeros(size, *spec.obs_shape, dtype=getattr(torch, spec.obs_dtype)) for _ in range(2)]
    start = time.perf_counter()
    numbers = [torch.zeros(size) for _ in range(2)]
    update(Batch(obs[0], torch.zeros(size, dtype=torch.int64), *numbers, obs[1]), np.random.default_rng(0))
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


def contest(name: str, threads: int, repeats: int) -> dict:
    def measurer(side: str):
        asked = ("--side", side, "--task", name, "--threads", threads)
        return lambda: harness.fresh("together.py", *asked, threads=threads)

    taken = harness.table(harness.alternate({side: measurer(side) for side in SIDES}, repeats))
    times = {side: row["seconds"] for side, row in taken.items()}
    medians = {side: row["median"] for side, row in times.items()}
    ratio = round(min(medians["ten"], medians["ten compiled"]) / min(medians["one"], medians["one compiled"]), 2)
    told = "  ".join(f"{side} {median:.2f} s" for side, median in medians.items())
    print(f"{name}, {threads} thread(s): {told}  ten over one {ratio}", flush=True)
    settings = {**TASKS[name], "task": name, "threads": threads, "seeds": SEEDS, "repeats": repeats}
    return {**settings, **times, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=TASKS)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.side:
        import torch

        torch.set_num_threads(args.threads)
        print(json.dumps({"seconds": SIDES[args.side](TASKS[args.task])}))
        return
    names = args.only or list(TASKS)
    rows = [contest(name, threads, args.repeats) for name in names for threads in TASKS[name].get("threads", (1,))]
    harness.write(args.out, "together.py", "seconds", {"repeats": args.repeats, "rows": rows})


if __name__ == "__main__":
    main()
