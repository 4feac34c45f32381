"""Gossip on CartPole with A2C and PQN: how far members part, how often runs learn, what one slow process costs.

    python benchmarks/gossip.py ball out.json [SECONDS]  # spread against learning rate, members and missing messages
    python benchmarks/gossip.py share out.json [SECONDS] # 1 × 64 copies against 4 × 16: share of runs that learn
    python benchmarks/gossip.py straggler out.json [SECONDS] # two processes, one slowed threefold: gossip, all-reduce
    python benchmarks/gossip.py pqn-ball|pqn-share out.json [SECONDS] # the first two with PQN in A2C's place

All numbers are of this machine, which others may be using: compare what was measured in one go. All go on where they
were stopped, and begin no run after so many seconds.
"""

import json
import multiprocessing
import platform
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from reincarnate import Run, Scratch, execute_together
from reincarnate.run.assemble import assemble
from reincarnate.run.prepare import measure_priors, prepare, prepare_all
from reincarnate.students import A2C, PQN
from reincarnate.training.gossip import Gossip, Parameters, Peer, spread
from reincarnate.training.mailbox import Mailbox
from reincarnate.training.topology import ball

NOTE = "a shared machine of 2 cores: other work ran beside; compare only what was measured in one go"
SMALL = {"evaluations": 5, "eval_episodes": 10, "final_episodes": 50, "reference_episodes": 10, "threads": 1}
STEPS = 200_000  # env steps of all learners together
LEARNT = 475.0  # mean of 50 final episodes: the threshold that CartPole-v1 is registered with
LRS = (7e-4, 2.8e-3, 1.12e-2)
PQN_LRS = (2.5e-4, 1e-3, 4e-3)
QUICKLY = 10_000  # env steps in which a PQN's ε falls: a fifth of what each of four learners has


def student_of(name: str, lr: float) -> Any:
    """The learner of a benchmark."""
    return PQN(hidden=(64, 64), lr=lr, epsilon_steps=QUICKLY) if name == "pqn" else A2C(lr=lr)


def run_of(lr: float, members: int, copies: int, seed: int, store: str, student: str = "a2c", **gossip: Any) -> Run:
    """A run of `members` learners with so many copies each, out of one budget."""
    exchange = {"population": members, "exchange": Gossip(**gossip)} if members > 1 else {}
    settings = {"env_steps": STEPS // members, "envs": copies, "seed": seed, "store": store, **SMALL, **exchange}
    return Run("CartPole-v1", Scratch(), student_of(student, lr), **settings)


# ---- how far they part ---------------------------------------------------------------------------------


def ball_of(
    lr: float, members: int, store: str, env_steps: int = 8_000, student: str = "a2c", **gossip: Any
) -> dict[str, Any]:
    """The largest and the last relative spread after a round, of two seeds; and the bound's `reach`."""
    most, last = [], []
    for seed in range(2):
        run = replace(
            run_of(lr, members, 16, 10 * seed, store, student, **gossip),
            env_steps=env_steps,
            evaluations=1,
            eval_episodes=1,
        )
        prepared = [measure_priors(p, lambda *_: None, lambda _: None) for p in prepare_all(run.members())]
        _, loop, _ = assemble(prepared, lambda _: None)
        mix, seen = loop.exchange, []

        class Watched:
            """The exchange, and what it left."""

            begin, judged, told = mix.begin, mix.judged, mix.told

            def __call__(self, trainings, mix=mix, seen=seen):
                mix(trainings)
                seen.append(spread(torch.stack([Parameters(training.cast).gather() for training in trainings])))

        loop.exchange = Watched()
        loop.run([lambda line: None] * members, [lambda: None] * members, lambda phase: None)
        loop.env.close()
        most.append(max(seen))
        last.append(sum(seen[-20:]) / 20)
    bound = round(ball(1.0, 1.0, gossip.get("topology", "auto"), members), 3)
    told = {"lr": lr, "members": members, **gossip, "bound": bound}
    return told | {"most": [round(x, 5) for x in most], "last": [round(x, 5) for x in last]}


BALLS = (
    *({"lr": lr, "members": 4} for lr in (3.5e-4, 7e-4, 1.4e-3, 2.8e-3)),
    *({"lr": 1.4e-3, "members": n, "topology": "ring"} for n in (2, 8)),
    {"lr": 1.4e-3, "members": 8, "topology": "exponential"},
    *({"lr": 1.4e-3, "members": 4, "arrives": 0.25, "tau": tau} for tau in (1, 4, 0)),
    {"lr": 1.4e-3, "members": 4, "every": 10**9},  # they never mix
)

PQN_BALLS = tuple(
    {"student": "pqn", **asked}
    for asked in (
        *({"lr": lr, "members": 4} for lr in (2.5e-4, 5e-4, 1e-3, 2e-3)),
        *({"lr": 1e-3, "members": n, "topology": "ring"} for n in (2, 8)),
        {"lr": 1e-3, "members": 8, "topology": "exponential"},
        *({"lr": 1e-3, "members": 4, "arrives": 0.25, "tau": tau} for tau in (1, 4)),
        {"lr": 1e-3, "members": 4, "every": 10**9},
    )
)


def balls(out: Path, store: str, until: float, asked_for: tuple[dict[str, Any], ...] = BALLS) -> None:
    """Over learning rates, members, and messages that do not arrive."""
    found = json.loads(out.read_text())["ball"] if out.exists() else []
    for asked in asked_for[len(found) :]:
        if time.monotonic() < until:
            found.append(ball_of(store=store, **asked))
            write(out, {"task": f"CartPole-v1, {asked.get('student', 'a2c').upper()}", "ball": found})


# ---- how often they learn ------------------------------------------------------------------------------


def shares(out: Path, store: str, until: float, student: str = "a2c", seeds: int = 6) -> dict[str, Any]:
    """Final scores by learning rate: one learner of 64 copies, and the first of four that gossip, of 16 each."""
    found = json.loads(out.read_text())["scores"] if out.exists() else {}
    for seed in range(seeds):
        for lr in PQN_LRS if student == "pqn" else LRS:
            for members, copies in ((1, 64), (4, 16)):
                key = f"{members}x{copies} lr {lr:g}"
                if len(found.setdefault(key, [])) > seed or time.monotonic() > until:
                    continue
                run = run_of(lr, members, copies, 100 * seed, store, student)
                with tempfile.TemporaryDirectory() as folder:
                    runs = run.members() if members > 1 else [run]
                    results = execute_together(runs, [Path(folder) / f"s{i}" for i in range(members)])
                found[key].append(round(results[0]["score"], 1))
                told = {k: f"{sum(s >= LEARNT for s in v)}/{len(v)}" for k, v in found.items()}
                more = {"task": f"CartPole-v1, {student.upper()}", "env_steps": STEPS, "threshold": LEARNT}
                write(out, {"scores": found, "learnt": told, **more})
                print(key, seed, found[key][-1], flush=True)
    return json.loads(out.read_text())


# ---- what one slow process costs -------------------------------------------------------------------------


class TimeIsUp(Exception):
    """The measurement is over."""


class AllReduce:
    """Both wait for each other's parameters after every update, and go on from their mean."""

    def __init__(self, member: int, box: Mailbox):
        self._member, self._box, self._round = member, box, 0

    def __call__(self, trainings: Any) -> None:
        """A round."""
        self._round += 1
        own, other = Parameters(trainings[0].cast), 1 - self._member
        vector = own.gather()
        self._box.post(self._member, vector.numpy())
        while (message := self._box.latest(other, self._round - 1)) is None:
            if self._box.has_left(other):
                raise TimeIsUp
            time.sleep(2e-4)
        own.scatter((vector + torch.from_numpy(message.vector)) / 2)
        trainings[0].student.publish()


class Slowed:
    """An exchange of a member whose cycles take `factor` times as long, until the time is up."""

    def __init__(self, inner: Any, factor: float, seconds: float):
        self._inner, self._factor, self._seconds, self._end = inner, factor, seconds, 0.0
        self._last = 0.0

    def begin(self, trainings: Any) -> None:
        """The clock starts with the first stretch."""
        self._last = time.perf_counter()
        self._end = self._end or self._last + self._seconds

    def __call__(self, trainings: Any) -> None:
        """Sleep as long as the cycle took, and once more for every further factor."""
        time.sleep((time.perf_counter() - self._last) * (self._factor - 1))
        if time.perf_counter() > self._end:
            raise TimeIsUp
        self._inner(trainings)
        self._last = time.perf_counter()

    def judged(self, trainings: Any, writes: Any) -> None:
        """Nothing."""

    def told(self, trainings: Any) -> dict[str, float]:
        """Nothing."""
        return {}


def member(number: int, run: Run, address: Any, how: str, factor: float, seconds: float, answer: Any) -> None:
    """A process's life: learn until the time is up, and say how many env steps that were."""
    torch.set_num_threads(1)
    box = Mailbox(*address)
    prepared = measure_priors(prepare(run), lambda *_: None, lambda _: None)
    inner = AllReduce(number, box) if how == "all-reduce" else Peer(run.exchange, number, box, lambda text: None)
    trainings, loop, _ = assemble([prepared], lambda _: None, Slowed(inner, factor, seconds))  # pyright: ignore
    start = time.perf_counter()
    with suppress(TimeIsUp):
        loop.run([lambda line: None], [lambda: None], lambda phase: None)
    box.leave(number)
    answer.put((number, trainings[0].at.env_steps, time.perf_counter() - start))
    box.close()


def race(how: str, factor: float, store: str, seconds: float) -> dict[str, Any]:
    """Env steps a second of two processes, the second of which is slowed."""
    run = replace(run_of(7e-4, 2, 16, 0, store, processes="each"), env_steps=10**8, evaluations=1, eval_episodes=1)
    prepared = measure_priors(prepare(run.members()[0]), lambda *_: None, lambda _: None)
    size = Parameters({"student": run.student.newborn(prepared.spec, 0)}).size
    box, context = Mailbox(2, size), multiprocessing.get_context("spawn")
    answer = context.Queue()
    for i, own in enumerate(run.members()):
        told = (i, own, box.address, how, factor if i else 1.0, seconds, answer)
        context.Process(target=member, args=told).start()
    found = {number: steps for number, steps, _ in (answer.get(timeout=300) for _ in range(2))}
    box.close(unlink=True)
    each = [round(found[i] / seconds) for i in range(2)]
    return {"how": how, "slowed": factor, "env_steps_per_second": each, "both": sum(each)}


def stragglers(out: Path, store: str, until: float, seconds: float = 6.0, times: int = 3) -> None:
    """Each way in turn, with and without a slow one, and so again."""
    asked = [(how, factor) for factor in (1.0, 3.0) for how in ("gossip", "all-reduce")] * times
    found = json.loads(out.read_text())["straggler"] if out.exists() else []
    for how, factor in asked[len(found) :]:
        if time.monotonic() < until:
            found.append(race(how, factor, store, seconds))
            print(found[-1], flush=True)
            write(out, {"straggler": found, "left": shares_left(found)})


def shares_left(found: list[dict[str, Any]]) -> dict[str, float]:
    """How much of both processes' speed together is left where one is slowed, by how they mix: of the medians."""
    told = {}
    for how in ("gossip", "all-reduce"):
        speeds = [[one["both"] for one in found if (one["how"], one["slowed"]) == (how, f)] for f in (1.0, 3.0)]
        if all(speeds):
            told[how] = round(statistics.median(speeds[1]) / statistics.median(speeds[0]), 3)
    return told


def write(out: Path, what: dict[str, Any]) -> None:
    """With where it was measured."""
    about = {"note": NOTE, "machine": platform.machine(), "torch": torch.__version__, "task": "CartPole-v1, A2C"}
    out.write_text(json.dumps({**about, **what}, indent=1) + "\n")


def main(argv: list[str]) -> int:
    """See above."""
    torch.set_num_threads(1)
    if len(argv) not in (2, 3) or argv[0] not in ("ball", "share", "straggler", "pqn-ball", "pqn-share"):
        print(__doc__, file=sys.stderr)
        return 2
    what, out = argv[0], Path(argv[1])
    until = time.monotonic() + float(argv[2] if len(argv) > 2 else "inf")
    store = str(Path(tempfile.gettempdir()) / "gossip-store")
    student, part = ("pqn", what.removeprefix("pqn-")) if what.startswith("pqn-") else ("a2c", what)
    if part == "share":
        shares(out, store, until, student)
    elif part == "ball":
        balls(out, store, until, PQN_BALLS if student == "pqn" else BALLS)
    else:
        stragglers(out, store, until)
    print(out.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
