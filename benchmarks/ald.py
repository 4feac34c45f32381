"""What it costs that a transformer teaches the small network that acts: `ald` beside either network alone.

    python benchmarks/ald.py                # writes ald.json beside itself; wants both cores to itself
    python benchmarks/ald.py --ray          # an actor of Ray distils, too

Whole runs of the command line, all sides in turn (`runs.py`); one torch thread in each process. "ald, two processes"
distils the student beside the learner's updates, to the same bits. All learn alike, from rollouts of 512 steps; the
fewer copies those are spread over, the dearer is acting.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import harness
import runs

PPO = "--student ppo --student.hidden 64 --student.rollout {rollout} --student.segment 32 --student.batch-size 256"
SMALL = PPO + " --student.memory lstm --student.memory-size 64"
LARGE = PPO + " --student.memory gtrxl --student.memory-size {size} --student.memory-length 32"
ALD = f"ald {SMALL} --learner-size {{size}} --learner-length 32 --distil-steps 2"
SIDES = {
    "the LSTM alone": f"scratch {SMALL}",
    "the GTrXL alone": f"scratch {LARGE}",
    "ald, one process": ALD,
    "ald, two processes": f"{ALD} --processes two",
}
AGAINST = "the GTrXL alone"
ROLLOUT = 512  # steps of all copies
CASES = {  # copies, size of the transformer, env steps of the shorter and the longer run
    "16 copies, GTrXL of 64": (16, 64, (2048, 10240)),
    "2 copies, GTrXL of 64": (2, 64, (1024, 5120)),
}


def task(case: str, ray: bool) -> dict[str, Any]:
    """What `runs.measured` takes."""
    copies, size, steps = CASES[case]
    sides = {**SIDES, "ald, an actor of Ray distils": f"{ALD} --processes two --backend ray"} if ray else SIDES
    told = {"size": size, "rollout": ROLLOUT // copies}
    where = f"--env Memory/IMaze-v0?length=10 --envs {copies}"
    return {"steps": steps, "sides": {side: f"{flags.format(**told)} {where}" for side, flags in sides.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--only", nargs="*", default=[*CASES], choices=[*CASES])
    asked = parser.parse_args()
    path = Path(__file__).with_suffix(".json")
    cases = []
    for case in asked.only:
        cases.append(runs.measured(case, task(case, asked.ray), AGAINST, asked.repeats))
        print(case, json.dumps(cases[-1][f"against {AGAINST}"]), flush=True)
    harness.write(path, Path(__file__).name, "env steps per second", {"cases": cases})


if __name__ == "__main__":
    main()
