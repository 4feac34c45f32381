"""What agents of a study on balloons score on official seeds, all on the same flights, and how far they are apart.

    python studies/balloon.py out/balloon --out studies/balloon     # writes seeds.json; the study's runs must be done
    python studies/balloon.py out/more --out studies/balloon --add  # beside the methods and the teacher that are there

Paired: differences are taken flight by flight, so that the weather, half of the variance, cancels. Their intervals
(mean ± 1.96 standard errors over the flights, of means over the runs) say nothing of how other runs would differ.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate import envs
from reincarnate.agents.agent import open_agent
from reincarnate.teachers import open_teacher
from reincarnate.training.evaluate import Z95, play_episodes
from reincarnate.training.players import Greedy, Player
from reincarnate.types import Actor

TASK = "Balloon/Station-v0?seeds=0-{last}"
TEACHER = "balloon:perciatelli44"


def flown(actor: Actor, flights: int) -> dict[str, np.ndarray]:
    """TWR50 and return of each official seed [flights]."""
    env = envs.make(TASK.format(last=flights - 1), flights)
    found = play_episodes(env, actor, flights, np.random.default_rng(0))
    order = np.argsort(found.copies)  # one flight a copy; a balloon that was lost ends before the others
    return {"twr50": np.array(found.own)[order], "return": np.array(found.returns)[order]}


def mean_of(values: np.ndarray) -> dict[str, float]:
    """The mean over flights [F] with its 95 % interval."""
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    mean = float(values.mean())
    return {
        name: round(x, 4) for name, x in (("mean", mean), ("low", mean - Z95 * error), ("high", mean + Z95 * error))
    }


def compared(found: dict[str, np.ndarray], teacher: np.ndarray) -> dict[str, dict]:
    """For each method [runs, F]: its mean, as a share of the teacher's, and differences flight by flight."""
    own = {label: scores.mean(0) for label, scores in found.items()}
    return {
        label: {
            "twr50": mean_of(own[label]),
            "each_run": [round(float(run), 4) for run in scores.mean(1)],
            "percent_of_teacher": round(100 * float(own[label].mean() / teacher.mean()), 1),
            "minus": {
                other: mean_of(own[label] - flights)
                for other, flights in {"teacher": teacher, **own}.items()
                if other != label
            },
        }
        for label, scores in found.items()
    }


def by_the_teacher(flights: int) -> dict[str, Any]:
    """What the teacher scores, and each of its flights."""
    spec = envs.spec(TASK.format(last=flights - 1))
    found = flown(Player.of_teacher(open_teacher(TEACHER), spec, "greedy"), flights)
    told = {"twr50": mean_of(found["twr50"]), "return": round(float(found["return"].mean()), 1)}
    return {**told, "each_flight": found["twr50"]}


def main() -> None:
    """Judge every finished run of a study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--flights", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--add", action="store_true")
    args = parser.parse_args()
    flights = f"official seeds 0 to {args.flights - 1}"
    known: dict[str, Any] = json.loads((args.out / "seeds.json").read_text()) if args.add else {"flights": flights}
    if known["flights"] != flights:
        raise SystemExit(f"{args.out} has {known['flights']}, not {flights}")
    by_teacher = known.get("teacher") or by_the_teacher(args.flights)
    runs: dict[str, list[dict[str, np.ndarray]]] = {}
    for done in sorted(args.study.rglob("done")):
        record = json.loads((done.parent / "config.json").read_text())
        label = record["label"] or record["method"]["name"]
        if label in known.get("returns", {}):
            continue
        agent = open_agent(done.parent)
        runs.setdefault(label, []).append(flown(Greedy(agent.policy(), agent.spec, 0.0), args.flights))
        print(done.parent, round(float(runs[label][-1]["twr50"].mean()), 4), flush=True)
    before = {label: np.array(rows) for label, rows in known.get("each_flight", {}).items()}
    teachers = before.pop("teacher") if args.add else by_teacher.pop("each_flight")
    scores = before | {label: np.stack([one["twr50"] for one in own]) for label, own in runs.items()}
    returns = {label: round(float(np.mean([one["return"].mean() for one in own])), 1) for label, own in runs.items()}
    told = {
        "flights": flights,
        "teacher": by_teacher,
        "methods": compared(scores, teachers),
        "returns": known.get("returns", {}) | returns,
        "each_flight": {label: np.round(rows, 3).tolist() for label, rows in scores.items()}
        | {"teacher": np.round(teachers, 3).tolist()},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "seeds.json").write_text(json.dumps(told) + "\n")
    print(json.dumps({name: told[name] for name in ("teacher", "methods", "returns")}, indent=1))


if __name__ == "__main__":
    main()
