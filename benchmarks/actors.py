"""What actors that act for the learner (`--actors`) buy: measured with one and two here, simulated up to 64.

    python benchmarks/actors.py                      # writes actors.json beside itself; wants both cores to itself
    python benchmarks/actors.py --only simulated     # that part alone

Measured: whole runs of the command line, all sides in turn (`runs.py`). One torch thread in each process.

Simulated: a cycle of N actors on as many machines, out of what is measured in this process for each part of it: acting
for its share of the copies, packing and unpacking what passes, joining, learning. What is assumed is the network's
bandwidth and that a message costs nothing else; the learner sends, receives and joins for all actors in turn.
"""

import argparse
import json
import pickle
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
import runs
import torch

from reincarnate import Run, Scratch
from reincarnate.run.assemble import assemble
from reincarnate.run.prepare import measure_priors, prepare
from reincarnate.run.process_actors import WorkerSpec
from reincarnate.students import PPO, PQN
from reincarnate.training.remote_actors import joined
from reincarnate.training.rollout_worker import Request, weights_of

DQN = "--student dqn --student.warmup 400 --student.replay-size 20000 --envs 8"
TASKS: dict[str, dict[str, Any]] = {
    "PQN, Atari Breakout, 16 copies": {
        "flags": "scratch --env ALE/Breakout-v5 --student pqn --envs 16",
        "steps": (1024, 7168),
        "sides": {"the learner that acts": "", "1 actor": "--actors 1", "2 actors": "--actors 2"},
    },
    "PPO, HalfCheetah, 16 copies": {
        "flags": "scratch --env HalfCheetah-v5 --student ppo --envs 16 --student.rollout 128 --student.batch-size 256",
        "steps": (2048, 18432),
        "sides": {"the learner that acts": "", "1 actor": "--actors 1", "2 actors": "--actors 2"},
    },
    "DQN, Atari Breakout, 8 copies": {
        "flags": f"scratch --env ALE/Breakout-v5 {DQN}",
        "steps": (800, 3200),
        "sides": {
            "the learner that acts": "--overlap off",
            "beside the learner": "--overlap on",
            "1 actor": "--actors 1 --actor-steps 4",
            "2 actors": "--actors 2 --actor-steps 4",
        },
    },
}
BANDWIDTH = 1.25e9  # bytes a second: 10 Gbit/s, assumed
COUNTS = (1, 2, 4, 8, 16, 32, 64)
COPIES = 64
SIMULATED: dict[str, tuple[str, Any]] = {
    "PQN, Atari Breakout, 64 copies": ("ALE/Breakout-v5", PQN()),
    "PPO, HalfCheetah, 64 copies": ("HalfCheetah-v5", PPO(rollout=64, batch_size=512)),
}


# ---- simulated ---------------------------------------------------------------------------------------------


def seconds_of(work: Callable[[], Any], times: int = 3) -> float:
    """The median of a few."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[times // 2]


def simulated(name: str) -> dict[str, Any]:
    """Env steps per second by actors: a cycle's parts are measured, the cycle is put together."""
    env, student = SIMULATED[name]
    run = Run(env, Scratch(), student, envs=COPIES, env_steps=10**6, threads=1, compile="off", log="")
    with tempfile.TemporaryDirectory() as store:
        run = replace(run, store=store, reference_episodes=1)
        prepared = measure_priors(prepare(run), lambda *_: None, lambda _: None)
        trainings, loop, _ = assemble([prepared], lambda _: None)
    steps = trainings[0].pace.env_steps // COPIES
    weights = weights_of(trainings[0].student)
    learns = learning(loop, trainings[0], steps)
    rows = [put_together(run, prepared.spec, n, steps, weights, learns) for n in COUNTS]
    loop.close()
    first = rows[0]["env_steps_per_second"]
    for row in rows:
        row["times one actor"] = round(row["env_steps_per_second"] / first, 2)
    return {"task": name, "steps_of_each_copy": steps, "seconds_learning": round(learns, 4), "rows": rows}


def learning(loop: Any, training: Any, steps: int) -> float:
    """Seconds that a cycle's updates take: a whole cycle less its acting."""
    explores = [training.exploration(training.phases[0], 0)] * steps
    collector = loop._collector(0)
    acting = seconds_of(lambda: collector.during(explores, lambda: None))
    learn = {"student": loop._learner(0, "student")}
    cycle = seconds_of(lambda: loop._cycle(training.phases[0], collector, learn, 10**6))
    return max(cycle - acting, 1e-6)


def put_together(run: Run, spec: Any, n: int, steps: int, weights: np.ndarray, learns: float) -> dict[str, Any]:
    """One cycle of n actors."""
    worker = WorkerSpec(run, spec, COPIES // n, (), Path.cwd()).worker()
    worker.begin(np.random.default_rng(0))
    request = Request([0.05] * steps, None)
    acting = seconds_of(lambda: worker.act(request, weights))
    reply = worker.act(request, weights)
    message = pickle.dumps(reply, pickle.HIGHEST_PROTOCOL)
    packing = seconds_of(lambda: pickle.dumps(reply, pickle.HIGHEST_PROTOCOL))
    unpacking = seconds_of(lambda: pickle.loads(message))
    firsts = [i * (COPIES // n) for i in range(n)]
    joining = seconds_of(lambda: [joined([one] * n, firsts) for one in reply.experience])
    worker.close()
    passing = n * (weights.nbytes + len(message)) / BANDWIDTH  # the learner's own line is what all share
    cycle = passing + acting + packing + n * unpacking + joining + learns
    return {
        "actors": n,
        "env_steps_per_second": round(COPIES * steps / cycle),
        "answer_bytes": len(message),
        "weight_bytes": weights.nbytes,
        "seconds": {
            "passing": round(passing, 4),
            "acting": round(acting, 4),
            "packing": round(packing + n * unpacking + joining, 4),
            "learning": round(learns, 4),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[*TASKS, "simulated"], choices=[*TASKS, "simulated"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    path = Path(__file__).with_suffix(".json")
    kept = json.loads(path.read_text()) if path.exists() else {}
    rows = {row["task"]: row for row in kept.get("measured", [])}
    made = kept.get("simulated", {})
    for name in asked.only:
        if name == "simulated":
            made = {"assumed_bytes_per_second": BANDWIDTH, "tasks": [simulated(one) for one in SIMULATED]}
        else:
            rows[name] = runs.measured(name, TASKS[name], "the learner that acts", asked.repeats)
            print(name, json.dumps(rows[name]["against the learner that acts"]), flush=True)
        told = {"measured": [rows[task] for task in TASKS if task in rows], "simulated": made}
        harness.write(path, Path(__file__).name, "env steps per second", told)


if __name__ == "__main__":
    main()
