"""The Atari replay: memory per transition, speed of sampling against memcpy, cost of priorities, stall of a checkpoint.

    python benchmarks/replay.py --rows 1000000       # needs 9 GB of free memory and, for checkpoints, of disk
    python benchmarks/replay.py --parts memory sampling

Every number is of a replay of `--rows` rows (default 200,000), which the JSON states; nothing is extrapolated.
Each part runs in a process of its own, one thread. Rows: a frame of 84 × 84 bytes, episodes of 1,000 steps, 3-step
returns, one stream.

"memory": growth of resident memory (VmRSS) while a replay is made, filled and sampled a hundred times, per transition
it holds, all columns and counters included; "everything" adds priorities and the teacher's column of four actions.

"sampling": bytes of the batch (both stacks of four frames) per second, for uniform batches of 32 and 256, and the same
bytes copied by np.copyto between contiguous arrays: "memcpy" from a random place of the replay's own frames into one
array (cold memory, as sampling reads it), "memcpy_hot" between the same two arrays each time (cache, where they fit).
Sampling allocates its batches. In a process that never freed anything large ("fresh heap") the C library gives that
memory back to the system after each batch, and page faults take most of the time; once activations as large as a
network's have been freed, as in any training, it keeps it ("grown heap").

"priorities": seconds of sample and learnt(losses), prioritised against uniform, over the same frames. Before each, four
rows are added outside the clock, so that admitting new rows is paid for where it happens, in `sample`.

"checkpoint": how long `RunDirectory.checkpoint` stalls training, and bytes written, for a DQN (and with priorities)
whose replay is full and was checkpointed every 50,000 rows before: after 10,000 and 50,000 new rows. The folder is
`--folder`'s: what the stall is depends on its disk and on the system's cache of it; nothing is flushed but by the
library.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np

TASK, N_STEP, GAMMA, EPISODE, ACTIONS = "ALE/Breakout-v5", 3, 0.99, 1000, 4
ROW_BYTES = 7500  # more than a row takes; for the check of free memory alone
BATCHES, ADDED = (32, 256), 4
NEW_ROWS = (10_000, 50_000)
WHILE_FILLING = 50_000  # rows between checkpoints before the replay is full
ACTIVATIONS = 30_000_000  # bytes, as a Nature CNN's in a batch; glibc keeps up to twice the largest block it got back


class Filler:
    """Adds rows whose frames differ, with episodes that end."""

    def __init__(self):
        from reincarnate import envs

        self.spec, self._step = envs.spec(TASK), 0
        self._obs = np.random.default_rng(0).integers(1, 255, (1, *self.spec.obs_shape), np.uint8)
        self._no, self._zero = np.zeros(1, bool), np.zeros(1)

    def add(self, replay: Any, rows: int, teacher: np.ndarray | None = None) -> None:
        import torch

        from reincarnate.types import Prediction

        for _ in range(rows):
            self._step += 1
            self._obs[0, -1, self._step % 84] += 1
            ended = np.array([self._step % EPISODE == 0])
            said = {} if teacher is None else {"teacher": Prediction("values", torch.from_numpy(teacher))}
            replay.add(self._obs, self._zero, self._zero, ended, self._no, self._obs, said)

    def until_full(self, replay: Any, teacher: np.ndarray | None = None) -> None:
        while replay.added[0] < replay.rows:
            self.add(replay, 1, teacher)


def config(rows: int, priority: float = 0.0) -> Any:
    from reincarnate.students import DQN

    return DQN(n_step=N_STEP, gamma=GAMMA, replay_size=rows, priority=priority)


def memory_of(rows: int, priority: float = 0.0) -> Any:
    import ours

    return ours.memory_of(config(rows, priority), TASK)


# ---- memory --------------------------------------------------------------------------------------------


def memory(rows: int, kind: str) -> dict[str, float]:
    import torch

    filler, rng = Filler(), np.random.default_rng(0)
    teacher = np.zeros((1, ACTIONS), np.float32) if kind == "everything" else None
    small = memory_of(1000, 0.5)  # whatever is imported or cached at first use
    filler.add(small.rows, 900, teacher)
    small.learnt(batch := small.sample(32, rng), torch.zeros(32))
    del small, batch
    before = harness.memory_kb("VmRSS")
    replay = memory_of(rows, 0.5 if kind == "everything" else 0.0)
    filler.until_full(replay.rows, teacher)
    for _ in range(100):
        replay.sample(32, rng)
    added = (harness.memory_kb("VmRSS") - before) * 1024
    held = int((replay.rows.columns["flags"] & 4 == 0).sum())  # rows that are not an episode's last observation
    return {"rows": rows, "transitions": held, "gb": added / 1e9, "bytes_per_transition": added / held}


# ---- sampling ------------------------------------------------------------------------------------------


def sampling(rows: int, rounds: int) -> dict[str, Any]:
    filler = Filler()
    replay = memory_of(rows)
    filler.until_full(replay.rows)
    result = {"fresh heap": {f"batch {batch}": _against_memcpy(replay, batch, rounds) for batch in BATCHES}}
    np.ones(ACTIVATIONS, np.uint8)  # and free it at once
    result["grown heap"] = {f"batch {batch}": _against_memcpy(replay, batch, rounds) for batch in BATCHES}
    return result


def _against_memcpy(replay: Any, batch: int, rounds: int) -> dict[str, Any]:
    """Rounds of every way in turn; GB/s of each, and sampling's share of memcpy."""
    rng = np.random.default_rng(0)
    drawn = replay.sample(batch, rng)
    size = drawn.obs.nbytes + drawn.next_obs.nbytes
    frames = replay.rows.columns["frame"].reshape(-1)
    target, source = np.ones(size, np.uint8), np.ones(size, np.uint8)

    def copy_cold() -> None:
        first = int(rng.integers(len(frames) - size))
        np.copyto(target, frames[first : first + size])

    ways = {
        "sample": lambda: replay.sample(batch, rng),
        "memcpy": copy_cold,
        "memcpy_hot": lambda: np.copyto(target, source),
    }
    times = 6400 // batch
    speeds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            speeds[name].append(size * times / _seconds(way, times) / 1e9)
    table = {name: harness.spread(values) for name, values in speeds.items()}
    ratios = {f"sample / {name}": harness.ratio(table["sample"], table[name]) for name in list(ways)[1:]}
    return {"bytes": size, "gb_per_second": table, **ratios}


def _seconds(work: Any, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return time.perf_counter() - start


# ---- priorities ----------------------------------------------------------------------------------------


def priorities(rows: int, rounds: int) -> dict[str, Any]:
    from reincarnate.native import kernels

    filler, rng = Filler(), np.random.default_rng(0)
    prioritised = memory_of(rows, 0.5)
    filler.until_full(prioritised.rows)
    replays = {"prioritised": prioritised}
    for name, alpha in (("uniform", 0.0), ("prioritised, kernels", 0.5)):
        replays[name] = other = memory_of(rows, alpha)
        other.rows.columns = prioritised.rows.columns  # the same frames; all add equally many rows, in the same places
        other.restore(prioritised.state())
        if "kernels" in name:  # as runs have it whose updates are
            other.quicken(kernels())
    for name in ("prioritised", "prioritised, kernels"):
        _learn_all(replays[name], rng)
    result = {}
    for batch in BATCHES:
        taken: dict[str, list[float]] = {name: [] for name in replays}
        for _ in range(rounds):
            for name, replay in replays.items():
                taken[name].append(_sample_and_learn(replay, batch, filler, rng))
        table = {name: harness.spread(values) for name, values in taken.items()}
        ways = list(replays.keys() - {"uniform"})
        ratios = {f"{way} / uniform": harness.ratio(table[way], table["uniform"]) for way in sorted(ways)}
        result[f"batch {batch}"] = {"microseconds": table, **ratios}
    return result


def _learn_all(replay: Any, rng: np.random.Generator) -> None:
    """Give rows the losses of a run under way: different ones."""
    import torch

    for _ in range(replay.rows.rows // 256):
        replay.learnt(replay.sample(256, rng), torch.from_numpy(rng.exponential(size=256)))


def _sample_and_learn(replay: Any, batch: int, filler: Filler, rng: np.random.Generator, times: int = 100) -> float:
    import torch

    losses, seconds = torch.from_numpy(rng.exponential(size=batch)), 0.0
    for _ in range(times):
        filler.add(replay.rows, ADDED)
        start = time.perf_counter()
        replay.learnt(replay.sample(batch, rng), losses)
        seconds += time.perf_counter() - start
    return seconds / times * 1e6


# ---- checkpoint ----------------------------------------------------------------------------------------


def checkpoint(rows: int, priority: float, folder: str) -> dict[str, Any]:
    from ours import training

    from reincarnate.methods import Scratch
    from reincarnate.run.directory import RunDirectory

    filler, result = Filler(), {}
    raised = training(config(rows, priority), TASK, Scratch().phases(rows))
    with tempfile.TemporaryDirectory(dir=folder or None) as place:
        directory = RunDirectory.fresh(Path(place) / "run")
        directory.create({})
        for _ in range(rows // WHILE_FILLING):
            filler.add(raised.memory.rows, WHILE_FILLING)
            _checkpoint(directory, raised)
        filler.until_full(raised.memory.rows)
        _checkpoint(directory, raised)
        for new in (new for new in NEW_ROWS if new <= rows):
            filler.add(raised.memory.rows, new)
            result[f"{new} new rows"] = _checkpoint(directory, raised)
    return result


def _checkpoint(directory: Any, raised: Any) -> dict[str, float]:
    """Seconds until it returns, and bytes of the files that it wrote."""
    raised.at.barrier += 1
    before, start = _files(directory.path), time.perf_counter()
    directory.checkpoint(raised)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "bytes": sum(n for file, n in _files(directory.path).items() if file not in before)}


def _files(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}


# ---- command line --------------------------------------------------------------------------------------

PARTS = {
    "memory": ("memory plain", "memory everything"),
    "sampling": ("sampling",),
    "priorities": ("priorities",),
    "checkpoint": ("checkpoint uniform", "checkpoint prioritised"),
}


def measure(part: str, rows: int, rounds: int, folder: str) -> dict[str, Any]:
    name, _, kind = part.partition(" ")
    if name == "memory":
        return memory(rows, kind)
    if name == "checkpoint":
        return checkpoint(rows, 0.5 if kind == "prioritised" else 0.0, folder)
    return {"sampling": sampling, "priorities": priorities}[name](rows, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=20, help="of sampling and priorities")
    parser.add_argument("--repeats", type=int, default=3, help="of checkpoint: fresh processes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--folder", default="", help="where checkpoints are written; default: the system's temporary")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--part", help="one part, as the others run it")
    args = parser.parse_args()
    if args.part:
        print(json.dumps(measure(args.part, args.rows, args.rounds, args.folder)))
        return
    free = harness.memory_kb("MemAvailable") * 1024
    if free < args.rows * ROW_BYTES * 1.2:
        raise SystemExit(
            f"{args.rows:,} rows need {args.rows * ROW_BYTES * 1.2 / 1e9:.1f} GB; {free / 1e9:.1f} are free"
        )
    folder = os.path.abspath(args.folder) if args.folder else ""
    if "checkpoint" in args.parts and shutil.disk_usage(folder or tempfile.gettempdir()).free < args.rows * ROW_BYTES:
        raise SystemExit(f"a replay of {args.rows:,} rows needs {args.rows * ROW_BYTES / 1e9:.1f} GB of disk")
    results = {}
    for part in (part for name in args.parts for part in PARTS[name]):
        again = args.repeats if part.startswith("checkpoint") else 1
        flags = ("--part", part, "--rows", args.rows, "--rounds", args.rounds, "--folder", folder)
        taken = [harness.fresh("replay.py", *flags, threads=1) for _ in range(again)]
        results[part] = together(taken) if part.startswith("checkpoint") else taken[0]
        print(f"{part}: {json.dumps(brief(results[part]))}", flush=True)
    harness.write(args.out, "replay.py", "see each part", {"rows": args.rows, **results})


def together(taken: list[dict[str, Any]]) -> dict[str, Any]:
    """Repeats of nested numbers to spreads."""
    return {key: harness.table({key: [one[key] for one in taken]})[key] for key in taken[0]}


def brief(value: Any) -> Any:
    """Medians only."""
    if not isinstance(value, dict):
        return round(value, 3) if isinstance(value, float) else value
    for key in ("median", "of_medians"):
        if key in value:
            return brief(value[key])
    return {key: brief(inner) for key, inner in value.items()}


if __name__ == "__main__":
    main()
