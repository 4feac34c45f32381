"""Does decorrelation help PQN on MinAtar, alone and under a teacher that leaves? Area under the curve and features.

    python studies/decorrelation.py out.json [SECONDS]     # goes on where it was stopped; begins no run after so long

Forms and λ were looked at on seed 100; there the penalty on covariances, up to λ = 10, fell without features that
correlate less. Seeds from 0 on are reported.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from reincarnate import METHODS, STUDENTS, Run, execute

ENV, PRIOR = "MinAtar/Breakout-v1", Path(__file__).resolve().parents[1] / "priors" / "minatar-breakout-dqn"
ARMS = {
    "scratch": ("none", "covariance 1", "correlation 0.1", "correlation 1"),
    "kickstart": ("none", "correlation 0.1"),
}
SEEDS = {"scratch": 5, "kickstart": 4}
STEPS = {"scratch": 150_000, "kickstart": 100_000}
FEATURES = ("feature_correlation", "feature_rank", "feature_norm", "feature_dead")


def one(method: str, arm: str, seed: int, store: str) -> dict[str, Any]:
    """A run's area under its curve (the mean of its evaluations), final score, and features as it ends."""
    by, weight = ("covariance", 0.0) if arm == "none" else (arm.split()[0], float(arm.split()[1]))
    run = Run(
        ENV,
        METHODS[method](),
        STUDENTS["pqn"](decorrelate=weight, decorrelate_by=by),
        teacher=f"store:{PRIOR}",
        seed=seed,
        env_steps=STEPS[method],
        evaluations=8,
        eval_episodes=20,
        final_episodes=50,
        reference_episodes=50,
        store=store,
        threads=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        result = execute(run, Path(folder) / "run")
        lines = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    curve = [line["score"] for line in lines if line["kind"] == "eval"][1:]
    last = [line for line in lines if line["kind"] == "train"][-1]
    told = {name: round(last[name], 4) for name in (*FEATURES, "loss_decorrelation", "loss_td") if name in last}
    area = round(statistics.mean(curve), 3)
    return {"seed": seed, "area": area, "score": round(result["score"], 2), "seconds": result["seconds"], **told}


def interval(values: list[float]) -> list[float]:
    """Mean and half of its 95 % interval, by Student's t for five values (2.776), four (3.182) or three (4.303)."""
    t = {3: 4.303, 4: 3.182, 5: 2.776}.get(len(values), 2.0)
    half = t * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return [round(statistics.mean(values), 3), round(half, 3)]


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means with intervals."""
    names = ("area", "score", *FEATURES)
    return {name: interval([run[name] for run in runs]) for name in names} | {"runs": runs}


def main(argv: list[str]) -> int:
    """All runs that are not there yet, seed by seed."""
    if len(argv) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    out, store = Path(argv[0]), str(Path(tempfile.gettempdir()) / "decorrelation-store")
    until = time.monotonic() + float(argv[1] if len(argv) > 1 else "inf")
    found = json.loads(out.read_text()) if out.exists() else {}
    for method in STEPS:
        for seed in range(SEEDS[method]):
            for arm in ARMS[method]:
                runs = found.setdefault(f"{method}, {arm}", {"runs": []})["runs"]
                if any(run["seed"] == seed for run in runs) or time.monotonic() > until:
                    continue
                runs.append(one(method, arm, seed, store))
                print(method, arm, runs[-1], flush=True)
                told = {key: summary(value["runs"]) for key, value in found.items() if value["runs"]}
                out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
