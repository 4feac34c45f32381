"""Does decorrelation help on MinAtar, alone and under a teacher that leaves? Area under the curve and features.

    python studies/decorrelation.py PART out.json [SECONDS]
        # dqn, qrdqn, pqn: from scratch; weaned: DQN under a teacher; tune: DQN, seed 100, by which forms were chosen

Goes on where it was stopped, arm by arm and with the seeds that an arm lacks; begins none after so many seconds. The
seeds of an arm are trained together.
Seeds from 0 on are reported; each arm is compared with the one without a penalty, seed by seed.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from reincarnate import METHODS, STUDENTS, Run, execute_together

ENV, PRIOR = "MinAtar/Breakout-v1", Path(__file__).resolve().parents[1] / "priors" / "minatar-breakout-dqn"
NONE = "none"
Arm = tuple[str, str, int, int]  # method, penalty, seeds, env steps
STEPS = 25_000
PARTS: dict[str, tuple[str, tuple[Arm, ...]]] = {
    "pqn": (
        "pqn",
        tuple(("scratch", by, 5, 150_000) for by in (NONE, "covariance 1", "correlation 0.1", "correlation 1")),
    ),
    "dqn": ("dqn", tuple(("scratch", by, 5, STEPS) for by in (NONE, "correlation 0.1", "correlation 1"))),
    "qrdqn": (
        "qrdqn",
        tuple(("scratch", by, 5, STEPS) for by in (NONE, "correlation 0.1", "correlation 1")),
    ),
    "weaned": ("dqn", tuple(("kickstart", by, 5, STEPS) for by in (NONE, "correlation 0.1"))),
    "tune": (
        "dqn",
        tuple(("scratch", by, 1, 30_000) for by in (NONE, "covariance 1", "covariance 100", "correlation 1")),
    ),
}
FEATURES = ("feature_correlation", "feature_rank", "feature_norm", "feature_dead")
T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571}  # Student's, two-sided 95 %, by number of values


def run_of(student: str, arm: Arm, seed: int, store: str) -> Run:
    """One seed of an arm."""
    method, penalty, _, steps = arm
    by, weight = ("covariance", 0.0) if penalty == NONE else (penalty.split()[0], float(penalty.split()[1]))
    own = {} if student == "pqn" else {"lr": 2.5e-4, "target_every": 500, "epsilon_steps": steps // 5}
    return Run(
        ENV,
        METHODS[method](),
        STUDENTS[student](decorrelate=weight, decorrelate_by=by, **own),
        teacher=f"store:{PRIOR}",
        seed=seed,
        env_steps=steps,
        evaluations=5,
        eval_episodes=20,
        final_episodes=40,
        reference_episodes=50,
        store=store,
        threads=1,
        log="",
    )


def trained(student: str, arm: Arm, seeds: range, store: str) -> list[dict[str, Any]]:
    """Of each seed the area under its curve (the mean of its evaluations), final score, and features as it ends."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / f"s{seed}" for seed in seeds]
        results = execute_together([run_of(student, arm, seed, store) for seed in seeds], places)
        told = [[json.loads(line) for line in (p / "metrics.jsonl").read_text().splitlines()] for p in places]
    found = []
    for seed, result, lines in zip(seeds, results, told, strict=True):
        curve = [line["score"] for line in lines if line["kind"] == "eval"][1:]
        last = [line for line in lines if line["kind"] == "train"][-1]
        kept = {name: round(last[name], 4) for name in (*FEATURES, "loss_decorrelation", "loss_td") if name in last}
        area = round(statistics.mean(curve), 3)
        found.append(
            {"seed": seed, "area": area, "score": round(result["score"], 2), "seconds": result["seconds"], **kept}
        )
    return found


def interval(values: list[float]) -> list[float]:
    """Mean and half of its 95 % interval, by Student's t; no interval of one value."""
    mean = round(statistics.mean(values), 3)
    if len(values) < 2:
        return [mean]
    return [mean, round(T[len(values)] * statistics.stdev(values) / len(values) ** 0.5, 3)]


def summary(runs: list[dict[str, Any]], plain: list[dict[str, Any]]) -> dict[str, Any]:
    """Means with intervals; of what differs, seed by seed, from the arm without a penalty."""
    names = ("area", "score", *FEATURES)
    told: dict[str, Any] = {name: interval([run[name] for run in runs]) for name in names}
    before = {run["seed"]: run for run in plain}
    pairs = [(run, before[run["seed"]]) for run in runs if run["seed"] in before]
    if plain is not runs and pairs:
        told["more"] = {name: interval([run[name] - other[name] for run, other in pairs]) for name in names}
    return told | {"runs": runs}


def main(argv: list[str]) -> int:
    """All arms that are not there yet."""
    if len(argv) not in (2, 3) or argv[0] not in PARTS:
        print(__doc__, file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    (student, arms), out = PARTS[argv[0]], Path(argv[1])
    store = str(Path(tempfile.gettempdir()) / "decorrelation-store")
    until = time.monotonic() + float(argv[2] if len(argv) > 2 else "inf")
    found = json.loads(out.read_text()) if out.exists() else {}
    for arm in arms:
        method, penalty, n, steps = arm
        there = found.get(f"{method}, {penalty}", {"runs": []})["runs"]
        if len(there) >= n or time.monotonic() > until:
            continue
        first, began = (100 if argv[0] == "tune" else 0), time.monotonic()
        runs = there + trained(student, arm, range(first + len(there), first + n), store)
        plain = runs if penalty == NONE else found.get(f"{method}, {NONE}", {"runs": []})["runs"]
        before = found.get(f"{method}, {penalty}", {"wall_seconds": 0.0})["wall_seconds"]
        wall = round(before + time.monotonic() - began, 1)
        found[f"{method}, {penalty}"] = {"env_steps": steps, "wall_seconds": wall, **summary(runs, plain)}
        out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        print(student, method, penalty, found[f"{method}, {penalty}"]["area"], f"{wall} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
