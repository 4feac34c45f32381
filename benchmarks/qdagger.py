"""QDagger training against what the best-known public implementation does, and what annotating once is worth.

    python benchmarks/qdagger.py                     # both parts, 1 and 2 threads; writes JSON
    python benchmarks/qdagger.py --parts training --threads 1 --repeats 3

Sides alternate, each repeat in a process of its own.

Part "training": env steps per second online, and updates per second offline. Identical work: ALE/Breakout-v5 with
sticky actions, one environment, an Impala student (16, 32, 32; dense 256), a Nature teacher, batch 32, an update every
4 steps, 1-step targets, Adam, a distillation term in every update, ε = 0.01, target syncs every 1000 steps. Weights
are random: speed does not depend on them. "public" is `rivals/qdagger_public.py`, a re-implementation that stands for
CleanRL's file and says in what it differs. The clock of the online phase starts at env step 200 (100 of warm-up), the
offline one after 5 updates. Filling the offline replay is outside it on both sides: there the teacher plays, and says
what it thinks of each row as it acts, so that ours, which keeps that, annotates for nothing (the re-implementation
fills its own by random actions).

What differs: ours asks the teacher once per row, in blocks, where the other asks it again for every batch; its online
blocks are small here, because few rows come between two batches that hold one without an annotation. Ours uses
channels-last memory, its own Adam, and Python threads beside the learner (`cores_busy` tells; `--pin` allows
each process only as many cores as threads). The public one minimises a squared TD error, ours Huber's.

Part "annotation": the same updates of our own student, with the teacher's logits of all rows found beforehand in
blocks of 256 (that time included), or by a forward pass of the teacher on each batch. U updates of batch 32 on
U · 32 / 8 rows: online, at one update every 4 steps, a row is sampled 8 times on average in its life, and this is that
ratio (the paper's: batch 32, update every 4). Rows are random screens. Seconds, and their ratio.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

TASK = {
    "env": "ALE/Breakout-v5",
    "batch": 32,
    "every": 4,
    "steps": 1000,
    "offline_updates": 150,
    "prior_rows": 2000,
    "capacity": 10_000,
    "warmup": 100,
    "epsilon": 0.01,
    "sync_updates": 250,
    "lr": 1e-4,
    "gamma": 0.99,
    "clock": {"offline": 5, "online": 200},
}
UNITS = {"offline": "updates per second", "online": "env steps per second"}
PAIRS = {"nature": "Nature teacher, Nature student", "impala": "Impala teacher, Nature student"}
SAMPLED = 8  # times a row is in a batch: batch / update every
UPDATES = 200  # of part "annotation"


# ---- training ------------------------------------------------------------------------------------------


def ours(phase: str, task: dict[str, Any]) -> dict[str, float]:
    from ours import settings, timed, training

    from reincarnate import envs
    from reincarnate.data.memory import Memory
    from reincarnate.methods import QDagger
    from reincarnate.methods.weaning import Weaning
    from reincarnate.priors import reference as prior
    from reincarnate.students import DQN

    config = DQN(
        torso="impala",
        hidden=(256,),
        n_step=1,
        gamma=task["gamma"],
        lr=task["lr"],
        batch_size=task["batch"],
        update_every=task["every"],
        target_every=task["sync_updates"],
        replay_size=task["capacity"],
    )
    spec, updates = envs.spec(task["env"]), task["offline_updates"]
    phases = QDagger(offline_updates=updates, temperature=0.1, wean=Weaning(by="fixed")).phases(task["steps"])
    with tempfile.TemporaryDirectory() as folder:
        judge = teacher(spec, "nature", Path(folder))
        data, rows = None, task["prior_rows"]
        if phase == "offline":
            data = prior.teacher_data(spec, judge, "auto", rows, 0.1, Path(folder) / "store", lambda *_: None)
        raised = training(
            settings(config, task["warmup"], task["epsilon"]),
            task["env"],
            [p for p in phases if p.name == phase],
            prior=Memory(data.rows(), config.layout_of_data()) if data else None,
            teacher=judge,
        )
        return timed(raised, task["env"], phase, task["clock"][phase])


def teacher(spec, torso: str, folder: Path):
    """A stored agent of random weights, opened as users open theirs."""
    from reincarnate.agents.agent import save_agent
    from reincarnate.students import DQN
    from reincarnate.teachers import open_teacher

    save_agent(folder / "teacher", DQN(torso=torso).newborn(spec, 1), {}, "")
    return open_teacher(f"store:{folder / 'teacher'}")


def contest(phase: str, threads: int, args: argparse.Namespace) -> dict[str, Any]:
    task = {**TASK, "steps": args.steps, "offline_updates": args.updates}
    text = json.dumps(task)
    sides = {
        "ours": lambda: harness.fresh("qdagger.py", "--side", phase, threads, text, threads=threads, pin=args.pin),
        "public": lambda: harness.fresh(
            "rivals/qdagger_public.py", phase, threads, text, threads=threads, pin=args.pin
        ),
    }
    rows = harness.table(harness.alternate(sides, args.repeats))
    ratio = harness.ratio(rows["ours"]["per_second"], rows["public"]["per_second"])
    said = "  ".join(f"{side} {row['per_second']['median']:.2f}" for side, row in rows.items())
    print(f"{phase:8} {threads} thread(s), {UNITS[phase]}: {said}  ratio {ratio['of_medians']:.2f}", flush=True)
    result = {"phase": phase, "unit": UNITS[phase], "threads": threads, "pinned": args.pin, **task}
    return {**result, "sides": rows, "ours / public": ratio}


# ---- annotation ----------------------------------------------------------------------------------------


def annotation(torso: str, side: str, updates: int) -> dict[str, float]:
    """Seconds for `updates` updates with the teacher's logits, found `once` per row or `each` batch."""
    import numpy as np
    from ours import memory_of

    from reincarnate import envs
    from reincarnate.losses.terms import Distil
    from reincarnate.students import DQN
    from reincarnate.training.asking import predictor_of
    from reincarnate.types import Weighing

    spec, rng = envs.spec(TASK["env"]), np.random.default_rng(0)
    config = DQN(n_step=1, batch_size=TASK["batch"], replay_size=updates * TASK["batch"] // SAMPLED + 1000)
    student, term = config.newborn(spec, 0), Distil(0.1, 0.1)
    student.overlap()
    memory = memory_of(config, TASK["env"])
    filled(memory.rows, updates * TASK["batch"] // SAMPLED, rng)
    with tempfile.TemporaryDirectory() as folder:
        judge = teacher(spec, torso, Path(folder))

    predict, weighing = predictor_of(judge), Weighing(terms=[(3.0, term)])

    def annotated(batch):
        return batch._replace(predictions={"teacher": predict(batch.obs)})

    for _ in range(3):
        student.update(annotated(memory.sample(config.batch_size, rng)), weighing, rng)
    start, found = time.perf_counter(), 0.0
    if side == "once":
        memory.rows.annotate("teacher", predict)
        found = time.perf_counter() - start
    for _ in range(updates):
        if side == "once":
            batch = memory.sample(config.batch_size, rng, {"teacher": predict})
        else:
            batch = annotated(memory.sample(config.batch_size, rng))
        student.update(batch, weighing, rng)
    return {"seconds": time.perf_counter() - start, "of_these_annotating": found}


def filled(replay, rows: int, rng):
    import numpy as np

    no, zero = np.zeros(1, bool), np.zeros(1)
    obs = rng.integers(0, 256, (1, *replay.spec.obs_shape), np.uint8)
    for step in range(rows):
        obs[0, -1] = rng.integers(0, 256, obs.shape[2:], np.uint8)
        replay.add(obs, zero, zero, np.array([step % 500 == 499]), no, obs)
    return replay


def annotating(torso: str, threads: int, args: argparse.Namespace) -> dict[str, Any]:
    def measurer(side: str):
        return lambda: harness.fresh(
            "qdagger.py", "--side", "annotation", threads, torso, side, args.samples, threads=threads, pin=args.pin
        )

    rows = harness.table(harness.alternate({side: measurer(side) for side in ("once", "each")}, args.repeats))
    ratio = harness.ratio(rows["each"]["seconds"], rows["once"]["seconds"])
    print(f"{PAIRS[torso]}, {threads} thread(s): annotated once {ratio['of_medians']:.2f} times as fast", flush=True)
    row = {"pair": PAIRS[torso], "threads": threads, "pinned": args.pin, "batch": TASK["batch"]}
    counts = {"updates": args.samples, "rows": args.samples * TASK["batch"] // SAMPLED, "samples_per_row": SAMPLED}
    return {**row, **counts, "sides": rows, "each / once": ratio}


# ---- command line --------------------------------------------------------------------------------------


def side(words: list[str]) -> dict[str, float]:
    import torch

    what, threads, *rest = words
    torch.set_num_threads(int(threads))
    if what == "annotation":
        return annotation(rest[0], rest[1], int(rest[2]))
    return ours(what, json.loads(rest[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("training", "annotation"), default=["training", "annotation"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=TASK["steps"], help="env steps online")
    parser.add_argument("--updates", type=int, default=TASK["offline_updates"], help="offline")
    parser.add_argument("--samples", type=int, default=UPDATES, help="updates of part annotation")
    parser.add_argument("--pin", action="store_true", help="each process on as many cores as threads")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--side", nargs="+", help="one repeat, as the others run it")
    args = parser.parse_args()
    if args.side:
        print(json.dumps(side(args.side)))
        return
    results: dict[str, Any] = {"repeats": args.repeats}
    if "training" in args.parts:
        results["training"] = [contest(phase, n, args) for n in args.threads for phase in UNITS]
    if "annotation" in args.parts:
        results["annotation"] = [annotating(torso, n, args) for n in args.threads for torso in PAIRS]
    harness.write(args.out, "qdagger.py", "see each part", results)


if __name__ == "__main__":
    main()
