"""Runs that are killed at random instants and resumed, against the same runs never interrupted: every bit must agree.

    python benchmarks/soak.py                          # 200 kills over all students and methods; writes soak.json
    python benchmarks/soak.py --kills 30 --seed 7      # fewer, elsewhere
    python benchmarks/soak.py --kind actors --kills 40 --out FILE   # actor-critics and on-policy students

Each pair of student and method is trained once whole, then once more while it is killed (SIGKILL) and resumed, as
often as kills are left to share out, through the command line's own code. An instant is one of three:
"clock", a moment drawn from the time the run takes; "disk", just before a drawn one of its changes to the disk (a file
opened for writing, renamed, removed, cut; a folder made or removed); "torn", at a drawn flush, with a part of that file
lost. Compared are the agents (weights, optimiser and replay, by bytes and hashes), the best agent, the metrics and the
result, all but for the clock. Runs are tiny: CartPole, some 200 env steps, but every phase and every kind of file.

This process never trains: it forks children that do, which costs milliseconds instead of the seconds of an import.
"""

import argparse
import contextlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import killing

RULE = """
import torch
def lean(obs):
    push = (obs[:, 2] + 0.1 * obs[:, 3] + 0.3 * torch.sin(40 * obs[:, 0]) > 0).float()
    return torch.stack([1 - push, push], 1) * 4
def swing(obs):
    return torch.stack([2 * torch.tanh(obs[:, 2] + 0.3 * torch.sin(40 * obs[:, 0])), obs[:, 1] - 1], 1)
swing.tells = "gaussian"
"""
COMMON = (
    "--env-steps 210 --evaluations 3 --eval-episodes 2 --final-episodes 2 --reference-episodes 2 "
    "--data-env-steps 200 --teacher-plays greedy --keep all --student.hidden 8 8"
)
CHOICES = "--env CartPole-v1 --teacher py:rule.py:lean"
BOX = "--env Pendulum-v1?max_episode_steps=20 --teacher py:rule.py:swing"
REPLAY = "--student.warmup 30 --student.batch-size 8 --student.replay-size 150"
STUDENTS = {
    "dqn": f"{REPLAY} --student.optimizer rmsprop --envs 2",
    "rainbow": f"{REPLAY} --student.priority 0.5 --student.noisy --student.dueling --student.atoms 11",
    "qrdqn": f"{REPLAY} --student.quantiles 8 --student.priority 0.6 --student.double",
    "iqn": f"{REPLAY} --student.samples 4 --student.acting 4",
    "modern": f"{REPLAY} --student.priority 0.6 --student.reset-every 25 --student.atoms 11",
    "pqn": "--envs 4 --student.rollout 4 --student.batch-size 16",
}
ROLLOUT = "--envs 2 --student.rollout 8 --student.batch-size 8 --student.epochs 2"
ACTORS = {
    "td3": REPLAY,
    "sac": f"{REPLAY} --envs 2",
    "tqc": f"{REPLAY} --student.quantiles 5",
    "d4pg": f"{REPLAY} --student.update-every 2 --student.atoms 11",
    "modern_sac": f"{REPLAY} --student.atoms 11 --student.critics 3 --student.asked 2",
    "ppo": f"{ROLLOUT} --student.norm-obs --student.norm-reward",
    "ppo-continuous": ROLLOUT,
    "a2c": "--envs 2 --student.rollout 5",
    "primal_dual": "--envs 2 --student.rollout 4",
}
BOXED = ("td3", "sac", "tqc", "d4pg", "modern_sac", "ppo-continuous")
METHODS = {
    "scratch": "scratch",
    "qdagger": "qdagger --offline-updates 30",
    "pretrain": "pretrain --offline-updates 30",
    "dqfd": "dqfd --offline-updates 30 --share 0.25",
    "dagger": "dagger --offline-updates 30",
    "jsrl": "jsrl --horizon 20 --curriculum",
    "kickstart": "kickstart --temperature auto --wean.guard 0.3",
    "wsrl-weights": "wsrl --warmup-env-steps 60 --weights base-{student}",
    "wsrl-teacher": "wsrl --warmup-env-steps 60 --start teacher",
    "rlpd": "rlpd",
    "rehearsal": "rehearsal --share 0.25",
    "finetune": "finetune --weights base-{student} --reuse all",
    "warmcritic": "warmcritic --critic-env-steps 60",
    "warmcritic-weights": "warmcritic --critic-env-steps 60 --start weights --weights base-{student}",
    "together": "kickstart --seeds 2 --together on",
    "ppd": "ppd --teacher-acts 0.3",
    "bc": "bc --offline-updates 30",
    "td3bc": "td3bc --offline-updates 30",
    "awac": "awac --offline-updates 30",
    "iql": "iql --offline-updates 30",
    "calql": "calql --offline-updates 30 --actions 2",
}
OF_ACTORS = [
    *(("td3", "qdagger"), ("sac", "finetune"), ("tqc", "kickstart"), ("d4pg", "qdagger"), ("modern_sac", "rlpd")),
    *(("ppo", "kickstart"), ("ppo-continuous", "qdagger"), ("a2c", "warmcritic-weights"), ("primal_dual", "dagger")),
    *(("sac", "calql"), ("td3", "td3bc"), ("tqc", "awac"), ("sac", "iql"), ("ppo", "bc"), ("ppo-continuous", "ppd")),
    *(("sac", "wsrl-weights"), ("td3", "jsrl"), ("a2c", "finetune"), ("primal_dual", "scratch"), ("sac", "together")),
]
"""Pairs of students with actors and methods: every student first, then every method that value students are refused."""


WITH_ACTORS = ("ppd", "bc", "td3bc", "awac", "iql", "calql")


class Case:
    """One student and method, in a folder of its own."""

    def __init__(self, student: str, method: str, folder: Path):
        self.student, self.method, self.folder = student, method, folder / f"{student}-{method}"

    def flags(self, out: str) -> list[str]:
        task, own = BOX if self.student in BOXED else CHOICES, {**STUDENTS, **ACTORS}[self.student]
        words = f"{METHODS[self.method]} {task} {COMMON} --student {self.student} {own} --seed 1"
        return ["train", *words.format(student=self.student).split(), "--store", f"store-{out}", "--out", out]

    def prepare(self) -> None:
        """The teacher, and the agent that some methods start from."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "rule.py").write_text(RULE)
        base = self.folder.parent / f"base-{self.student}"
        if "base-" in METHODS[self.method]:
            if not base.exists():
                scratch = Case(self.student, "scratch", self.folder.parent)
                scratch.prepare()
                killing.expect(0, killing.child(scratch.folder, scratch.flags("base")), scratch.folder)
                (scratch.folder / "base").rename(base)
            shutil.copytree(base, self.folder / base.name)

    def command(self, out: str) -> list[str]:
        """What a person would type now: `resume`, or the same `train` again where not even a directory was made."""
        return ["resume", "--trust", out] if list((self.folder / out).rglob("config.json")) else self.flags(out)

    def done(self, out: str) -> bool:
        """Whether every run is."""
        return len(list((self.folder / out).rglob("done"))) == (2 if self.method == "together" else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=("values", "actors"), default="values", help="of student")
    parser.add_argument("--cases", type=int, help="pairs of student and method; default: all, or one for each kill")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--folder", type=Path, help="where the runs go, and stay; default: a temporary folder")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    pairs = spread(chance) if args.kind == "values" else OF_ACTORS
    pairs = pairs[: min(len(pairs), args.kills, args.cases or len(pairs))]
    killing.warm()
    start, results = time.perf_counter(), []
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for i, (student, method) in enumerate(pairs):
            share = args.kills // len(pairs) + (i < args.kills % len(pairs))
            results.append(soak(Case(student, method, folder.resolve()), share, chance))
            progress(results[-1], i + 1, len(pairs), time.perf_counter() - start)
            if not args.folder and not results[-1]["differ"]:
                shutil.rmtree(folder / f"{student}-{method}")
    report(args, results)


def spread(chance: random.Random) -> list[tuple[str, str]]:
    """All pairs of student and method, the first few with as many different ones as there can be."""
    students, methods = list(STUDENTS), [name for name in METHODS if name not in WITH_ACTORS]
    chance.shuffle(students)
    chance.shuffle(methods)
    pairs = [(students[(i + k) % len(students)], name) for k in range(len(students)) for i, name in enumerate(methods)]
    return [pair for pair in pairs if pair != ("pqn", "together")]  # without a replay, one seed at a time


def soak(case: Case, kills: int, chance: random.Random) -> dict[str, Any]:
    """Train one case whole, then again with this many kills, and compare."""
    case.prepare()
    start = time.perf_counter()
    killing.expect(0, killing.child(case.folder, case.flags("whole"), count=case.folder / "operations"), case.folder)
    seconds = time.perf_counter() - start
    instants = list(_kill(case, kills, seconds, json.loads((case.folder / "operations").read_text()), chance))
    if not case.done("killed"):
        killing.expect(0, killing.child(case.folder, case.command("killed")), case.folder)
    differ = killing.compare(case.folder)
    killed = sum(end == "killed" for _, _, end in instants)
    return {"student": case.student, "method": case.method, "kills": killed, "differ": differ, "instants": instants}


def _kill(case: Case, kills: int, seconds: float, operations: dict[str, int], chance: random.Random) -> Iterator[tuple]:
    """Kill and resume a run; where it was quicker than its killer, another one from the beginning."""
    while kills:
        if case.done("killed"):
            if killing.compare(case.folder):
                return
            shutil.rmtree(case.folder / "killed")
            shutil.rmtree(case.folder / "store-killed")
        kind = chance.choice(killing.KINDS)
        when = chance.uniform(0, seconds) if kind == "clock" else chance.randint(1, operations[kind])
        status = killing.child(case.folder, case.command("killed"), kind, when, chance.random())
        killing.expect(status if status == -signal.SIGKILL else 0, status, case.folder)
        kills -= status == -signal.SIGKILL
        yield kind, round(when, 3), "killed" if status else "done"


# ---- what is told --------------------------------------------------------------------------------------


def progress(result: dict[str, Any], done: int, total: int, seconds: float) -> None:
    left = seconds / done * (total - done)
    told = f"DIFFERS in {', '.join(result['differ'])}" if result["differ"] else "the same"
    print(
        f"{done}/{total} {result['student']} {result['method']}: {result['kills']} kills, {told}; "
        f"{seconds:.0f} s, about {left:.0f} s left",
        flush=True,
    )


def report(args: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    def counts(key: str) -> dict[str, int]:
        return {name: sum(r["kills"] for r in results if r[key] == name) for name in sorted({r[key] for r in results})}

    kinds = [kind for r in results for kind, _, end in r["instants"] if end == "killed"]
    failures = [r for r in results if r["differ"]]
    total = {
        "seed": args.seed,
        "kills": sum(r["kills"] for r in results),
        "by instant": {kind: kinds.count(kind) for kind in killing.KINDS},
        "by student": counts("student"),
        "by method": counts("method"),
        "failures": failures,
        "cases": results,
    }
    harness.write(args.out, "soak.py", "kills", total)
    print(f"{total['kills']} kills, {len(failures)} of {len(results)} cases differ")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
