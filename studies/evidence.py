"""What the studies say of the paper's findings: one table for each, from the studies' `index.json`, to evidence.json.

    python studies/evidence.py [FOLDER OF STUDIES]      # by default this one; studies that are not there are left out

Scores are normalised (random policy 0, teacher 1). Levels are interquartile means over seeds and tasks, differences
and drops means of what each run gained or lost; 95 % stratified-bootstrap intervals, 2,000 resamples. Returns are raw;
differences of their levels have 50,000 resamples.
"""

import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from reincarnate.report.statistics import REPS, Interval, iqm, mean, probability_of_improvement, stratified_bootstrap

HERE = Path(__file__).parent
SEED = 0  # of the bootstrap
MANY = 50_000  # resamples, where an interval's end is near 0
WEANED = 0.6  # fraction of the online phase at which λ ends at the latest


@dataclass(frozen=True)
class Curves:
    """One method of a study: arrays [seeds, tasks, …], tasks and seeds in order."""

    final: np.ndarray  # [S, T], normalised
    raw: np.ndarray  # [S, T]
    online: np.ndarray  # [S, T, E], normalised, after each stretch of the online phase
    steps: np.ndarray  # [E], env steps of those

    def at(self, fraction: float) -> np.ndarray:
        """Scores [S, T] at the evaluation nearest to a fraction of the online phase."""
        return self.online[:, :, int(np.abs(self.steps / self.steps[-1] - fraction).argmin())]


class Study:
    """A study's `index.json`."""

    def __init__(self, *paths: Path):
        self.runs = [run for path in paths for run in json.loads(path.read_text())["runs"]]

    @cached_property
    def tasks(self) -> list[str]:
        """In alphabetical order."""
        return sorted({run["config"]["env"] for run in self.runs})

    @cached_property
    def labels(self) -> list[str]:
        """Methods with runs on all tasks."""
        return sorted(label for label in {run["label"] for run in self.runs} if self.seeds(label))

    def seeds(self, *labels: str) -> list[int]:
        """Those that all these methods have on all tasks."""
        have = {(run["label"], run["config"]["env"], run["config"]["seed"]) for run in self.runs}
        asked = [(label, task) for label in labels for task in self.tasks]
        return [seed for seed in sorted({seed for *_, seed in have}) if all((*pair, seed) in have for pair in asked)]

    def reference(self, who: str) -> np.ndarray:
        """Mean return [T] of "random" or "teacher"."""
        first = {run["config"]["env"]: run["result"]["reference"][who]["mean"] for run in self.runs}
        return np.array([first[task] for task in self.tasks])

    def method(self, label: str, *others: str) -> Curves:
        """Its runs, of the seeds that the others have as well."""
        seeds = self.seeds(label, *others)
        grid = [self._of(label, task, seeds) for task in self.tasks]
        curves = [[[e for e in run["curve"] if e[0] == "online" and e[1] > 0] for run in column] for column in grid]
        return Curves(
            final=np.array([[run["result"]["normalised"] for run in column] for column in grid]).T,
            raw=np.array([[run["result"]["score"] for run in column] for column in grid]).T,
            online=np.array([[[e[4] for e in curve] for curve in column] for column in curves]).transpose(1, 0, 2),
            steps=np.array([e[1] for e in curves[0][0]]),
        )

    def _of(self, label: str, task: str, seeds: list[int]) -> list[dict]:
        own = {run["config"]["seed"]: run for run in self.runs if (run["label"], run["config"]["env"]) == (label, task)}
        return [own[seed] for seed in seeds]


def interval(scores, statistic, reps: int = REPS) -> dict:
    """Point and limits, rounded."""
    found: Interval = stratified_bootstrap(scores, statistic, np.random.default_rng(SEED), reps)
    return {name: None if x is None else round(float(x), 4) for name, x in vars(found).items() if name != "reason"}


def levels(study: Study, labels: list[str], over: str) -> list[dict]:
    """Where each method ends, and how often a run of it beats one of `over` on the same task."""
    rows = []
    for label in labels:
        own = study.method(label).final
        row = {"method": label, "seeds": len(own), "final": interval(own, iqm), "mean": interval(own, mean)}
        row["per task"] = {task: round(float(x), 2) for task, x in zip(study.tasks, own.mean(0), strict=True)}
        if label != over:
            row[f"beats {over}"] = interval((own, study.method(over).final), probability_of_improvement)
        rows.append(row)
    return rows


def drops(study: Study, labels: list[str]) -> list[dict]:
    """What each run has at the last evaluation with a teacher, and what it gains or loses from there."""
    rows = []
    for label in labels:
        own = study.method(label)
        with_teacher, after = (
            own.at(WEANED),
            own.online[:, :, int(np.abs(own.steps / own.steps[-1] - WEANED).argmin()) + 1],
        )
        row = {"method": label, "seeds": len(own.final), "at 60 %": interval(with_teacher, iqm)}
        row["final"] = interval(own.final, iqm)
        row["next evaluation"] = interval(after - with_teacher, mean)
        row["to the end"] = interval(own.final - with_teacher, mean)
        rows.append(row)
    return rows


def gains(study: Study, ones: list[str], others: list[str]) -> list[dict]:
    """Differences of final scores between two methods, by run (same task, same seed)."""
    rows = []
    for one, other in [(one, other) for one in ones for other in others if one != other]:
        difference = study.method(one, other).final - study.method(other, one).final
        rows.append({"method": one, "minus": other, "seeds": len(difference), "final": interval(difference, mean)})
    return rows


def returns(study: Study, labels: list[str]) -> list[dict]:
    """Levels of returns on each task, to lay beside those of a teacher's greedy play."""
    return [
        {"method": label, "task": task, "return": interval(study.method(label).raw[:, [k]], iqm)}
        for label in labels
        for k, task in enumerate(study.tasks)
    ]


def apart(study: Study, pairs: list[tuple[str, str]]) -> list[dict]:
    """Differences of two methods' levels in returns, the runs of each drawn on their own."""
    rows = []
    for one, other in pairs:
        scores = (study.method(one).raw, study.method(other).raw)
        less = interval(scores, lambda x, y: iqm(x) - iqm(y), MANY)
        rows.append({"method": one, "minus": other, "return": less})
    return rows


def kept(study: Study, taught: float) -> list[dict]:
    """Means of the last three evaluations by the best one while taught, by run; the best of several flatters itself."""
    rows = []
    for label in study.labels:
        own = study.method(label)
        best = own.online[:, :, own.steps <= taught * own.steps[-1]].max(2)
        row = {"method": label, "seeds": len(own.final), "kept": interval(own.online[:, :, -3:].mean(2) / best, iqm)}
        rows.append(row | {"final of best": interval(own.final / own.online.max(2), iqm)})
    return rows


def graded(studies: dict[str, Study], names: tuple[str, ...]) -> list[dict]:
    """QDagger's students by the teacher they had, all on the scale of the first study's teacher."""
    best, rows = studies[names[0]], []
    random, span = best.reference("random"), best.reference("teacher") - best.reference("random")
    for name in names:
        if name in studies:
            study = studies[name]
            teacher = (study.reference("teacher") - random) / span
            students = (study.method("qdagger").raw - random) / span
            row = {"study": name, "teacher, mean": round(float(teacher.mean()), 4), "student": interval(students, mean)}
            row["student minus teacher"] = interval(students - teacher, mean)
            if (kept := "qdagger, rate kept") in study.labels:
                gain = study.method(kept, "qdagger").raw - study.method("qdagger", kept).raw
                row["rate kept, gain"] = interval(gain / span, mean)
            row["per task"] = {
                task: {"teacher": round(float(t), 2), "student": round(float(s), 2)}
                for task, t, s in zip(study.tasks, teacher, students.mean(0), strict=True)
            }
            rows.append(row)
    return rows


def quicker(nature: Study, curves: dict[str, dict[str, list]]) -> list[dict]:
    """Env steps that Adam from scratch took to the score that fine-tuning with Adam reached, for each task."""
    rows, own = [], nature.method("adam")
    random, teacher = nature.reference("random"), nature.reference("teacher")
    for k, task in enumerate(nature.tasks):
        reached = (own.online[:, k].mean(0) * (teacher[k] - random[k]) + random[k]).tolist()
        scratch = curves[task]["dqn-200k"]
        best = int(np.argmax(reached))
        later = next((step for step, score in scratch if score >= reached[best]), None)
        row = {"task": task, "nature teacher": round(float(teacher[k]), 2), "fine-tuned": round(reached[best], 2)}
        row |= {"after env steps": int(own.steps[best]), "from scratch after": later}
        row["times"] = None if later is None else round(later / int(own.steps[best]), 1)
        row["from scratch, best of"] = [scratch[-1][0], round(max(score for _, score in scratch), 2)]
        rows.append(row)
    return rows


def pays(study: Study, taught: str, alone: str = "scratch") -> list[dict]:
    """Env steps of its own that a method takes to the score that learning alone ends at, and to its teacher's.

    Where the mean curve over seeds first gets there, linear between evaluations, and at the first one if it is there
    already; `times` fewer, with the interval of 2,000 resamples of both methods' seeds. None: not within the budget.
    What the teacher cost is not in it.
    """
    rows, rng = [], np.random.default_rng(SEED)
    with_teacher, without = study.method(taught), study.method(alone)
    for k, task in enumerate(study.tasks):
        end = float(without.online[:, k, -1].mean())
        for name, target in ((f"where {alone} ends", end), ("teacher's", 1.0)):
            own, other = (reached(one.online[:, k], one.steps, target) for one in (with_teacher, without))
            row = {"task": task, "score": round(target, 2), "of": name, taught: own, alone: other}
            rows.append(row | {"times": _times(with_teacher, without, k, target, rng) if own and other else None})
    return rows


def reached(curves: np.ndarray, steps: np.ndarray, target: float) -> int | None:
    """Where the mean of curves [S, E] first reaches a target; None: nowhere."""
    height = curves.mean(0)
    above = np.flatnonzero(height >= target)
    if not len(above):
        return None
    i = int(above[0])
    share = (target - height[i - 1]) / (height[i] - height[i - 1]) if i else 1.0
    return round(float(steps[max(i - 1, 0)] + (steps[i] - steps[max(i - 1, 0)]) * share))


def _times(one: Curves, other: Curves, k: int, target: float, rng: np.random.Generator) -> dict:
    """How many times fewer env steps `one` takes; limits are None where a resample does not get there."""

    def ratio(a: np.ndarray, b: np.ndarray) -> float:
        fewer, more = reached(a, one.steps, target), reached(b, other.steps, target)
        return np.inf if more is None else 0.0 if fewer is None else more / max(fewer, 1)

    a, b = one.online[:, k], other.online[:, k]
    drawn = [ratio(a[rng.integers(len(a), size=len(a))], b[rng.integers(len(b), size=len(b))]) for _ in range(2000)]
    low, high = np.percentile(drawn, [2.5, 97.5], method="nearest")
    return {"point": round(ratio(a, b), 2)} | {
        name: round(float(x), 2) if 0 < x < np.inf else None for name, x in (("low", low), ("high", high))
    }


def findings(studies: dict[str, Study], curves: dict[str, dict[str, list]]) -> dict:
    """Each finding of the paper, as far as the studies at hand reach."""
    found: dict = {}
    if study := studies.get("methods"):
        has = lambda *labels: [label for label in labels if label in study.labels]
        found["1 methods, policy to value"] = levels(study, study.labels, "scratch")
        found["1 qdagger against the others"] = gains(study, ["qdagger"], study.labels)
        ways = has(*(f"{name}{n}" for name in ("kickstart", "qdagger", "pretrain") for n in ("", ", n = 1")))
        found["2 weaning at n = 3 and n = 1"] = drops(study, ways)
        found["3 dqfd"] = drops(study, has("dqfd"))
        found["4 jsrl"] = gains(study, has("jsrl"), ["scratch"])
        found["5 constant"] = drops(study, has("qdagger, constant", "dagger", "qdagger"))
        found["guard"] = gains(study, has("qdagger, guard"), ["qdagger"]) + drops(study, has("qdagger, guard"))
    if study := studies.get("values"):
        found["1 methods, value to value"] = levels(study, study.labels, "scratch")
        found["5 constant, value to value"] = drops(study, study.labels)
        found["6 graded teachers"] = graded(studies, ("values", "graded_nature", "graded_20k"))
    if study := studies.get("values_long"):
        found["1 value to value, five times the budget"] = levels(study, study.labels, "scratch")
        found["2 value to value, five times the budget"] = drops(study, study.labels)
        found["5 qdagger against the others, five times the budget"] = gains(study, ["qdagger"], study.labels)
        found["kept after weaning, value to value, five times the budget"] = kept(study, 0.6)
        found["pays, value to value"] = pays(study, "qdagger")
    if study := studies.get("finetune"):
        found["7 fine-tuning"] = levels(study, study.labels, "finetune, full rate")
    if study := studies.get("nature"):
        found["8 nature to adam"] = drops(study, study.labels)
        found["8 how many times fewer env steps"] = quicker(study, curves)
    if study := studies.get("better"):
        found["better, what is kept alone"] = kept(study, 0.5)
        found["better, all four games"] = levels(study, study.labels, "scratch")
        found["pays, the teacher stays"] = pays(study, "stays")
        found["pays, the teacher goes"] = pays(study, "anchored")
    if "better" in studies and "paper_pqn" in studies:  # the same teachers, budget and references
        study = Study(*(HERE / name / "index.json" for name in ("better", "paper_pqn")))
        found["1 methods, PQN students, a million env steps"] = levels(study, study.labels, "scratch")
        found["1 qdagger against the others, PQN students"] = gains(study, ["qdagger"], study.labels)
        ways = ["qdagger", "qdagger, λ = 0"]
        found["2 n = 1 against λ-returns, PQN students"] = drops(studies["paper_pqn"], ways)
        names = ("paper_pqn", "graded_pqn_1m", "graded_pqn_250k")
        found["6 graded teachers, PQN students"] = graded(studies, names)
        found["an anchor of half of λ0, PQN students"] = gains(study, ["qdagger, anchor 1.5"], ["qdagger"])
        found["3 dqfd, PQN students"] = drops(study, ["dqfd"] if "dqfd" in study.labels else [])
        found["kept after weaning, PQN students"] = kept(studies["paper_pqn"], 0.6)
    for name, words in (("weaned_ppo", "PPO students"), ("weaned_dqn", "DQN students of policies")):
        if study := studies.get(name):
            found[f"kept after weaning, {words}"] = kept(study, 0.5)
            found[f"without an anchor, {words}"] = gains(study, ["unanchored"], ["anchored"])
    for name in ("better", "paper_pqn", "policies_above"):
        if study := studies.get(name):
            found[f"returns, {name}"] = returns(study, study.labels)
    if study := studies.get("primal_dual"):
        found["primal-dual, returns"] = returns(study, study.labels)
        pairs = [("primal-dual", "td"), ("residual", "td"), ("primal-dual", "residual")]
        found["primal-dual, differences"] = apart(study, pairs)
    return found


def main() -> None:
    """Read what is there, print it, write it."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    studies = {path.parent.name: Study(path) for path in sorted(folder.glob("*/index.json"))}
    curves = json.loads((folder / "priors.json").read_text()) if (folder / "priors.json").exists() else {}
    found = findings(studies, curves)
    for name, rows in found.items():
        print(f"\n{name}")
        for row in rows:
            print("  " + "; ".join(f"{key}: {said(value)}" for key, value in row.items()))
    (folder / "evidence.json").write_text(json.dumps(found, indent=1) + "\n")


def said(value: object) -> str:
    """An interval as point [low, high]."""
    if isinstance(value, dict) and "point" in value:
        point, low, high = ("–" if x is None else f"{x:.2f}" for x in (value["point"], value["low"], value["high"]))
        return point if low == high == "–" else f"{point} [{low}, {high}]"
    return str(value)


if __name__ == "__main__":
    main()
