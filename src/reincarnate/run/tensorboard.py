"""TensorBoard events as a view of metrics.jsonl, rebuilt from it at every start: a resumed run has no doubles."""

import contextlib
import json
import shutil
import socket
import struct
import time
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import scalar

from reincarnate.files.atomic import disk_errors

TAGS = {  # the tags that other tools of the field read
    "score": "charts/eval_return",
    "normalised": "charts/eval_normalised",
    "return": "charts/episodic_return",
    "weight": "reincarnate/teacher_weight",
    "lr_scale": "charts/lr_scale",
    "epsilon": "charts/epsilon",
}
SEEN = (
    *("agreement_", "kl_", "grad_", "entropy", "action_gap", "value_scale", "at_low", "at_high", "feature_"),
    *("spread", "mixed", "stale"),
)
"""Keys of `training.diagnostics`, or of an exchange, begin so."""


class TensorBoard:
    """Writes a run's lines as scalars; the step is env steps plus offline updates, so that curves go forward."""

    def __init__(self, run: Path):
        self._folder, self._offline = run / "tb", 0
        self._before = (0.0, 0, 0)  # seconds, env steps and updates of the line before
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        with disk_errors(self._folder), contextlib.ExitStack() as undo:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(exist_ok=True)
            # by hand: tensorboardX's own writer has a thread, and waits for ever for one that a full disk has killed
            self._file = open(self._folder / name, "wb")  # noqa: SIM115
            undo.callback(self.close)
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
            metrics = run / "metrics.jsonl"
            for line in metrics.read_text().splitlines() if metrics.exists() else []:
                self._scalars(json.loads(line))
            self._file.flush()
            undo.pop_all()

    def add(self, line: dict[str, Any]) -> None:
        """One line of metrics. Raises UserError where it cannot be written."""
        with disk_errors(self._folder):
            self._scalars(line)
            if line["kind"] == "eval":
                self._file.flush()

    def _scalars(self, line: dict[str, Any]) -> None:
        if line["env_steps"] == 0:
            self._offline = line["updates"]
        step = self._offline + line["env_steps"]
        either = "mean_return" in line  # the score is one of the task's two measures, each with its own name
        self._speed(line, step)
        for key, value in line.items():
            tag = None if key == "score" and either else TAGS.get(key) or _tag(key)
            if tag and value is not None:
                self._write(Event(wall_time=time.time(), step=step, summary=scalar(tag, value)))

    def _speed(self, line: dict[str, Any], step: int) -> None:
        """Env steps and updates a second since the line before."""
        now = (line["seconds"], line["env_steps"], line["updates"])
        seconds, *counts = (new - old for new, old in zip(now, self._before, strict=True))
        self._before = now
        for tag, count in zip(("charts/SPS", "charts/updates_per_second"), counts, strict=True):
            if count > 0 and seconds > 0:
                self._write(Event(wall_time=time.time(), step=step, summary=scalar(tag, count / seconds)))

    def _write(self, event: Event) -> None:
        data = event.SerializeToString()
        size = struct.pack("<Q", len(data))
        self._file.write(size + _check(size) + data + _check(data))

    def close(self) -> None:
        """Write out what is left, if there is room: all of it is in metrics.jsonl too."""
        with contextlib.suppress(OSError):
            self._file.close()


def _tag(key: str) -> str | None:
    if key.startswith("loss_"):
        return f"losses/{key.removeprefix('loss_')}"
    if key.startswith("mean_"):
        return f"charts/eval_{key.removeprefix('mean_')}"
    return f"diagnostics/{key}" if key.startswith(SEEN) else None


def _check(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))
