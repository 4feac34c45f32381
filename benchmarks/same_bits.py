"""Do two states of the code train to the same bits? Digests of small runs of every value student, weights and metrics.

    python benchmarks/same_bits.py record before.json     # in one checkout
    python benchmarks/same_bits.py record after.json      # in the other, on the same machine
    python benchmarks/same_bits.py compare before.json after.json

Digests hold on one machine alone: another processor adds in another order.
"""

import json
import sys
import tempfile
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path

import torch

ENV, PRIOR = "MinAtar/Breakout-v1", Path(__file__).resolve().parents[1] / "priors" / "minatar-breakout-dqn"
STUDENTS = ("dqn", "rainbow", "qrdqn", "iqn", "modern", "pqn")
METHODS = {
    "scratch": {},
    "finetune": {},
    "qdagger": {"offline_updates": 60},
    "dqfd": {"offline_updates": 60},
    "kickstart": {},
    "jsrl": {"horizon": 50},
}
IGNORED = (
    "seconds",
    "agreement_",
    "kl_",
    "grad_",
    "entropy",
    "action_gap",
    "value_scale",
    "at_",
    "feature_",
)  # of a line of metrics


def record() -> dict[str, str]:
    """A digest per student and method."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for student in STUDENTS:
            for method, settings in METHODS.items():
                out = Path(folder) / f"{student}-{method}"
                weights = str(Path(folder) / f"{student}-scratch") if method == "finetune" else None
                run_one(student, method, settings, weights, out)
                found[f"{student} {method}"] = digest(out)
                print(f"{student} {method}: {found[f'{student} {method}'][:16]}", flush=True)
    return found


def run_one(student: str, method: str, settings: dict, weights: str | None, out: Path) -> None:
    from reincarnate import METHODS as methods
    from reincarnate import STUDENTS as students
    from reincarnate import Run, execute

    config = students[student]()
    names = {f.name for f in fields(config)}
    small = {"warmup": 64, "target_every": 50, "replay_size": 2_000, "epsilon_steps": 300}
    small |= {"low": -10.0, "high": 10.0}  # left open, newer code chooses them by scores and data
    config = replace(config, **{k: v for k, v in small.items() if k in names and student != "pqn"})
    method_of = methods[method](**settings)
    run = Run(
        env=ENV,
        method=_as_the_paper(method_of),
        student=config,
        teacher=f"store:{PRIOR}",
        weights=weights,
        env_steps=1_600 if student == "pqn" else 500,
        evaluations=2,
        eval_episodes=4,
        final_episodes=4,
        reference_episodes=10,
        data_env_steps=1_000,
        store=str(out.parent / "store"),
        threads=1,
    )
    execute(run, out)


def _as_the_paper(method):
    """Weaned as in the paper, where newer code would anchor the student."""
    known = {f.name for f in fields(method.wean)} if hasattr(method, "wean") else set()
    asked = {k: v for k, v in {"anchor": 0.0, "score": "mean"}.items() if k in known}
    return replace(method, wean=replace(method.wean, **asked)) if asked else method


def digest(out: Path) -> str:
    """Of an agent's weights and of its metrics, seconds left out."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["kind"] != "point"]  # which newer code writes between barriers
    kept = [{k: v for k, v in line.items() if not k.startswith(IGNORED)} for line in lines]
    weights = (out / "agent" / "weights.safetensors").read_bytes()
    return sha256(weights + json.dumps(kept, sort_keys=True).encode()).hexdigest()


def main(argv: list[str]) -> int:
    torch.set_num_threads(1)
    if argv[:1] == ["record"] and len(argv) == 2:
        Path(argv[1]).write_text(json.dumps(record(), indent=1) + "\n")
        return 0
    if argv[:1] == ["compare"] and len(argv) == 3:
        one, other = (json.loads(Path(path).read_text()) for path in argv[1:])
        differ = [name for name in one if one[name] != other.get(name)]
        print(f"{len(one) - len(differ)} of {len(one)} the same" + "".join(f"\nDIFFERS: {name}" for name in differ))
        return 1 if differ else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
