"""How good a teacher a minute of training makes: PQN with many copies against DQN with one, on MinAtar Breakout.

    python benchmarks/race.py            # three seeds of each, alternating; writes JSON beside itself

Both learn from scratch with their defaults, on one thread, for budgets of env steps chosen so that training takes about
as long (seconds of training are reported; evaluations, 20 episodes each, are not counted as training). The score is
the mean return of 50 greedy episodes at the end, its interval over episodes.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import harness

ENV = "MinAtar/Breakout-v1"
BUDGETS = {"pqn": 800_000, "dqn": 60_000}  # env steps
COPIES = {"pqn": 64, "dqn": 1}


def run(side: str, seed: int) -> dict[str, Any]:
    from reincarnate import Run, Scratch, execute
    from reincarnate.students import STUDENTS

    settings = {"env_steps": BUDGETS[side], "envs": COPIES[side], "evaluations": 2, "threads": 1}
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        asked = Run(ENV, Scratch(), STUDENTS[side](), seed=seed, store=store, **settings)
        result = execute(asked, Path(folder) / "run")
    kept = {key: result[key] for key in ("score", "interval", "env_steps", "updates", "seconds")}
    print(f"{side} seed {seed}: score {result['score']:.1f}, {result['seconds']:.0f} s", flush=True)
    return {"student": side, "seed": seed, **kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    rows = [run(side, seed) for seed in range(args.seeds) for side in BUDGETS]
    harness.write(args.out, "race.py", "mean return", {"env": ENV, "copies": COPIES, "rows": rows})


if __name__ == "__main__":
    main()
