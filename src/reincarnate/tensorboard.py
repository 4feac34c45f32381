"""TensorBoard events as a view of metrics.jsonl, rebuilt from it at every start: a resumed run has no doubles."""

import json
import shutil
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

TAGS = {  # the tags that other tools of the field read
    "score": "charts/eval_return",
    "normalised": "charts/eval_normalised",
    "return": "charts/episodic_return",
    "weight": "reincarnate/teacher_weight",
    "lr_scale": "charts/lr_scale",
    "epsilon": "charts/epsilon",
}


class TensorBoard:
    """Writes a run's lines as scalars; the step is env steps plus offline updates, so that curves go forward."""

    def __init__(self, run: Path):
        shutil.rmtree(run / "tb", ignore_errors=True)
        self._writer = SummaryWriter(str(run / "tb"))
        self._offline = 0
        metrics = run / "metrics.jsonl"
        for line in metrics.read_text().splitlines() if metrics.exists() else []:
            self.add(json.loads(line))

    def add(self, line: dict[str, Any]) -> None:
        """One line of metrics."""
        if line["env_steps"] == 0:
            self._offline = line["updates"]
        for key, value in line.items():
            tag = TAGS.get(key) or (f"losses/{key.removeprefix('loss_')}" if key.startswith("loss_") else None)
            if tag and value is not None:
                self._writer.add_scalar(tag, value, self._offline + line["env_steps"])

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
