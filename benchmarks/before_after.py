"""Is this checkout as fast as another one, say of an older commit? Whole runs of the command line, both sides at once.

    git worktree add --detach ../before COMMIT
    python benchmarks/before_after.py ../before            # writes before_after.json beside itself

Both sides train the same thing, each in a process of its own with one torch thread, at the same time and on the same
core: the system gives each a few milliseconds in turn, so that whatever disturbs the machine meets both alike. What is
compared is the processor time of each (user and system). Two runs of different length are taken from each other, so
that start-up, references and evaluations, which both have, are not in the figure: env steps per CPU second.
"""

import argparse
import json
import os
import subprocess
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import harness
import runs

DQN = (  # all that newer code would fit to so small a budget is told
    "--student dqn --student.update-every 1 --student.batch-size 64 --student.warmup 200 --student.replay-size 20000 "
    "--student.epsilon-steps 10000"
)
TEACHER = "--teacher prior:minatar-breakout-dqn --wean.by fixed"  # a shipped one
TASKS: dict[str, dict] = {
    "dqn, CartPole": {"flags": f"--env CartPole-v1 {DQN}", "steps": (1_000, 9_000)},
    "dqn, MinAtar": {"flags": f"--env MinAtar/Breakout-v1 {DQN}", "steps": (1_000, 9_000)},
    "pqn, MinAtar": {"flags": "--env MinAtar/Breakout-v1 --student pqn", "steps": (10_240, 102_400)},
    "pqn taught, MinAtar": {
        "method": f"kickstart {TEACHER}",
        "flags": "--env MinAtar/Breakout-v1 --student pqn",
        "steps": (10_240, 102_400),
    },
    "dqn taught, MinAtar": {
        "method": f"kickstart {TEACHER}",
        "flags": f"--env MinAtar/Breakout-v1 {DQN}",
        "steps": (1_000, 9_000),
    },
    "ten dqn together, CartPole": {
        "flags": f"--env CartPole-v1 {DQN} --seeds 10 --together on",
        "steps": (500, 4_500),
    },
    "ten dqn together, MinAtar": {
        "flags": f"--env MinAtar/Breakout-v1 {DQN} --seeds 10 --together on",
        "steps": (500, 3_500),
    },
}


def started(tree: Path, words: str, env_steps: int, folder: str, core: int) -> subprocess.Popen:
    """A run of one side, on one core."""
    command = runs.command(words, env_steps, folder)
    known = {**os.environ, "PYTHONPATH": str(tree.resolve() / "src"), "OMP_NUM_THREADS": "1"}
    pin, quiet = partial(os.sched_setaffinity, 0, {core}), subprocess.DEVNULL
    with open(f"{folder}/errors", "wb") as errors:
        return subprocess.Popen(command, cwd=folder, env=known, stdout=quiet, stderr=errors, preexec_fn=pin)


def seconds(trees: dict[str, Path], words: str, env_steps: int, core: int) -> dict[str, float]:
    """CPU seconds of one run of each side, both at once on one core."""
    used = {}
    with ExitStack() as stack:
        folders = {side: stack.enter_context(tempfile.TemporaryDirectory()) for side in trees}
        running = {side: started(tree, words, env_steps, folders[side], core) for side, tree in trees.items()}
        for side, process in running.items():
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"{side}: {Path(folders[side], 'errors').read_text()[-3000:]}")
            used[side] = usage.ru_utime + usage.ru_stime
    return used


def speeds(trees: dict[str, Path], task: dict, core: int) -> dict[str, harness.Measured]:
    """Env steps per CPU second of each side, of the steps by which the longer run is longer."""
    words = f"{task.get('method', 'scratch')} {task['flags']}"
    short, long = (seconds(trees, words, steps, core) for steps in task["steps"])
    steps = task["steps"][1] - task["steps"][0]
    return {side: {"per_cpu_second": steps / (long[side] - short[side])} for side in trees}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the older state")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    trees = {"before": asked.before, "after": Path(__file__).resolve().parents[1]}
    path, core = asked.out, max(os.sched_getaffinity(0))
    rows = {row["task"]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    for name in asked.only:
        task = TASKS[name]
        taken = [speeds(trees, task, core) for _ in range(asked.repeats)]
        table = harness.table({side: [one[side] for one in taken] for side in trees})
        ratio = harness.ratio(table["after"]["per_cpu_second"], table["before"]["per_cpu_second"])
        rows[name] = {"task": name, **task, "env steps": table, "after / before": ratio}  # others stay as measured
        print(f"{name}: after / before {ratio}", flush=True)
        told = {"rows": [rows[name] for name in TASKS if name in rows]}
        harness.write(path, Path(__file__).name, "env steps per CPU second", told)


if __name__ == "__main__":
    main()
