"""A run is a directory: config, metrics, checkpoints, agent, result, and `done` last. A finished one never changes."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors import numpy as arrays
from safetensors.torch import load_file, save_file

from reincarnate.data.replay import Replay
from reincarnate.data.segments import load_segments, save_segment, still_needed
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
from reincarnate.types import Memory

KEPT = 2  # checkpoints: the newest, and the one before should it be damaged


class RunDirectory:
    """Reads and writes one run's directory."""

    def __init__(self, path: Path):
        self.path = path
        self._segments: list[dict[str, Any]] = []
        self._saved: dict[str, Any] | None = None  # replay.state() at the last segment

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
        """Save everything a continuation needs; the newest two are kept, replay segments as long as needed."""
        memory, at = training.memory, training.at
        self._save_rows(memory, at.barrier)
        with staging(self.path / "checkpoints") as folder:
            weights = folder / "student.safetensors"
            save_file(training.student.state(), weights)
            sampler = folder / "sampler.safetensors"
            arrays.save_file(memory.tensors(), sampler)
            state = {
                "format": FORMAT,
                "training": training.state(),
                "replay": memory.state(),
                "segments": self._segments,
                "student_sha256": sha256_file(weights),
                "sampler_sha256": sha256_file(sampler),
                "metrics_bytes": self._metrics_bytes(),
            }
            write_json(folder / "state.json", state)
            publish(folder, self.path / "checkpoints" / f"{at.barrier:06d}")
        self._tidy()

    def _save_rows(self, memory: Memory, barrier: int) -> None:
        """What the replay got since the last checkpoint. Rollouts do not outlive a barrier."""
        if not isinstance(memory, Replay):
            return
        file = self.path / "replay" / f"{barrier:06d}.safetensors"
        self._segments = [e for e in self._segments if still_needed(memory, e)]
        self._segments.append(save_segment(memory, file, self._saved))
        self._saved = memory.state()

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
        write_json(self.path / "result.json", {"format": FORMAT, **result})
        write_bytes(self.path / "done", b"")
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        shutil.rmtree(self.path / "replay", ignore_errors=True)
