"""What a run returns: a dict of its numbers that shows itself."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from reincarnate.ui import table_of, with_interval


class Result(dict[str, Any]):
    """A run's result, as `result.json` holds it; in a notebook a small table."""

    def _repr_html_(self) -> str:
        told = {"method": self["method"], "task": self["env"], "seed": self["seed"]}
        told["score"] = with_interval(self["score"], self["interval"], len(self["returns"]))
        if self["normalised"] is not None:
            told["normalised"] = f"{self['normalised']:.3f} (random 0, teacher 1)"
        told["env steps"] = f"{self['env_steps']:,}"
        told["updates"] = f"{self['updates']:,} online, {self['offline_updates']:,} offline"
        return table_of(told | {"time": f"{self['seconds']:.0f} s"})


Results = Sequence[Mapping[str, Any]]


def poor(results: Results) -> str:
    """How a run, or most of its seeds, ended below what there was: in words, "" where it did not."""
    at_random, below = [], []
    for result in results:
        (low, high), told = result["interval"], result["reference"]
        at_random.append(low <= told["random"]["high"])
        below.append(bool(told["teacher"]) and high < told["teacher"]["low"])
    if median(at_random) > 0.5:
        return "the score cannot be told from the random policy's"
    return "the score is below the teacher's" if median(below) > 0.5 else ""
