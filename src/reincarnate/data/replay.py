"""Replay in columns: each frame stored once; stacks, successors and n-step returns are gathered at sampling."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.types import Batch, TaskSpec

TERMINATED, ENDED, TAIL = np.uint8(1), np.uint8(2), np.uint8(4)

Annotate = Callable[[Tensor], Tensor]
"""Observations [N, *O] -> the teacher's logits [N, A]."""

ANNOTATION_BLOCK = 256  # observations a teacher sees at once: large enough to be efficient, small enough for 84×84


class Replay:
    """A ring of rows for each of `streams` environments.

    Row t of a stream holds the newest frame of o_t, the action taken there, the (clipped) reward that followed and
    flags. An episode's last observation, which no action follows, is a row of its own (TAIL), so that the successor
    of row t is always row t + 1, and an n-step return that meets ENDED stops there: no transition crosses episodes.
    `age` counts the rows since the episode's start, where a frame stack must stop.

    The teacher's logits are one more column, filled once per row: as it plays (`add(teacher=…)`), or in blocks when
    a row without them is first sampled.
    """

    def __init__(self, spec: TaskSpec, capacity: int, streams: int, n_step: int, gamma: float):
        if capacity < streams * (spec.stack + n_step + 2):
            raise ValueError(f"a replay of {capacity} rows is too small for {streams} streams")
        self.spec, self.n_step, self.gamma, self.streams = spec, n_step, gamma, streams
        self.rows = capacity // streams  # of one stream
        frame = spec.obs_shape[1:] if spec.stack > 1 else spec.obs_shape
        size = self.rows * streams
        self.columns: dict[str, np.ndarray] = {
            "frame": np.zeros((size, *frame), spec.obs_dtype),
            "action": np.zeros(size, np.uint8 if spec.actions <= 256 else np.int32),
            "reward": np.zeros(size, np.float32),
            "flags": np.zeros(size, np.uint8),
            "age": np.zeros(size, np.int32),
        }
        self.added = np.zeros(streams, np.int64)  # rows ever written, per stream
        self.annotated = np.zeros(streams, np.int64)  # of these, how many have the teacher's logits
        self.transitions = 0
        self._age = np.zeros(streams, np.int64)
        self._powers = (gamma ** np.arange(n_step + 1)).astype(np.float32)
        self._offsets = np.arange(-spec.stack + 1, 1)
        self._base = np.arange(streams) * self.rows

    @classmethod
    def over(cls, spec: TaskSpec, columns: dict[str, np.ndarray], n_step: int, gamma: float) -> "Replay":
        """A full, closed stream over existing (memory-mapped) columns, which it never writes."""
        self = cls.__new__(cls)
        size = len(columns["action"])
        self.spec, self.n_step, self.gamma, self.streams, self.rows = spec, n_step, gamma, 1, size
        self.columns = columns
        self.added = np.array([size], np.int64)
        self.annotated = np.array([size if "teacher" in columns else 0], np.int64)
        self.transitions = int((columns["flags"] & TAIL == 0).sum())
        self._age = np.zeros(1, np.int64)
        self._powers = (gamma ** np.arange(n_step + 1)).astype(np.float32)
        self._offsets = np.arange(-spec.stack + 1, 1)
        self._base = np.zeros(1, np.int64)
        return self

    # ---- writing -----------------------------------------------------------------------------------

    def add(
        self,
        obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        next_obs: np.ndarray,
        teacher: np.ndarray | None = None,
    ) -> None:
        """Store one transition of every stream; arrays [streams, …]. `next_obs` is the true successor."""
        clip = self.spec.reward_clip
        if clip is not None:
            reward = np.clip(reward, -clip, clip)
        ended = terminated | truncated
        flags = ended * ENDED + terminated * TERMINATED
        at = self._base + self.added % self.rows
        self._write(at, obs, action, reward, flags, teacher)
        if ended.any():
            self._tail(np.flatnonzero(ended), next_obs)

    def cut(self, obs: np.ndarray) -> None:
        """Close every open episode as by a time limit: `obs` is what would have been acted on next."""
        open_ = np.flatnonzero(self._age > 0)
        last = self._base[open_] + (self.added[open_] - 1) % self.rows
        self.columns["flags"][last] |= ENDED
        self._tail(open_, obs)

    def _write(self, at, obs, action, reward, flags, teacher) -> None:
        columns = self.columns
        columns["frame"][at] = obs[:, -1] if self.spec.stack > 1 else obs
        columns["action"][at] = action
        columns["reward"][at] = reward
        columns["flags"][at] = flags
        columns["age"][at] = self._age
        self.added += 1
        self._age += 1
        self.transitions += self.streams
        if teacher is not None:
            assert (self.annotated == self.added - 1).all(), "a teacher that watches must have watched from the start"
            self.teacher_column(teacher.shape[-1])[at] = teacher
            self.annotated[:] = self.added

    def _tail(self, which: np.ndarray, next_obs: np.ndarray) -> None:
        current = which[self.annotated[which] == self.added[which]]  # nobody acts on a tail: it needs no logits
        at = self._base[which] + self.added[which] % self.rows
        frames = next_obs[which]
        self.columns["frame"][at] = frames[:, -1] if self.spec.stack > 1 else frames
        self.columns["action"][at], self.columns["reward"][at] = 0, 0.0
        self.columns["flags"][at], self.columns["age"][at] = TAIL, self._age[which]
        self.added[which] += 1
        self._age[which] = 0
        self.annotated[current] = self.added[current]

    # ---- reading -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many rows can begin a transition now, tails counted."""
        return sum(max(0, high - low) for low, high in map(self._span, range(self.streams)))

    def sample(
        self, n: int, rng: np.random.Generator, teacher: bool = False, annotate: Annotate | None = None
    ) -> Batch:
        """`n` transitions drawn uniformly with replacement; with the teacher's logits where asked."""
        stream, position = self.draw(n, rng)
        if teacher and (position >= self.annotated[stream]).any():
            assert annotate is not None, "rows without the teacher's logits, and no teacher to ask"
            self.annotate(annotate)
        return self.gather(stream, position, teacher)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray | int, np.ndarray]:
        """(streams, positions) of `n` rows that begin a transition. Positions count rows ever written.

        A single stream is the integer 0 instead of an array of zeros.
        """
        stream, position = self._guess(n, rng)
        flags, base = self.columns["flags"], self._base[stream]
        while True:
            tails = flags[base + position % self.rows] & TAIL
            if not np.count_nonzero(tails):
                return stream, position
            again = np.flatnonzero(tails)
            stream_again, position[again] = self._guess(len(again), rng)
            if isinstance(stream, np.ndarray):
                stream[again] = stream_again
                base = self._base[stream]

    def _guess(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray | int, np.ndarray]:
        """Rows drawn uniformly from all streams, tails among them."""
        if self.streams == 1:
            low, high = self._span(0)
            if high <= low:
                raise ValueError("nothing to sample yet")
            return 0, rng.integers(low, high, size=n)
        lows, highs = np.array([self._span(s) for s in range(self.streams)]).T
        ends = np.cumsum(np.maximum(highs - lows, 0))
        if ends[-1] == 0:
            raise ValueError("nothing to sample yet")
        pick = rng.integers(ends[-1], size=n)
        stream = np.searchsorted(ends, pick, side="right")
        starts = np.concatenate([[0], ends[:-1]])
        return stream, lows[stream] + pick - starts[stream]

    def gather(self, stream: np.ndarray | int, position: np.ndarray, teacher: bool = False) -> Batch:
        """The transitions that begin at these rows."""
        base, columns = self._base[stream], self.columns
        at = base + position % self.rows
        flags, reward, steps = columns["flags"][at], columns["reward"][at], 1
        for k in range(1, self.n_step):
            going = flags & ENDED == 0
            ahead = base + (position + k) % self.rows
            reward = reward + np.where(going, self._powers[k] * columns["reward"][ahead], np.float32(0))
            flags = np.where(going, columns["flags"][ahead], flags)
            steps = steps + going
        discount = np.where(flags & TERMINATED, np.float32(0), self._powers[steps])
        successor = position + steps
        return Batch(
            obs=self._observe(base, position, at),
            action=torch.from_numpy(columns["action"][at].astype(np.int64)),
            reward=torch.from_numpy(reward),
            discount=torch.from_numpy(discount),
            next_obs=self._observe(base, successor, base + successor % self.rows),
            teacher=torch.from_numpy(columns["teacher"][at]) if teacher else None,
        )

    def _observe(self, base: np.ndarray | np.int64, position: np.ndarray, at: np.ndarray) -> Tensor:
        """Observations at rows: [B, *O], frame stacks rebuilt with zeros before the episode's start."""
        frames = self.columns["frame"]
        if self.spec.stack == 1:
            return torch.from_numpy(frames[at])
        rows = np.expand_dims(base, -1) + (position[:, None] + self._offsets) % self.rows
        stack = frames[rows]
        before = self.columns["age"][at][:, None] < -self._offsets
        if before.any():
            stack[before] = 0
        return torch.from_numpy(stack)

    def _span(self, stream: int) -> tuple[int, int]:
        """Positions [low, high) of a stream whose frame stack and n-step window lie within what is stored.

        Row `added` is the next to be overwritten, so after wrapping the oldest rows lack the frames of their stacks.
        While an episode is open its last n rows wait for their successors.
        """
        added = int(self.added[stream])
        low = added - self.rows + self.spec.stack - 1 if added > self.rows else 0
        return low, added - min(int(self._age[stream]), self.n_step)

    # ---- the teacher's column ------------------------------------------------------------------------

    def annotate(self, annotate: Annotate) -> None:
        """Fill in the teacher's logits of every row that lacks them, oldest first, in blocks."""
        for s in range(self.streams):
            start = max(int(self.annotated[s]), int(self.added[s]) - self.rows)
            for first in range(start, int(self.added[s]), ANNOTATION_BLOCK):
                position = np.arange(first, min(first + ANNOTATION_BLOCK, int(self.added[s])))
                base = np.full(len(position), self._base[s])
                at = base + position % self.rows
                logits = annotate(self._observe(base, position, at)).numpy()
                self.teacher_column(logits.shape[-1])[at] = logits
            self.annotated[s] = self.added[s]

    def teacher_column(self, actions: int) -> np.ndarray:
        """The column of the teacher's logits, [rows, actions], made on first use."""
        if "teacher" not in self.columns:
            self.columns["teacher"] = np.zeros((self.rows * self.streams, actions), np.float32)
        return self.columns["teacher"]

    # ---- keeping -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Counters, as JSON values; the rows themselves are saved by `data.segments`."""
        return {
            "added": self.added.tolist(),
            "annotated": self.annotated.tolist(),
            "age": self._age.tolist(),
            "transitions": self.transitions,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put the counters of `state()` back."""
        self.added[:], self.annotated[:] = state["added"], state["annotated"]
        self._age[:], self.transitions = state["age"], state["transitions"]
