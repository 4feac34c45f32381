"""A run whose replay holds a million Atari transitions: memory, size and stall of checkpoints, time to resume.

    python benchmarks/million.py                     # writes million.json; 9 GB of memory and of disk, half an hour
    python benchmarks/million.py --rows 20000        # the same, small
    python benchmarks/million.py --replay-device disk --out benchmarks/million_disk.json

A DQN with the Nature network plays Pong in 16 copies, at random until its replay is full but for a hundredth, then
with an update for every 4 env steps. Its process is killed right after the last checkpoint, and another resumes the run
as far as the first env step. Memory is the most that a process ever held (VmHWM); with frames on disk, that counts what
of the file the system keeps in memory for it (RssFile, at the end).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

COPIES, CHECKPOINTS = 16, 20


def flags(rows: int, where: str, folder: str) -> list[str]:
    """Of `reincarnate train`."""
    student = f"--student dqn --student.replay-size {rows} --student.warmup {rows * 99 // 100}"
    few = "--eval-episodes 1 --final-episodes 1 --reference-episodes 1 --threads 1 --keep-checkpoints 1 --log csv"
    told = f"scratch --env ALE/Pong-v5 {student} --envs {COPIES} --env-steps {rows} --evaluations {CHECKPOINTS}"
    return [*told.split(), *few.split(), "--replay-device", where, "--out", f"{folder}/run", "--store", f"{folder}/s"]


# ---- in a process of its own -------------------------------------------------------------------------------


def watched(rows: int, where: str, folder: str) -> None:
    """Train, note each checkpoint, and be killed after the last."""
    from reincarnate.cli import main
    from reincarnate.run.directory import RunDirectory

    checkpoint, told = RunDirectory.checkpoint, Path(folder, "told.jsonl")

    def noted(self: RunDirectory, training: Any) -> Any:
        began = time.perf_counter()
        done = checkpoint(self, training)
        seconds = time.perf_counter() - began
        steps = training.at.env_steps
        line = {
            "env_steps": steps,
            "stall": seconds,
            "rows": training.memory.rows.transitions,
            "run": training.at.seconds,
        }
        line |= {name.lower(): harness.memory_kb(name) / 2**20 for name in ("VmHWM", "RssFile", "RssAnon")}
        with told.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if steps >= rows:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    RunDirectory.checkpoint = noted  # pyright: ignore[reportAttributeAccessIssue]
    main(["train", *flags(rows, where, folder)])


def resumed(folder: str) -> None:
    """Resume, and say how long it took from the start of the process, and of the restoring alone."""
    born = time.perf_counter()
    from reincarnate.cli import main
    from reincarnate.run.directory import RunDirectory

    restore, loaded = RunDirectory.restore, time.perf_counter() - born

    def noted(self: RunDirectory, training: Any, *more: Any) -> Any:
        began = time.perf_counter()
        restore(self, training, *more)
        now = time.perf_counter()
        line = {"imports": loaded, "restore": now - began, "until_restored": now - born}
        line |= {"rows": training.memory.rows.transitions, "vmhwm": harness.memory_kb("VmHWM") / 2**20}
        Path(folder, "resumed.json").write_text(json.dumps(line))
        os._exit(0)

    RunDirectory.restore = noted  # pyright: ignore[reportAttributeAccessIssue]
    main(["resume", f"{folder}/run"])


# ---- both --------------------------------------------------------------------------------------------------


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(rows: int, where: str, folder: str) -> dict[str, Any]:
    """Both processes, one after the other."""
    call = [sys.executable, __file__, "--rows", str(rows), "--replay-device", where, "--folder", folder, "--worker"]
    began = time.perf_counter()
    first = subprocess.run([*call, "train"], capture_output=True, text=True)
    wall = time.perf_counter() - began
    if first.returncode != -signal.SIGKILL:
        raise SystemExit(first.stderr[-3000:])
    lines = [json.loads(line) for line in Path(folder, "told.jsonl").read_text().splitlines()]
    bytes_there = size(Path(folder, "run"))
    second = subprocess.run([*call, "resume"], capture_output=True, text=True)
    if second.returncode:
        raise SystemExit(second.stderr[-3000:])
    return {
        "rows": rows,
        "replay_device": where,
        "seconds": round(wall, 1),
        "memory_gib": round(lines[-1]["vmhwm"], 3),
        "run_folder_bytes": bytes_there,
        "stall_seconds": harness.spread([line["stall"] for line in lines]),
        "checkpoints": lines,
        "resumed": json.loads(Path(folder, "resumed.json").read_text()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--replay-device", default="cpu")
    parser.add_argument("--folder", default="", help="where the run is written; a temporary one")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--worker", choices=["train", "resume"])
    asked = parser.parse_args()
    if asked.worker == "train":
        return watched(asked.rows, asked.replay_device, asked.folder)
    if asked.worker == "resume":
        return resumed(asked.folder)
    with tempfile.TemporaryDirectory(dir=asked.folder or None) as folder:
        told = measure(asked.rows, asked.replay_device, folder)
    harness.write(asked.out, Path(__file__).name, "GiB, seconds, bytes", told)
    return None


if __name__ == "__main__":
    main()
