"""What an SB3 zip and the files beside it tell of its training: were observations normalised, and by what?"""

import base64
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.regular import open_regular
from reincarnate.files.safe import MIB, _read_member, inert_array, parse_json, unpickle_inert
from reincarnate.files.sb3_pickles import ALLOWED
from reincarnate.teachers.sb3.spaces import Entry
from reincarnate.teachers.sb3.vecnormalize import Statistics, arrays_of, side_by_side

OFF_POLICY = ("dqn", "qrdqn", "sac", "td3", "tqc", "crossq")
CLOSE = 1e-3
"""How far an observation may lie from what statistics make of it, in standard deviations, to be theirs."""
NEAR = 0.05
"""The same, where the statistics may have seen one more observation than the agent, which moves young ones further."""
COUNTED = 0.01
"""Part of the steps by which the number of observations seen may differ from them: episodes are begun anew."""
WRITTEN_WITH = "vecnormalize.sha256"
"""A member of zips that `export` wrote: the hash of the statistics that it wrote beside."""
SETTINGS = MIB
TEXT = 8 * MIB


@dataclass(frozen=True)
class Evidence:
    """What a zip says itself.

    `wrapped`: whether it was trained in a `VecNormalize` (SB3 keeps raw observations beside those it sees only then);
    None where it does not say. `seen` are its last observations [n, *O], as its network got them, and `raw` what they
    were made of, where both were kept. `training` is the moment its training began, `steps` and `copies` its length.
    `written_with` is the hash of the statistics that were exported with it: a rollout student's stop short of its
    steps, and others' count what they learnt from, so that numbers would prove nothing.
    """

    wrapped: bool | None
    seen: np.ndarray | None
    raw: np.ndarray | None
    training: float | None
    steps: int | None
    copies: int
    written_with: str = ""

    def proves(self, statistics: Statistics) -> bool | None:
        """Whether these statistics made the observations that the zip holds; None where that cannot be told.

        Off-policy agents keep the raw observation of the very one they saw last, so that they can also disprove it;
        of others the statistics' own last observation is compared, which is as old only if both were saved together.
        """
        if statistics.sha256 == self.written_with:
            return True
        if not statistics.normalises or self.seen is None:
            return None
        if self.raw is not None:
            moved = 4 * len(self.raw) / max(statistics.count, len(self.raw)) if statistics.count > 0 else 0.0
            return _close(statistics, self.raw, self.seen, NEAR + moved * (1 + np.abs(self.seen)))
        return _close(statistics, statistics.last, self.seen, CLOSE) or None

    def counts(self, statistics: Statistics) -> bool:
        """Whether the statistics saw about as many observations as the agent took steps."""
        if self.steps is None or not np.isfinite(statistics.count):
            return False
        return abs(statistics.count - self.steps) <= max(COUNTED * self.steps, 16 * self.copies)


def _close(
    statistics: Statistics, raw: np.ndarray | None, seen: np.ndarray, tolerance: float | np.ndarray
) -> bool | None:
    """Whether raw observations become those seen; None where they cannot be compared."""
    if raw is None or raw.shape != seen.shape or raw.shape[1:] != statistics.mean.shape or not raw.size:
        return None
    return bool((np.abs(statistics(raw) - seen) <= tolerance * (1 + np.abs(seen))).all())


def read_evidence(data: dict[str, Any], entries: Sequence[Entry] = (), written_with: bytes = b"") -> Evidence:
    """Of a zip's text. Arrays lie in pickles, of which only the numbers are taken; a Dict's stand side by side."""
    module = str((data.get("policy_class") or {}).get("__module__", "")) if "policy_class" in data else ""
    off_policy = any(f".{name}." in module for name in OFF_POLICY)
    seen, raw = data.get("_last_obs"), data.get("_last_original_obs")
    wrapped = None
    if seen is not None and "_last_original_obs" in data and not (off_policy and raw is not None):
        wrapped = raw is not None  # off-policy agents keep raw observations anyway
    start, steps, copies = data.get("start_time"), data.get("num_timesteps"), data.get("n_envs")
    return Evidence(
        wrapped=wrapped,
        seen=_numbers(seen, entries),
        raw=_numbers(raw, entries) if off_policy else None,
        training=float(start) if isinstance(start, int | float) and not isinstance(start, bool) else None,
        steps=steps if isinstance(steps, int) and steps >= 0 else None,
        copies=copies if isinstance(copies, int) and 0 < copies < 10**6 else 1,
        written_with=written_with.decode("ascii", "replace"),
    )


def _numbers(value: Any, entries: Sequence[Entry]) -> np.ndarray | None:
    """The array in an entry of a zip's text; None where there is none of floating-point numbers."""
    encoded = str(value.get(":serialized:", "")) if isinstance(value, dict) else ""
    try:
        if not 0 < len(encoded) <= 4 * MIB:
            return None
        found = unpickle_inert(base64.b64decode(encoded, validate=True), ALLOWED, "an observation")
        if entries:
            return side_by_side(arrays_of(found) or {}, entries)
        return inert_array(found)
    except (TypeError, ValueError, UserError):
        return None


def evidence_of(path: Path) -> tuple[Evidence, tuple[int, ...] | None] | None:
    """Of another zip, and the shape of its observations; None where it is no agent's, or damaged."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            if "policy.pth" not in archive.namelist():
                return None
            data = parse_json(_read_member(archive, archive.getinfo("data"), TEXT, str(path)), str(path))
        space = data.get("observation_space")
        shape = (space.get("shape", space.get("_shape")) if isinstance(space, dict) else None) or []
        return read_evidence(data), tuple(int(size) for size in shape) or None
    except (
        OSError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        UserError,
        zipfile.BadZipFile,
        zlib.error,
    ):
        return None


def normalises(path: Path) -> bool | None:
    """What the `config.yml` of an RL Zoo training says of `normalize`; None where it is no such file.

    The Zoo writes a list of pairs under a tag of Python's, or a plain mapping; it is read as text, line by line.
    """
    try:
        with open_regular(path) as file:
            text = file.read(SETTINGS).decode()
    except (OSError, ValueError, UserError):
        return None
    if not re.search(r"^[\s-]*(n_timesteps|policy)\b", text, re.MULTILINE):
        return None
    found = re.search(
        r"^[\s-]*normalize(?:[ \t]*:|[ \t]*\r?\n[ \t]*-)[ \t]*(.*(?:\n[ \t]{4,}[^-\s].*)*)", text, re.MULTILINE
    )
    if found is None:
        return False
    value = found[1].strip().strip("'\"").lower()
    if value in ("", "false", "no", "null", "~"):
        return False
    return re.search(r"norm_obs\W*[:=]\s*false", value) is None
