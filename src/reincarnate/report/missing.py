"""Runs that a comparison lacks: their states, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

UNFINISHED, FAILED, NO_SCORE, NOT_BEGUN = "not finished", "failed", "no score", "not begun"


@dataclass(frozen=True)
class Missing:
    """A run that is not counted: its state, why, and what it would have been where that is known."""

    path: Path
    state: str
    reason: str = ""
    env: str = ""
    label: str = ""

    def would_be(self, env: str, label: str) -> bool:
        """Whether it belongs with the runs of this label, which may have been given a suffix that tells settings."""
        return self.env == env and (label == self.label or label.startswith(f"{self.label} ("))


def left_out(missing: Sequence[Missing]) -> str:
    """One line that names the runs left out; empty when there are none."""
    parts = []
    for state in dict.fromkeys(run.state for run in missing):
        group = [run for run in missing if run.state == state]
        names = ", ".join(f"{run.path}{f' ({run.reason})' if run.reason else ''}" for run in group)
        parts.append(f"left out, {state} ({len(group)}): {names}")
    return "; ".join(parts)


def unscored(missing: Sequence[Missing], env: str, label: str) -> int:
    """How many runs of a method ended without a finite score: leaving these out flatters the method."""
    return sum(run.state == NO_SCORE and run.would_be(env, label) for run in missing)
