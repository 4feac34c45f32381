"""A replay on disk, incrementally: each checkpoint adds one file with the rows written since the one before."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from reincarnate.data.replay import Replay, predicted_in
from reincarnate.errors import UserError
from reincarnate.files.atomic import disk_errors, flush, sha256_file
from reincarnate.types import LOGITS


@dataclass(frozen=True)
class Segment:
    """Rows of a replay as they were, copied, and where they belong."""

    tensors: dict[str, np.ndarray]
    ranges: dict[str, Any]

    @property
    def bytes(self) -> int:
        """How much there is to write."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def save(self, path: Path) -> dict[str, Any]:
        """Write it. Returns its entry."""
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(self.tensors, path)
            flush(path)
        return {"file": path.name, "sha256": sha256_file(path), **self.ranges}


def take_segment(replay: Replay, since: dict[str, Any] | None) -> Segment:
    """What is new since an earlier `replay.state()` (None: everything).

    Rows before a barrier never change after it, except that predictions may be filled in later; they therefore have
    ranges of their own.
    """
    rows_from = _start(replay, since["added"] if since else None)
    tensors, predictions = {}, {}
    for name in replay.columns:
        if name not in replay.predicted:
            tensors[name] = _take(replay, name, rows_from, replay.added)
            continue
        count = replay.predicted[name]
        start = _start(replay, predicted_in(since).get(name) if since else None)
        tensors[name] = _take(replay, name, start, count)
        predictions[name] = {"kind": replay.kinds[name], "rows": [start.tolist(), count.tolist()]}
    return Segment(tensors, {"rows": [rows_from.tolist(), replay.added.tolist()], "predictions": predictions})


def check_segments(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Raises UserError where a segment's file is missing or has changed."""
    for entry in entries:
        path = folder / entry["file"]
        if not path.exists() or sha256_file(path) != entry["sha256"]:
            raise UserError(f"{path} is missing, or has changed since it was written")


def load_segments(replay: Replay, folder: Path, entries: list[dict[str, Any]]) -> None:
    """Put segments back, oldest first; `check_segments` has looked at them."""
    for entry in entries:
        tensors, predictions = load_file(folder / entry["file"]), _predictions(entry)
        for name, values in tensors.items():
            if name in predictions:
                replay.predictions_of(name, predictions[name]["kind"], values.shape[1])
                _put(replay, replay.columns[name], values, *predictions[name]["rows"])
            else:
                _put(replay, replay.column(name, values.shape[1:], values.dtype), values, *entry["rows"])


def _predictions(entry: dict[str, Any]) -> dict[str, Any]:
    """The predictions in a segment; one of format 1 knew the teacher's alone, and not their kind."""
    if "logits" in entry:
        return {"teacher": {"kind": LOGITS, "rows": entry["logits"]}}
    return entry["predictions"]


def still_needed(replay: Replay, entry: dict[str, Any]) -> bool:
    """Whether the ring still holds a row of this segment."""
    return bool((np.array(entry["rows"][1]) > replay.added - replay.rows).any())


def _start(replay: Replay, before: list[int] | None) -> np.ndarray:
    counted = np.array(before or [0] * replay.streams, np.int64)
    return np.maximum(counted, replay.added - replay.rows)


def _take(replay: Replay, name: str, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    column = replay.columns[name]
    parts = [column[at] for at in _rows(replay, start, stop)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)  # one copy of a large replay is enough


def _put(replay: Replay, column: np.ndarray, values: np.ndarray, start: list[int], stop: list[int]) -> None:
    first, spans = 0, (np.array(start), np.array(stop))
    if (spans[1] - spans[0] > replay.rows).any() or (spans[0] < 0).any():
        raise UserError(f"a segment of rows {start} to {stop} is more than the replay's {replay.rows} of each stream")
    for at in _rows(replay, *spans):
        column[at] = values[first : first + len(at)]
        first += len(at)


def _rows(replay: Replay, start: np.ndarray, stop: np.ndarray) -> list[np.ndarray]:
    spans = zip(range(replay.streams), start, stop, strict=True)
    return [s * replay.rows + np.arange(a, max(a, b)) % replay.rows for s, a, b in spans]
