"""What several runs of examples/generations.sh came to: scores, curves and costs of every generation, as one JSON.

for s in 0 1 2; do SEED=$s OUT=out/generations-$s bash examples/generations.sh; done
python studies/generations.py out/generations-*     # writes studies/generations/seeds.json
"""

import json
import statistics
import sys
from pathlib import Path

AGENTS = ("a1", "a2", "a3", "a3-alone")
OUT = Path(__file__).parent / "generations" / "seeds.json"


def told(run: Path) -> dict:
    """A run's final score with its interval, its online evaluations, and what it cost by itself."""
    result = json.loads((run / "result.json").read_text())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    online = [line for line in lines if line["kind"] == "eval" and line["phase"] == "online" and line["env_steps"]]
    return {
        "seed": result["seed"],
        "score": result["score"],
        "interval": [round(limit, 2) for limit in result["interval"]],
        "seconds": result["seconds"],
        "online": {line["env_steps"]: round(line["score"], 2) for line in online},
    }


def summary(runs: list[dict]) -> dict:
    """Means over seeds; the curve's by evaluation."""
    curves = [run["online"] for run in runs]
    return {
        "score": round(statistics.mean(run["score"] for run in runs), 2),
        "online": {str(at): round(statistics.mean(curve[at] for curve in curves), 2) for at in curves[0]},
        "runs": runs,
    }


def main() -> None:
    """Summarise the folders named on the command line."""
    folders = [Path(name) for name in sys.argv[1:]]
    found = {agent: summary([told(folder / agent) for folder in folders]) for agent in AGENTS}
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    for agent, one in found.items():
        scores = ", ".join(f"{run['score']:.1f}" for run in one["runs"])
        print(f"{agent}: {one['score']:.1f} (seeds: {scores}); after {one['online']}")


if __name__ == "__main__":
    main()
