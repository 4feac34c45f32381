"""A run is a directory: config, metrics, checkpoints, agent, result, and `done` last. A finished one never changes."""

import hashlib
import json
import os
import re
import shlex
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from reincarnate.errors import UserError
from reincarnate.files.atomic import (
    FORMAT,
    disk_errors,
    flush,
    publish,
    sha256_file,
    staging,
    write_json,
)
from reincarnate.files.finished import VIDEOS, refuse_inside_a_run, runs_below, videos_of, write_done
from reincarnate.files.lock import FILE as LOCK
from reincarnate.files.lock import Lock, abandoned
from reincarnate.files.records import Record, is_hash, is_text, load_record
from reincarnate.files.regular import refuse_dangling, refuse_links
from reincarnate.run.checkpoints import DAMAGE, Checkpoints, Saved
from reincarnate.seeds import MOST
from reincarnate.store.trust import SEAL, seal
from reincarnate.training.training import Training

KEEP = 2  # checkpoints, unless the run says otherwise: the newest, and the one before should it be damaged


class RunDirectory:
    """Reads and writes one run's directory. `with` it, nobody else writes there."""

    def __init__(self, path: Path, keep: int):
        self.path = path
        self._metrics = Metrics(path / "metrics.jsonl")
        self._checkpoints = Checkpoints(path, keep)
        self._lock: Lock | None = None

    @classmethod
    def fresh(cls, path: Path, keep: int = KEEP) -> "RunDirectory":
        """A run that `create` may write; `keep`: newest checkpoints. Raises UserError where the directory exists."""
        if path.exists():
            raise UserError(_taken(path))
        refuse_dangling(path)
        refuse_inside_a_run(path)
        return cls(path, keep)

    @classmethod
    def reopen(cls, path: Path, keep: int = KEEP) -> "RunDirectory":
        """An unfinished run. Raises UserError where there is none, or it is finished."""
        if not (path / "config.json").exists():
            raise UserError(_no_run(path))
        _refuse_finished(path)
        _refuse_foreign(path)
        return cls(path, keep)

    def __enter__(self) -> "RunDirectory":
        if self.path.exists():
            self._hold()
            try:
                _refuse_finished(self.path)  # by another process, until a moment ago
            except UserError:
                self.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others in. What is being written is written to its end; raises UserError where it cannot be."""
        try:
            self._checkpoints.wait()
        finally:
            if self._lock:
                self._lock.release()

    def create(self, config: dict[str, Any]) -> None:
        """Make the directory, with the record of what was asked for in it from the first moment, and held."""
        self._sweep_beside()
        with staging(self.path.parent, _mark(self.path)) as folder:
            self._lock = Lock(folder)
            try:
                write_json(folder / "config.json", {"format": FORMAT, **config})
                seal(folder)
                if not publish(folder, self.path):
                    raise UserError(_taken(self.path))
            except BaseException:
                self._lock.release()
                raise
            self._lock.moved(self.path)

    def _hold(self) -> None:
        self._lock = Lock(self.path)

    @property
    def config(self) -> dict[str, Any]:
        """The record of what was asked for. UserError: what a run needs to go on is missing, or is not of its kind."""
        record = Record(load_record(self.path / "config.json"), self.path / "config.json")
        record.mapping("prior", lambda x: x is None or is_hash(x), "an object of hashes")
        record.mapping("versions", is_text, "an object of versions")
        seeds = record.get("together")
        if not isinstance(seeds, list) or not 0 < len(seeds) <= MOST or not all(type(x) is int for x in seeds):
            raise record.refuse("together", f"a list of at most {MOST} seeds", seeds)
        return record.value

    def record(self, line: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        self._metrics.add(line)

    # ---- checkpoints ---------------------------------------------------------------------------------

    def checkpoint(self, training: Training) -> None:
        """Save everything a continuation needs; large ones are finished while training goes on."""
        config = {"config_sha256": sha256_file(self.path / "config.json")}
        self._checkpoints.save(training, config | self._metrics.mark())

    def newest(self, at_most: int | None = None) -> tuple[int, list[str]]:
        """The number of the newest sound checkpoint (of at most this one), 0 without any, and warnings of damage."""
        saved, warnings = self._checkpoints.newest(self._metrics.check, at_most)
        return saved.barrier if saved else 0, warnings

    def restore(self, training: Training, at_most: int | None = None) -> list[str]:
        """Put the newest sound checkpoint (of at most this number) back. Returns warnings about what was passed over.

        Raises UserError where there were checkpoints and none is sound; with none at all, the run begins anew.
        """
        self._sweep()
        self._sweep_beside()
        saved, warnings = self._checkpoints.newest(self._metrics.check, at_most)
        if saved:
            if saved.state["config_sha256"] != sha256_file(self.path / "config.json"):
                raise UserError(f"{self.path / 'config.json'} has changed since the run began; put it back to resume")
            self._checkpoints.load(saved, training)
        elif at_most is None:
            warnings.append(f"{self.path} has no checkpoint yet; it begins anew")
        self._checkpoints.forget_after(saved.barrier if saved else 0)
        self._metrics.cut(saved.state["metrics_bytes"] if saved else 0)
        for film in videos_of(self.path):
            if int(film.stem) > (saved.barrier if saved else 0):
                film.unlink()  # it will be made again
        return warnings

    def _sweep(self) -> None:
        """Remove what a killed process left half-written, by a name and a content that this program makes."""
        with disk_errors(self.path):
            for leftover in (x for part in ("", "checkpoints", VIDEOS) for x in (self.path / part).glob(".*")):
                if leftover.is_symlink():
                    continue
                if leftover.is_dir() and _is_ours(leftover):
                    shutil.rmtree(leftover)
                elif leftover.is_file() and HALF_WRITTEN.fullmatch(leftover.name):
                    leftover.unlink()

    def _sweep_beside(self) -> None:
        """Remove what a process that was killed while it made this very run left beside it; a living one holds its own.

        What cannot be removed is in nobody's way.
        """
        for leftover in self.path.parent.glob(f".staging-{_mark(self.path)}*"):
            if not leftover.is_symlink():
                with abandoned(leftover) as ended:
                    if ended and _is_begun(leftover):
                        shutil.rmtree(leftover, ignore_errors=True)

    def best(self, barrier: int) -> Saved | None:
        """The checkpoint of the best evaluation, by its number; None where it is damaged."""
        self._checkpoints.wait()
        with suppress(*DAMAGE):
            return self._checkpoints.open(barrier)

    # ---- the end -------------------------------------------------------------------------------------

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result, drop what only a continuation would need, and write `done`."""
        self._checkpoints.wait()
        write_json(self.path / "result.json", {"format": FORMAT, **result})
        self.conclude()

    def trained(self, phases: int) -> bool:
        """Whether nothing is left but to conclude it: it was killed after the last of so many phases."""
        if (self.path / "result.json").exists():
            return True
        saved, _ = self._checkpoints.newest(self._metrics.check)
        return saved is not None and saved.state["training"].get("phase", 0) >= phases

    def concluded(self) -> dict[str, Any] | None:
        """The result of a run that was killed after it had written it; None of any other."""
        path = self.path / "result.json"
        return check_result(load_record(path), path) if path.exists() else None

    def conclude(self) -> None:
        """The last steps, once there is a result; `done` is the very last."""
        self._sweep()
        self._checkpoints.drop()
        if self._lock:
            self._lock.remove()
        (self.path / SEAL).unlink(missing_ok=True)
        write_done(self.path)


def _taken(path: Path) -> str:
    hint = " (it holds a finished run)" if (path / "done").exists() else ""
    if unfinished(path):
        hint = f" (`reincarnate resume {shlex.quote(str(path))}` goes on)"
    return f"{path} exists already; choose another --out{hint}"


def unfinished(path: Path) -> list[Path]:
    """The unfinished run in a folder, or else those right below it; a link is looked into only by its own name."""
    runs = [path] if (path / "config.json").exists() else runs_below(path)
    return [run for run in runs if not (run / "done").exists()]


def _no_run(path: Path) -> str:
    """What a folder is that holds nothing to go on with."""
    if runs := runs_below(path):
        return f"{path}: all {len(runs)} runs in it are finished" if len(runs) > 1 else f"{runs[0]} is finished"
    if (path / "study.json").exists():
        return f"{path} is a study's folder: `reincarnate study run FILE --out {shlex.quote(str(path))}` goes on"
    return f"{path} is not a run: it has no config.json"


def _refuse_finished(path: Path) -> None:
    if (path / "done").exists():
        raise UserError(f"{path} is finished; a finished run is never modified")


OWN = (
    "config.json",
    "metrics.jsonl",
    "metrics.csv",
    "result.json",
    "done",
    LOCK,
    "checkpoints",
    "replay",
    "tb",
    VIDEOS,
    "agent",
    "agent-best",
)
"""What this program writes, or deletes, in a run's folder."""
HALF_WRITTEN = re.compile(r"\.(config\.json|result\.json|failed\.json|done|\.seal|\d+\.gif)\.\d+")
STAGED = re.compile(
    r"[\w-]+\.(json|safetensors|npy)|card\.md|data|[0-9a-f]{16}|\.staging-\w+|\.[\w-]+\.(json|safetensors|npy|md)\.\d+"
)
"""Names of what is written into a folder before it has its own, also within one another."""


def _mark(path: Path) -> str:
    """By which the name of a folder that will be this run tells whose it is."""
    return f"{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}_"


def _is_begun(folder: Path) -> bool:
    """Whether all that is in a folder is what a run has before it has its name."""
    parts = [part for part in folder.iterdir() if part.name not in ("config.json", SEAL, LOCK)]
    return all(HALF_WRITTEN.fullmatch(part.name) and part.is_file() for part in parts)


def _is_ours(folder: Path) -> bool:
    """Whether a folder is work of ours that was not finished, by its name and by all that is in it."""
    if not folder.name.startswith(".staging-"):
        return False
    return all(STAGED.fullmatch(part) for path in folder.rglob("*") for part in path.relative_to(folder).parts)


def _refuse_foreign(path: Path) -> None:
    """UserError where a run's folder leads elsewhere: what is written and deleted in it would be there."""
    refuse_links(path, OWN)
    for name in ("checkpoints", "replay", "tb", VIDEOS):
        if (path / name).is_dir():
            refuse_links(path / name, sorted(os.listdir(path / name)))


def check_result(value: dict[str, Any], where: Path) -> dict[str, Any]:
    """The result itself. UserError: a field that everybody reads is missing, or is not of its kind."""
    result = Record(value, where)
    result.number("score")
    if len(result.numbers("interval")) != 2:
        raise result.refuse("interval", "two numbers", value["interval"])
    result.numbers("returns")
    if result.get("normalised") is not None:
        result.number("normalised")
    if result.get("best") is not None:
        best = result.record("best")
        best.number("score")
        best.integer("env_steps")
    return value


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


class Metrics:
    """One JSON object a line. A checkpoint marks how far they went; a run that goes on from it is cut back there."""

    def __init__(self, path: Path):
        self.path = path

    def add(self, line: dict[str, Any]) -> None:
        """Append a line."""
        with disk_errors(self.path), open(self.path, "a", opener=_no_link) as file:
            file.write(json.dumps(line, allow_nan=True) + "\n")

    def mark(self) -> dict[str, Any]:
        """How long the file is now, and the hash of what it holds, as a checkpoint keeps them."""
        if not self.path.exists():
            return {"metrics_bytes": 0, "metrics_sha256": hashlib.sha256().hexdigest()}
        with disk_errors(self.path):
            flush(self.path)
        return {"metrics_bytes": self.path.stat().st_size, "metrics_sha256": self._hash(self.path.stat().st_size)}

    def check(self, mark: dict[str, Any]) -> None:
        """Raises UserError where what was there at a `mark` is there no more."""
        if self._hash(mark["metrics_bytes"]) != mark["metrics_sha256"]:
            raise UserError(f"{self.path} has changed since it was written")

    def cut(self, size: int) -> None:
        """Forget what was measured after a mark: it will be measured again."""
        if self.path.exists():
            with disk_errors(self.path):
                os.truncate(self.path, size)

    def _hash(self, size: int) -> str:
        """Of the first `size` bytes, or of what is there."""
        if not self.path.exists():
            return hashlib.sha256().hexdigest()
        with open(self.path, "rb") as file:
            return hashlib.sha256(file.read(size)).hexdigest()
