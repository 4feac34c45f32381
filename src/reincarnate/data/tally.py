"""What is counted while the rows of logged data go by, block after block."""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch

from reincarnate.data.dataset import Columns
from reincarnate.data.layouts import bounds_of, from_unit
from reincarnate.data.replay import ENDED, TAIL, TERMINATED
from reincarnate.types import TaskSpec, Teacher, TimeStep

ASKED = 256  # observations a teacher sees at once
Z = 1.96  # standard errors to either side of a 95 % interval
Interval = tuple[float, float]


class Edges:
    """The least and greatest of columns [N, D] that come in blocks, numbers that are not finite left out."""

    def __init__(self) -> None:
        self.low, self.high, self.bad = np.array(np.inf), np.array(-np.inf), 0

    def add(self, values: np.ndarray) -> None:
        """Another block."""
        if not len(values):
            return
        finite = np.isfinite(values)
        self.bad += int(np.count_nonzero(~finite.reshape(len(values), -1).all(1)))
        self.low = np.minimum(self.low, np.where(finite, values, np.inf).min(0))
        self.high = np.maximum(self.high, np.where(finite, values, -np.inf).max(0))

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """[D] each."""
        return self.low, self.high


class Tally:
    """All that is counted. Each row is looked at by itself with the given `chance`; `teacher` is asked there too."""

    def __init__(self, spec: TaskSpec, rng: np.random.Generator, chance: float, teacher: Teacher | None):
        self._spec, self._rng, self._chance, self._teacher = spec, rng, chance, teacher
        self.vectors = len(spec.obs_shape) == 1
        self.returns: list[float] = []
        self.lengths: list[int] = []
        self._open = np.zeros(2)  # return and length of the episode that the last block ended in
        self.transitions = self.terminated = self.truncated = self.sampled = 0
        self.counts = None if spec.continuous else np.zeros(spec.actions, np.int64)
        self.acted, self.seen, self.earned = Edges(), Edges(), Edges()
        self._frames: set[bytes] = set()
        self._alike: list[np.ndarray] = []  # agreement with the teacher, one number an observation
        self._before: np.ndarray | None = None  # the newest frames of the block before

    def add(self, block: Columns) -> None:
        """The next rows."""
        flags = block["flags"]
        steps = flags & TAIL == 0
        self.transitions += int(np.count_nonzero(steps))
        self.terminated += int(np.count_nonzero(flags & TERMINATED))
        self.truncated += int(np.count_nonzero(flags & (ENDED | TERMINATED) == ENDED))
        self.earned.add(block["reward"][steps, None])
        self._episodes(block["reward"], steps)
        if self.counts is None:
            self.acted.add(block["action"][steps])
        else:
            taken = np.bincount(block["action"][steps], minlength=len(self.counts))
            self.counts = taken + np.pad(self.counts, (0, len(taken) - len(self.counts)))
        if self.vectors:
            self.seen.add(block["frame"][steps])
        self._look(block, np.flatnonzero(steps & (self._rng.random(len(steps)) < self._chance)))
        if self._spec.stack > 1:
            frames = block["frame"][-self._spec.stack :]
            known = frames if self._before is None else np.concatenate([self._before, frames])
            self._before = np.array(known[-self._spec.stack :])

    def _episodes(self, reward: np.ndarray, steps: np.ndarray) -> None:
        """Add up rewards and steps of each episode; a tail ends one."""
        index = np.cumsum(~steps) - ~steps
        ended = int(np.count_nonzero(~steps))
        sums = np.stack([np.bincount(index, what, minlength=ended + 1) for what in (reward * steps, steps)])
        sums[:, 0] += self._open
        self.returns += sums[0, :ended].tolist()
        self.lengths += sums[1, :ended].astype(np.int64).tolist()
        self._open = sums[:, ended]

    def _look(self, block: Columns, at: np.ndarray) -> None:
        """At some observations one by one."""
        self.sampled += len(at)
        if not self.vectors:
            self._frames.update(
                hashlib.blake2b(frame.tobytes(), digest_size=8).digest() for frame in block["frame"][at]
            )
        if self._teacher is None:
            return
        for first in range(0, len(at), ASKED):
            some = at[first : first + ASKED]
            self._alike.append(self._agrees(self._observations(block, some), block["action"][some]))

    def _observations(self, block: Columns, at: np.ndarray) -> np.ndarray:
        """[n, *O]: frame stacks are put together, from the block before too, with zeros before an episode's start."""
        frames, stack = block["frame"], self._spec.stack
        if stack == 1:
            return np.asarray(frames[at])
        back = np.arange(-stack + 1, 1)
        rows, there = at[:, None] + back, block["age"][at][:, None] >= -back
        stacks = frames[np.maximum(rows, 0)]
        earlier = there & (rows < 0)
        if earlier.any():
            assert self._before is not None, "an episode that began before the data"
            stacks[earlier] = self._before[rows[earlier]]
        stacks[~there] = 0
        return stacks

    @torch.no_grad()
    def _agrees(self, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
        """For each observation 1 where the teacher's greedy action is the logged one, less the more they differ."""
        assert self._teacher is not None
        step = TimeStep(torch.from_numpy(obs), torch.ones(len(obs), dtype=torch.bool))
        told = self._teacher.predict(step, self._teacher.initial(len(obs)))[0]
        if self._spec.bounds is None:
            return (told.x.argmax(-1).cpu().numpy() == action).astype(float)
        low, high = bounds_of(self._spec)
        width = np.where(high > low, high - low, 1.0)
        mean = from_unit(self._spec, told.x[..., : self._spec.actions].cpu().numpy())
        return 1 - (np.abs(mean - action) / width).mean(-1)

    # ---- what came of it ---------------------------------------------------------------------------------

    def coverage(self) -> float:
        """Share of dimensions that vary, or of distinct frames."""
        return (
            float((self.seen.low < self.seen.high).mean()) if self.vectors else len(self._frames) / max(1, self.sampled)
        )

    def agreement(self) -> tuple[float | None, Interval | None]:
        """The mean, with its 95 % interval: Wilson's for a share, the normal approximation for a distance."""
        each = np.concatenate(self._alike) if self._alike else np.zeros(0)
        if not len(each):
            return None, None
        n, mean = len(each), float(each.mean())
        if self.counts is not None:
            middle = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n)
            half = Z / (1 + Z * Z / n) * float(np.sqrt(mean * (1 - mean) / n + Z * Z / (4 * n * n)))
            return mean, (middle - half, middle + half)
        half = Z * float(each.std()) / n**0.5
        return mean, (mean - half, mean + half)

    def warnings(self) -> Iterator[str]:
        """What a person should know before learning from it."""
        clip = self._spec.reward_clip
        if clip is not None:
            yield f"rewards are clipped to ±{clip:g}: the returns are sums of clipped rewards"
        if self.earned.low == self.earned.high == 0:
            yield "all rewards are 0"
        if not self.terminated:
            yield "no episode terminated: all were cut, or the log does not say"
        for name, edges in (("rewards", self.earned), ("actions", self.acted), ("observations", self.seen)):
            if edges.bad:
                yield f"{edges.bad:,} rows have {name} that are not finite numbers"
        if self.vectors and (still := int(np.count_nonzero(self.seen.low >= self.seen.high))):
            yield f"{still} of {self._spec.obs_shape[0]} dimensions of the observations never vary"
        yield from self._warnings_of_actions()

    def _warnings_of_actions(self) -> Iterator[str]:
        if self.counts is not None:
            never = np.flatnonzero(self.counts == 0)
            if np.count_nonzero(self.counts) == 1 < len(self.counts) or len(self.counts) == 1:
                yield f"only action {int(self.counts.argmax())} was ever taken"
            elif len(never):
                yield f"never taken: action{'s' * (len(never) > 1)} {', '.join(map(str, never[:20]))}"
        elif self._spec.bounds is not None:
            low, high = map(np.array, self._spec.bounds)
            if (out := (self.acted.low < low - 1e-5) | (self.acted.high > high + 1e-5)).any():
                yield f"{int(out.sum())} of {len(low)} numbers of the actions leave the task's bounds"
