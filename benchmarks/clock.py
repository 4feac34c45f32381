"""The clock of an agent that is better than its teacher: whole commands, from the shell and back, and where it goes.

    git worktree add --detach ../before c314493
    python benchmarks/clock.py --before ../before          # writes clock.json beside itself

A PQN of a real policy (MinAtar Breakout, PPO, by the authors of pgx), one thread, all included: start-up, opening and
scoring the teacher and the random policy, evaluations on the way, 64 final episodes. Three sides in turn: a million env
steps with the code of the older commit, the same with the code of today, and the 300,000 of studies/clock.yaml. What
the stages cost is measured within: each call's time counts once, for the innermost stage (all of it for an evaluation).
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial, wraps
from pathlib import Path
from typing import Any

import harness
import runs

ROOT = harness.HERE.parent
TEACHER = "py:{root}/examples/minatar_ppo.py:PPO?path={shared}/teachers/minatar/pgx_ppo_breakout.npz"
COMMON = "--env MinAtar/Breakout-v1 --student pqn --threads 1 --eval-episodes 16 --final-episodes 64"
STAYS = "kickstart --weight 0.5 --temperature 1 --wean.by fixed"
SIDES = {  # name: (which tree, the recipe)
    "a million, before": ("before", f"{STAYS} --env-steps 1000000"),
    "a million": ("now", f"{STAYS} --env-steps 1000000"),
    "300,000": ("now", f"{STAYS} --env-steps 300000 --evaluations 6"),
}
STAGES = (  # module, name within it, what its time is; an evaluation's is not divided further
    ("reincarnate.run.execute", "prepare_all", "task and teacher opened"),
    ("reincarnate.run.execute", "measure_priors", "teacher and random policy scored"),
    ("reincarnate.training.loop", "Loop.run", "the loop itself"),
    ("reincarnate.run.assemble", "evaluate_student", "evaluations"),
    ("reincarnate.training.loop", "Loop._learn_newest", "handing a rollout to the student"),
    ("reincarnate.training.loop", "Loop._teacher_of", "the teacher's opinion of a rollout"),
    ("reincarnate.students.value", "ValueStudent.prepare", "targets of a rollout"),
    ("reincarnate.students.value", "ValueStudent.update", "updates"),
    ("reincarnate.students.value", "ValueStudent.act", "the student's actions"),
    ("reincarnate.envs.minatar.batch", "Games.step", "the game"),
)
WHOLE = ("evaluations", "teacher and random policy scored")


class Stages:
    """Seconds by stage; what begins within another is taken from it."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self._open = ["start-up"]
        self._since = time.time()

    def _turn(self) -> None:
        now = time.time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def watch(self, module: str, name: str, stage: str) -> None:
        """Count a function's time as a stage's."""
        owner = importlib.import_module(module)
        *outer, last = name.split(".")
        for part in outer:
            owner = getattr(owner, part)
        function = getattr(owner, last)

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._open[-1] in WHOLE:
                return function(*args, **kwargs)
            self._turn()
            self._open.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._turn()
                self._open.pop()
                if stage == "the loop itself":
                    self._open = ["final episodes, agent, result"]

        setattr(owner, last, timed)

    def done(self) -> dict[str, float]:
        """All of them."""
        self._turn()
        return {stage: round(seconds, 3) for stage, seconds in self.seconds.items()}


def inside(arguments: list[str]) -> None:
    """The command in this process, watched; the last line printed is what its stages took."""
    began = float(os.environ["BEGAN"])
    stages = Stages()
    stages.seconds["start-up"] = time.time() - began
    for stage in STAGES:
        stages.watch(*stage)
    from reincarnate.cli import main

    main(arguments)
    print(json.dumps(stages.done()), flush=True)


def measured(tree: Path, recipe: str, seed: int, shared: Path, watched: bool, core: int) -> dict[str, Any]:
    """One whole command, as a person would give it, in a fresh process on one core."""
    teacher = TEACHER.format(root=ROOT, shared=shared)
    with tempfile.TemporaryDirectory() as folder:
        given = f"train {recipe} {COMMON} --seed {seed} --out {folder}/out --store {folder}/store".split()
        given += ["--teacher", teacher]
        known = {**os.environ, "PYTHONPATH": str(tree.resolve() / "src"), "OMP_NUM_THREADS": "1"}
        how = [str(harness.HERE / "clock.py"), "--inside"] if watched else ["-c", runs.CALL]
        began, pin = time.time(), partial(os.sched_setaffinity, 0, {core})
        done = subprocess.run(
            [sys.executable, *how, *given],
            cwd=folder,
            env={**known, "BEGAN": str(began)},
            capture_output=True,
            text=True,
            preexec_fn=pin,
        )
        seconds = time.time() - began
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        result = json.loads(Path(folder, "out", "result.json").read_text())
    stages = json.loads(done.stdout.strip().splitlines()[-1]) if watched else {}
    if watched:
        stages["shutting down"] = round(seconds - sum(stages.values()), 3)
    return {"seconds": seconds, "times_its_teacher": result["normalised"], "stages": stages}


def main() -> None:
    """Measure all sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of the older commit; without it that side is left out")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--out", type=Path, default=harness.HERE / "clock.json")
    given = parser.parse_args()
    trees = {"now": ROOT, **({"before": given.before} if given.before else {})}
    sides = {name: side for name, side in SIDES.items() if side[0] in trees}
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for seed in range(given.repeats):
        for name, (tree, recipe) in sides.items():
            said = measured(trees[tree], recipe, seed, given.shared.resolve(), tree == "now", given.core)
            taken[name].append(said)
            print(name, said, flush=True)
    table = {
        name: {
            "recipe": f"train {SIDES[name][1]} {COMMON}",
            "seconds": harness.spread([one["seconds"] for one in took]),
            "times_its_teacher": harness.spread([one["times_its_teacher"] for one in took]),
            "stages": {s: harness.spread([one["stages"].get(s, 0.0) for one in took]) for s in took[0]["stages"]},
        }
        for name, took in taken.items()
    }
    first = next(iter(table))
    ratios = {name: harness.ratio(table[name]["seconds"], table[first]["seconds"]) for name in table}
    found = {"repeats": given.repeats, "sides": table, f"seconds against {first}": ratios}
    harness.write(given.out, "clock.py", "seconds", found)


if __name__ == "__main__":
    if "--inside" in sys.argv[:2]:
        inside(sys.argv[2:])
    else:
        main()
