"""metrics.jsonl of one run: lines appended, and what a checkpoint knows of them."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from reincarnate.errors import UserError
from reincarnate.files import disk_errors, flush


class Metrics:
    """One JSON object a line. A checkpoint marks how far they went; a run that goes on from it is cut back there."""

    def __init__(self, path: Path):
        self.path = path

    def add(self, line: dict[str, Any]) -> None:
        """Append a line."""
        with disk_errors(self.path), open(self.path, "a") as file:
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
