"""A run is a directory: config, metrics, checkpoints, agent, result, and `done` last. A finished one never changes."""

import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from reincarnate.data.replay import Replay
from reincarnate.data.segments import Segment, load_segments, still_needed, take_segment
from reincarnate.errors import UserError
from reincarnate.files import (
    FORMAT,
    disk_errors,
    publish,
    read_json,
    sha256_file,
    staging,
    write_bytes,
    write_json,
)
from reincarnate.training import Training

BEHIND = 32_000_000  # bytes of new rows from which they are written while training goes on: some 0.2 s of disk
KEPT = 2  # checkpoints: the newest, and the one before should it be damaged


class RunDirectory:
    """Reads and writes one run's directory."""

    def __init__(self, path: Path):
        self.path = path
        self._segments: list[dict[str, Any]] = []
        self._saved: dict[str, Any] | None = None  # replay.state() at the last segment
        self._pool: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

    @classmethod
    def fresh(cls, path: Path) -> "RunDirectory":
        """A run that `create` may write. Raises UserError where the directory exists."""
        if path.exists():
            hint = "it holds a finished run" if (path / "done").exists() else f"`reincarnate resume {path}` goes on"
            raise UserError(f"{path} exists already; choose another --out ({hint})")
        return cls(path)

    def create(self, config: dict[str, Any]) -> None:
        """Make the directory, with the record of what was asked for in it from the first moment."""
        with staging(self.path.parent) as folder:
            write_json(folder / "config.json", {"format": FORMAT, **config})
            publish(folder, self.path)

    @classmethod
    def reopen(cls, path: Path) -> "RunDirectory":
        """An unfinished run. Raises UserError where there is none, or it is finished."""
        if not (path / "config.json").exists():
            raise UserError(f"{path} is not a run: it has no config.json")
        if (path / "done").exists():
            raise UserError(f"{path} is finished; a finished run is never modified")
        return cls(path)

    @property
    def config(self) -> dict[str, Any]:
        """The record of what was asked for."""
        return read_json(self.path / "config.json")

    # ---- metrics -------------------------------------------------------------------------------------

    def record(self, line: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with disk_errors(self.path), open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(line, allow_nan=True) + "\n")

    def _metrics_bytes(self) -> int:
        path = self.path / "metrics.jsonl"
        return path.stat().st_size if path.exists() else 0

    # ---- checkpoints ---------------------------------------------------------------------------------

    def checkpoint(self, training: Training) -> None:
        """Save everything a continuation needs; the newest two are kept, replay segments as long as needed.

        Many rows are copied and written on another thread while training goes on, until `settle`: a run that is
        killed meanwhile resumes from the checkpoint before.
        """
        self.settle()
        memory = training.memory
        segment = None
        if isinstance(memory, Replay):  # rollouts do not outlive a barrier
            self._segments = [e for e in self._segments if still_needed(memory, e)]
            segment, self._saved = take_segment(memory, self._saved), memory.state()
        student = {name: value.clone() for name, value in training.student.state().items()}
        state = {"training": training.state(), "replay": memory.state(), "metrics_bytes": self._metrics_bytes()}
        write = partial(self._write, training.at.barrier, state, student, memory.tensors(), segment)
        if segment is None or segment.bytes < BEHIND:
            write()
        else:
            self._pool = self._pool or ThreadPoolExecutor(1)
            self._writing = self._pool.submit(write)

    def settle(self) -> None:
        """Wait until the last checkpoint is on disk. Raises UserError where it could not be written."""
        if self._writing:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(
        self,
        barrier: int,
        state: dict[str, Any],
        student: dict[str, Tensor],
        sampler: dict[str, np.ndarray],
        segment: Segment | None,
    ) -> None:
        if segment is not None:
            self._segments.append(segment.save(self.path / "replay" / f"{barrier:06d}.safetensors"))
        with staging(self.path / "checkpoints") as folder:
            save_file(student, folder / "student.safetensors")
            arrays.save_file(sampler, folder / "sampler.safetensors")
            hashes = {f"{name}_sha256": sha256_file(folder / f"{name}.safetensors") for name in ("student", "sampler")}
            write_json(folder / "state.json", {"format": FORMAT, **state, "segments": self._segments, **hashes})
            publish(folder, self.path / "checkpoints" / f"{barrier:06d}")
        self._tidy()

    def _tidy(self) -> None:
        kept = self._checkpoints()
        for old in kept[KEPT:]:
            shutil.rmtree(old)
        needed = {e["file"] for folder in kept[:KEPT] for e in read_json(folder / "state.json")["segments"]}
        for file in (self.path / "replay").glob("*"):
            if file.name not in needed:
                file.unlink()

    def _checkpoints(self) -> list[Path]:
        """Complete ones, newest first."""
        root = self.path / "checkpoints"
        found = [p for p in root.iterdir() if not p.name.startswith(".")] if root.exists() else []
        return sorted(found, reverse=True)

    def restore(self, training: Training) -> list[str]:
        """Put the newest sound checkpoint back. Returns warnings about damaged ones that were passed over.

        Raises UserError where there were checkpoints and none is sound; with none at all, the run begins anew.
        """
        warnings: list[str] = []
        damaged: list[Path] = []
        for folder in self._checkpoints():
            try:
                self._load(folder, training)
                for other in damaged:  # their names will be needed again
                    shutil.rmtree(other)
                return warnings
            except (UserError, OSError, ValueError, KeyError, SafetensorError) as error:
                warnings.append(f"checkpoint {folder.name} is damaged ({error}); trying the one before")
                damaged.append(folder)
        if warnings:
            raise UserError(f"no checkpoint of {self.path} is sound: {'; '.join(warnings)}")
        self._cut_metrics(0)
        return warnings

    def _load(self, folder: Path, training: Training) -> None:
        state = read_json(folder / "state.json")
        weights = folder / "student.safetensors"
        sampler = folder / "sampler.safetensors"
        for file, expected in ((weights, state["student_sha256"]), (sampler, state["sampler_sha256"])):
            if sha256_file(file) != expected:
                raise UserError(f"{file} has changed since it was written")
        if isinstance(training.memory, Replay):
            load_segments(training.memory, self.path / "replay", state["segments"])
        training.memory.restore(state["replay"])
        training.memory.restore_tensors(arrays.load_file(sampler))
        training.student.restore(load_file(weights))
        training.restore(state["training"])
        self._segments, self._saved = state["segments"], state["replay"]
        self._cut_metrics(state["metrics_bytes"])

    def _cut_metrics(self, size: int) -> None:
        """Forget what was measured after the checkpoint: it will be measured again."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            os.truncate(path, size)

    # ---- the end -------------------------------------------------------------------------------------

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result and `done`, and drop what only a continuation would need."""
        self.settle()
        write_json(self.path / "result.json", {"format": FORMAT, **result})
        write_bytes(self.path / "done", b"")
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        shutil.rmtree(self.path / "replay", ignore_errors=True)
