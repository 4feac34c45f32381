"""Checkpoints of a run: whole or not there, incremental, hashed; the newest few are kept, and the best by score."""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from reincarnate.data.segments import Segment, check_segments, load_segments, still_needed, take_segment
from reincarnate.errors import UserError
from reincarnate.files.atomic import (
    FORMAT,
    disk_errors,
    flush,
    publish,
    sha256_file,
    sha256_json,
    staging,
    write_json,
)
from reincarnate.files.records import Record, load_record
from reincarnate.files.regular import within
from reincarnate.training.snapshot import Snapshot
from reincarnate.training.training import Training
from reincarnate.types import BEST, START

BEHIND = 32_000_000  # bytes of new rows from which they are written while training goes on: some 0.2 s of disk
DAMAGE = (UserError, OSError, KeyError, TypeError, AttributeError, ValueError, OverflowError, SafetensorError)
"""What reading a file that has changed may raise."""
NAME = re.compile(r"[0-9]{6,9}")  # of a checkpoint
SEGMENT = re.compile(r"[0-9]{6,9}\.safetensors")  # of a file of the replay


@dataclass(frozen=True)
class Saved:
    """A checkpoint whose files are as they were written."""

    folder: Path
    state: dict[str, Any]

    @property
    def barrier(self) -> int:
        """Its number: evaluations until then."""
        return int(self.folder.name)

    def student(self) -> dict[str, Tensor]:
        """The student's `state()`."""
        return load_file(self.folder / "student.safetensors")


class Checkpoints:
    """What lies in `checkpoints/` and `replay/` of a run's directory: the newest `keep`, and the best by score."""

    def __init__(self, run: Path, keep: int):
        self._root, self._replay, self._keep = run / "checkpoints", run / "replay", keep
        self._segments: list[dict[str, Any]] = []
        self._since: dict[str, Any] | None = None  # replay.state() at the last segment
        self._pool: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

    # ---- writing -------------------------------------------------------------------------------------

    def save(self, training: Training, mark: dict[str, Any]) -> None:
        """Save everything a continuation needs, and `mark`, which says how far the metrics were.

        Many rows are copied and written on another thread while training goes on, until `wait`: a run that is
        killed meanwhile resumes from the checkpoint before.
        """
        self.wait()
        memory, segment = training.memory, None
        if not memory.fresh:  # rollouts do not outlive a barrier
            self._segments = [e for e in self._segments if still_needed(memory.rows, e)]
            segment, self._since = take_segment(memory.rows, self._since), memory.state()
        student = {name: value.to("cpu", copy=True) for name, value in state_of(training).items()}
        state = {"training": training.state(), "replay": memory.state(), **mark}
        write = partial(self._write, training.at.barrier, state, student, memory.tensors(), segment)
        if segment is None or segment.bytes < BEHIND:
            write()
        else:
            self._pool = self._pool or ThreadPoolExecutor(1)
            self._writing = self._pool.submit(write)

    def wait(self) -> None:
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
        target = self._root / f"{barrier:06d}"
        with disk_errors(target):
            if segment is not None and segment.bytes:
                self._segments.append(segment.save(self._replay / f"{barrier:06d}.safetensors"))
            with staging(self._root) as folder:
                files = [folder / "student.safetensors", folder / "sampler.safetensors"]
                save_file(student, files[0])
                arrays.save_file(sampler, files[1])
                hashes = {f"{file.stem}_sha256": sha256_file(file) for file in files}
                state = {"format": FORMAT, **state, "segments": self._segments, **hashes}
                write_json(folder / "state.json", {**state, "sha256": sha256_json(state)})
                flush(*files[: 1 + bool(sampler)])  # each costs some ms: not for an empty one
                published = publish(folder, target)
                assert published, f"{target} exists already"
            flush(self._root)
            self._tidy(state["training"]["best_barrier"])

    def _tidy(self, best: int) -> None:
        """Drop what no longer has to be kept, and the segments that only it needed."""
        found = self._found()
        kept = [folder for i, folder in enumerate(found) if i < self._keep or int(folder.name) == best]
        for folder in found:
            if folder not in kept:
                shutil.rmtree(folder)
        needed = set().union(*map(_segments_of, kept))
        for file in self._replay.glob("*"):
            if file.name not in needed and SEGMENT.fullmatch(file.name):
                file.unlink()

    # ---- reading -------------------------------------------------------------------------------------

    def _found(self) -> list[Path]:
        """Whatever has a checkpoint's name, newest first."""
        return sorted((p for p in self._root.glob("*") if NAME.fullmatch(p.name) and p.is_dir()), reverse=True)

    def newest(self, check: Callable[[dict[str, Any]], None], at_most: int | None = None) -> tuple[Saved | None, list]:
        """The newest sound checkpoint (of at most this number), None without any; and warnings about damaged ones.

        `check` raises UserError where something else that a state knows of is damaged. Raises UserError itself where
        there are checkpoints and none is sound.
        """
        warnings: list[str] = []
        for folder in self._found():
            if at_most is not None and int(folder.name) > at_most:
                continue
            try:
                saved = self.open(int(folder.name))
                check_segments(self._replay, saved.state["segments"])
                check(saved.state)
                return saved, warnings
            except DAMAGE as error:
                warnings.append(f"checkpoint {folder.name} is damaged ({error}); trying the one before")
        if warnings:
            told = "; ".join(warnings)
            raise UserError(f"no checkpoint is sound: {told}; without {self._root} the run would begin anew")
        return None, warnings

    def open(self, barrier: int) -> Saved:
        """A checkpoint, its replay not looked at. Raises UserError or OSError where it is missing or has changed."""
        folder = self._root / f"{barrier:06d}"
        state = load_record(within(folder, "state.json"))
        expected = state.pop("sha256", None)
        if sha256_json(state) != expected:
            raise UserError(f"{folder / 'state.json'} has changed since it was written")
        _check_state(Record(state, folder / "state.json"))
        for name in ("student", "sampler"):
            file = within(folder, f"{name}.safetensors")
            if not file.is_file() or sha256_file(file) != state[f"{name}_sha256"]:
                raise UserError(f"{file} is missing, or has changed since it was written")
        return Saved(folder, state)

    def load(self, saved: Saved, training: Training) -> None:
        """Put a checkpoint back. UserError: it is not of this run's student, memory or training."""
        try:
            self._load(saved, training)
        except UserError:
            raise
        except (*DAMAGE, IndexError, RuntimeError) as error:  # right hashes, wrong structure
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            raise UserError(f"checkpoint {saved.folder} does not fit the run: {reason}") from error

    def _load(self, saved: Saved, training: Training) -> None:
        state, memory = saved.state, training.memory
        if not memory.fresh:
            load_segments(memory.rows, self._replay, state["segments"])
        memory.restore(state["replay"])
        memory.restore_tensors(arrays.load_file(saved.folder / "sampler.safetensors"))
        restore_students(training, saved.student())
        training.restore(state["training"])
        self._segments, self._since = state["segments"], state["replay"]

    def forget_after(self, barrier: int) -> None:
        """Drop those that are newer: damaged, or passed over; their names will be needed again."""
        with disk_errors(self._root):
            for folder in self._found():
                if int(folder.name) > barrier:
                    shutil.rmtree(folder)

    def drop(self) -> None:
        """All of them: the run is done."""
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.rmtree(self._replay, ignore_errors=True)


def state_of(training: Training) -> dict[str, Tensor]:
    """The tensors of all students, and of the student as it was; those of others than the student carry a name."""
    found = dict(training.student.state())
    for name, student in training.cast.items():
        if name != "student":
            found |= _named(name, student.state())
    for name, one in training.kept.items():
        found |= _named(name, one.weights())
    return found


def restore_students(training: Training, state: dict[str, Tensor]) -> None:
    """Put `state_of` back."""
    for name, student in training.cast.items():
        student.restore(_of(name, state) if name != "student" else {k: v for k, v in state.items() if "/" not in k})
    best, first = (_of(name, state) for name in (BEST, START))
    training.best = Snapshot(training.student, best) if best else None
    training.first = Snapshot(training.student, first) if first else None


def _named(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}/{key}": value for key, value in tensors.items()}


def _of(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(f"{name}/"): v for k, v in state.items() if k.startswith(f"{name}/")}


def _check_state(state: Record) -> None:
    """UserError: what a checkpoint says is not of its kind, or names files outside of the run."""
    state.record("training")
    state.record("replay")
    state.integer("metrics_bytes", low=0)
    for name in ("metrics_sha256", "config_sha256", "student_sha256", "sampler_sha256"):
        state.hash(name)
    for entry in state.records("segments"):
        entry.hash("sha256")
        if not SEGMENT.fullmatch(entry.text("file")):
            raise entry.refuse("file", "the name of a file of the replay", entry.get("file"))
        for pair in _ranges(entry):
            if not isinstance(pair, list) or len(pair) != 2:
                raise entry.refuse("rows", "where rows begin and end", pair)


def _ranges(entry: Record) -> list[Any]:
    """Where the rows of a segment, and the predictions in it, begin and end; format 1 knew one teacher's `logits`."""
    if "logits" in entry.value:
        return [entry.get("rows"), entry.get("logits")]
    told = entry.record("predictions")
    return [entry.get("rows"), *(told.record(name).get("rows") for name in told.value)]


def _segments_of(folder: Path) -> set[str]:
    """Names of the files of replay that a checkpoint needs; of a damaged one, which nobody can load, none."""
    try:
        return {entry["file"] for entry in load_record(folder / "state.json")["segments"]}
    except DAMAGE:
        return set()
