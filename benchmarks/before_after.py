"""Is this checkout as fast as another one, say of an older commit? Whole runs of the command line, both sides in turn.

    git worktree add --detach ../before COMMIT
    python benchmarks/before_after.py ../before            # writes before_after.json beside itself

Each side trains the same thing in a process of its own, with one torch thread. Two runs of different length are
taken from each other, so that start-up, references and evaluations, which both have, are not in the figure: env
steps per CPU second (user and system), which other processes on the machine disturb least, and per second.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import harness

CALL = "import sys; from reincarnate.cli import main; sys.exit(main())"
COMMON = "--evaluations 1 --eval-episodes 1 --final-episodes 1 --reference-episodes 2 --threads 1 --compile off"
DQN = (  # all that newer code would fit to so small a budget is told
    "--student dqn --student.update-every 1 --student.batch-size 64 --student.warmup 200 --student.replay-size 20000 "
    "--student.epsilon-steps 10000"
)
TASKS: dict[str, dict] = {
    "dqn, CartPole": {"flags": f"--env CartPole-v1 {DQN}", "steps": (1_000, 9_000)},
    "dqn, MinAtar": {"flags": f"--env MinAtar/Breakout-v1 {DQN}", "steps": (1_000, 9_000)},
    "pqn, MinAtar": {"flags": "--env MinAtar/Breakout-v1 --student pqn", "steps": (10_240, 102_400)},
    "ten dqn together, CartPole": {
        "flags": f"--env CartPole-v1 {DQN} --seeds 10 --together on",
        "steps": (500, 4_500),
    },
    "ten dqn together, MinAtar": {
        "flags": f"--env MinAtar/Breakout-v1 {DQN} --seeds 10 --together on",
        "steps": (500, 3_500),
    },
}


def seconds(tree: Path, flags: str, env_steps: int) -> tuple[float, float]:
    """CPU seconds and seconds of one run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", CALL, "train", "scratch", *flags.split(), *COMMON.split()]
        command += ["--env-steps", str(env_steps), "--out", f"{folder}/out", "--store", f"{folder}/store"]
        known = {**os.environ, "PYTHONPATH": str(tree.resolve() / "src"), "OMP_NUM_THREADS": "1"}
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True)
        passed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, passed


def speed(tree: Path, task: dict) -> harness.Measured:
    """Env steps per CPU second and per second, of the steps by which the longer run is longer."""
    short, long = (seconds(tree, task["flags"], steps) for steps in task["steps"])
    steps = task["steps"][1] - task["steps"][0]
    return {"per_cpu_second": steps / (long[0] - short[0]), "per_second": steps / (long[1] - short[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the older state")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(TASKS), choices=list(TASKS))
    asked = parser.parse_args()
    after, rows = Path(__file__).resolve().parents[1], []
    for name in asked.only:
        task = TASKS[name]
        taken = harness.alternate(
            {"before": partial(speed, asked.before, task), "after": partial(speed, after, task)}, asked.repeats
        )
        table = harness.table(taken)
        ratio = harness.ratio(table["after"]["per_cpu_second"], table["before"]["per_cpu_second"])
        rows.append({"task": name, **task, "env steps": table, "after / before": ratio})
        print(f"{name}: after / before {ratio}", flush=True)
    path = Path(__file__).with_suffix(".json")
    harness.write(path, Path(__file__).name, "env steps per CPU second, and per second", {"rows": rows})


if __name__ == "__main__":
    main()
