"""Replay in columns: each frame stored once; stacks, successors and n-step returns are gathered at sampling."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.priorities import Priorities
from reincarnate.errors import UserError
from reincarnate.types import Batch, TaskSpec

Annotate = Callable[[Tensor], Tensor]
"""Observations [N, *O] -> the teacher's logits [N, A]."""
TERMINATED, ENDED, TAIL = np.uint8(1), np.uint8(2), np.uint8(4)  # flags of a row


class Replay:
    """A ring of rows for each of `streams` environments.

    Row t of a stream holds the newest frame of o_t, the action taken there, the (clipped) reward that followed and
    flags. An episode's last observation, which no action follows, is a row of its own (TAIL), so that the successor
    of row t is always row t + 1, and an n-step return that meets ENDED stops there: no transition crosses episodes.
    `age` counts the rows since the episode's start, where a frame stack must stop.

    The teacher's logits are one more column, filled once per row: as it plays (`add(teacher=…)`), or in blocks when
    a row without them is first sampled.

    Rows are drawn uniformly, or after `prioritise` by priority: a row is admitted the moment its n steps are complete
    and forgotten when its frames go.
    """

    on_policy = False

    def __init__(self, spec: TaskSpec, capacity: int, streams: int, n_step: int, gamma: float):
        if capacity < streams * (spec.stack + n_step + 2):
            raise ValueError(f"a replay of {capacity} rows is too small for {streams} streams")
        self.spec, self.n_step, self.gamma, self.streams = spec, n_step, gamma, streams
        self.rows = capacity // streams  # of one stream
        frame = spec.obs_shape[1:] if spec.stack > 1 else spec.obs_shape
        size = self.rows * streams
        self.columns: dict[str, np.ndarray] = {
            "frame": np.zeros((size, *frame), spec.obs_dtype),
            "action": _actions(spec, size),
            "reward": np.zeros(size, np.float32),
            "flags": np.zeros(size, np.uint8),
            "age": np.zeros(size, np.int32),
        }
        self.added = np.zeros(streams, np.int64)  # rows ever written, per stream
        self.annotated = np.zeros(streams, np.int64)  # of these, how many have the teacher's logits
        self.played = np.zeros(streams, np.int64)  # transitions ever written, per stream
        self._age = np.zeros(streams, np.int64)
        self.base = np.arange(streams) * self.rows
        self._common()

    def _common(self) -> None:
        self._powers = (self.gamma ** np.arange(self.n_step + 1)).astype(np.float32)
        self._offsets = np.arange(-self.spec.stack + 1, 1)
        self.sampler: Uniform | Prioritised = Uniform()

    @classmethod
    def over(cls, spec: TaskSpec, columns: dict[str, np.ndarray], n_step: int, gamma: float) -> "Replay":
        """A full, closed stream over existing (memory-mapped) columns, which it never writes."""
        self = cls.__new__(cls)
        size = len(columns["action"])
        self.spec, self.n_step, self.gamma, self.streams, self.rows = spec, n_step, gamma, 1, size
        self.columns = columns
        self.added = np.array([size], np.int64)
        self.annotated = np.array([size if "teacher" in columns else 0], np.int64)
        self.played = np.array([(columns["flags"] & TAIL == 0).sum()], np.int64)
        self._age = np.zeros(1, np.int64)
        self.base = np.zeros(1, np.int64)
        self._common()
        return self

    def prioritise(self, alpha: float, beta: float) -> "Replay":
        """Draw by priority from now on (Schaul et al., 2016). The replay must be empty."""
        assert not self.added.any(), "only an empty replay can be prioritised"
        self.sampler = Prioritised(self.rows, self.streams, alpha, beta)
        return self

    def part(self, index: int, parts: int) -> "Replay":
        """One of `parts` equal groups of streams, as a replay over the same memory: what is added here is seen there.

        The teacher's column, where it is wanted, must exist already.
        """
        part = Replay.__new__(Replay)
        part.spec, part.n_step, part.gamma = self.spec, self.n_step, self.gamma
        part.streams, part.rows = self.streams // parts, self.rows
        own = slice(index * part.streams, (index + 1) * part.streams)
        part.columns = {n: c[own.start * self.rows : own.stop * self.rows] for n, c in self.columns.items()}
        part.added, part.annotated, part.played = self.added[own], self.annotated[own], self.played[own]
        part._age, part.base = self._age[own], self.base[: part.streams]
        part._common()
        part.sampler = self.sampler.like(part)
        return part

    @property
    def transitions(self) -> int:
        """How many were ever written."""
        return int(self.played.sum())

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
        at = self.base + self.added % self.rows
        self._write(at, obs, action, reward, flags, teacher)
        if ended.any():
            self._tail(np.flatnonzero(ended), next_obs)

    def settle(self, values: Any) -> None:
        """Nothing to do before learning: what was added can be sampled."""

    def cut(self, obs: np.ndarray) -> None:
        """Close every open episode as by a time limit: `obs` is what would have been acted on next."""
        open_ = np.flatnonzero(self._age > 0)
        last = self.base[open_] + (self.added[open_] - 1) % self.rows
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
        self.played += 1
        if teacher is not None:
            assert (self.annotated == self.added - 1).all(), "a teacher that watches must have watched from the start"
            self.teacher_column(teacher.shape[-1])[at] = teacher
            self.annotated[:] = self.added

    def _tail(self, which: np.ndarray, next_obs: np.ndarray) -> None:
        current = which[self.annotated[which] == self.added[which]]  # nobody acts on a tail: it needs no logits
        at = self.base[which] + self.added[which] % self.rows
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
        return sum(max(0, high - low) for low, high in map(self.span, range(self.streams)))

    def sample(
        self, n: int, rng: np.random.Generator, teacher: bool = False, annotate: Annotate | None = None
    ) -> Batch:
        """`n` transitions drawn with replacement; with the teacher's logits where asked."""
        stream, position, rows, weight = self.sampler.draw(self, n, rng)
        if teacher and (position >= self.annotated[stream]).any():
            assert annotate is not None, "rows without the teacher's logits, and no teacher to ask"
            self.annotate(annotate)
        batch = self.gather(stream, position, teacher)
        return batch if rows is None else batch._replace(weight=weight, rows=rows)

    def learnt(self, batch: Batch, losses: Tensor) -> None:
        """Let priorities, if any, follow the losses [B] of a batch that was sampled here."""
        if batch.rows is not None:
            self.sampler.learnt(batch.rows, losses.numpy())

    def gather(self, stream: np.ndarray | int, position: np.ndarray, teacher: bool = False) -> Batch:
        """The transitions that begin at these rows."""
        base, columns = self.base[stream], self.columns
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
            obs=self.observe(base, position, at),
            action=torch.from_numpy(columns["action"][at].astype(np.float32 if self.spec.continuous else np.int64)),
            reward=torch.from_numpy(reward),
            discount=torch.from_numpy(discount),
            next_obs=self.observe(base, successor, base + successor % self.rows),
            teacher=torch.from_numpy(columns["teacher"][at]) if teacher else None,
        )

    def observe(self, base: np.ndarray | np.int64, position: np.ndarray, at: np.ndarray) -> Tensor:
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

    def span(self, stream: int) -> tuple[int, int]:
        """Positions [low, high) of a stream whose frame stack and n-step window lie within what is stored.

        Row `added` is the next to be overwritten, so after wrapping the oldest rows lack the frames of their stacks.
        While an episode is open its last n rows wait for their successors.
        """
        added = int(self.added[stream])
        low = added - self.rows + self.spec.stack - 1 if added > self.rows else 0
        return low, added - min(int(self._age[stream]), self.n_step)

    # ---- the teacher's column ------------------------------------------------------------------------

    def annotate(self, ask: Annotate) -> None:
        """Fill in the teacher's logits of every row that lacks them."""
        fill_teacher(self, ask)

    def teacher_column(self, actions: int) -> np.ndarray:
        """The column of the teacher's logits, [rows, actions], made on first use."""
        if "teacher" not in self.columns:
            self.columns["teacher"] = np.zeros((self.rows * self.streams, actions), np.float32)
        return self.columns["teacher"]

    # ---- keeping -------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, np.ndarray]:
        """What changes all over with every update, so that each checkpoint holds it whole: priorities, if any."""
        return self.sampler.tensors(self)

    def restore_tensors(self, tensors: dict[str, np.ndarray]) -> None:
        """Put `tensors()` back, after rows and counters."""
        self.sampler.restore(self, tensors)

    def state(self) -> dict[str, Any]:
        """Counters, as JSON values; the rows themselves are saved by `data.segments`."""
        return {
            "added": self.added.tolist(),
            "annotated": self.annotated.tolist(),
            "age": self._age.tolist(),
            "played": self.played.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put the counters of `state()` back."""
        self.added[:], self.annotated[:] = state["added"], state["annotated"]
        self._age[:], self.played[:] = state["age"], state["played"]


def _actions(spec: TaskSpec, rows: int) -> np.ndarray:
    """An empty column of actions."""
    if spec.continuous:
        return np.zeros((rows, spec.actions), np.float32)
    return np.zeros(rows, np.uint8 if spec.actions <= 256 else np.int32)


BLOCK = 256  # observations a teacher sees at once: large enough to be efficient, small enough for 84×84


def fill_teacher(replay: "Replay", ask: Annotate) -> None:
    """Fill in the teacher's logits of every row that lacks them, oldest first, in blocks."""
    for s in range(replay.streams):
        start, stop = max(int(replay.annotated[s]), int(replay.added[s]) - replay.rows), int(replay.added[s])
        for first in range(start, stop, BLOCK):
            position = np.arange(first, min(first + BLOCK, stop))
            base = np.full(len(position), replay.base[s])
            at = base + position % replay.rows
            logits = ask(replay.observe(base, position, at)).numpy()
            replay.teacher_column(logits.shape[-1])[at] = logits
        replay.annotated[s] = replay.added[s]


Drawn = tuple[np.ndarray | int, np.ndarray, np.ndarray | None, Tensor | None]
"""(streams, positions, rows of the table, importance weights): positions count rows ever written to a stream; a
single stream is the integer 0 instead of an array of zeros; the last two are None unless priorities ask for them."""


class Uniform:
    """Every row that begins a transition is as likely as any other."""

    def draw(self, replay: "Replay", n: int, rng: np.random.Generator) -> Drawn:
        """`n` rows, with replacement. Raises ValueError where there is none."""
        stream, position = self._guess(replay, n, rng)
        flags, base = replay.columns["flags"], replay.base[stream]
        while True:
            tails = flags[base + position % replay.rows] & TAIL
            if not np.count_nonzero(tails):
                return stream, position, None, None
            again = np.flatnonzero(tails)
            stream_again, position[again] = self._guess(replay, len(again), rng)
            if isinstance(stream, np.ndarray):
                stream[again] = stream_again
                base = replay.base[stream]

    def _guess(self, replay: "Replay", n: int, rng: np.random.Generator) -> tuple[np.ndarray | int, np.ndarray]:
        """Rows drawn uniformly from all streams, tails among them."""
        if replay.streams == 1:
            low, high = replay.span(0)
            if high <= low:
                raise ValueError("nothing to sample yet")
            return 0, rng.integers(low, high, size=n)
        lows, highs = np.array([replay.span(s) for s in range(replay.streams)]).T
        ends = np.cumsum(np.maximum(highs - lows, 0))
        if ends[-1] == 0:
            raise ValueError("nothing to sample yet")
        pick = rng.integers(ends[-1], size=n)
        stream = np.searchsorted(ends, pick, side="right")
        starts = np.concatenate([[0], ends[:-1]])
        return stream, lows[stream] + pick - starts[stream]

    def like(self, replay: "Replay") -> "Uniform":
        """A sampler of the same kind for another, empty replay."""
        return Uniform()

    def learnt(self, rows: np.ndarray, losses: np.ndarray) -> None:
        """Nothing follows from losses."""

    def tensors(self, replay: "Replay") -> dict[str, np.ndarray]:
        """Nothing to keep."""
        return {}

    def restore(self, replay: "Replay", tensors: dict[str, np.ndarray]) -> None:
        """Nothing to put back."""


class Prioritised:
    """Rows are drawn by priority (Schaul et al., 2016).

    A row is admitted the moment its n steps are complete and forgotten when its frames go, so that only rows that
    begin a transition are ever drawn, each with exactly its probability.
    """

    def __init__(self, rows: int, streams: int, alpha: float, beta: float):
        self.priorities = Priorities(rows * streams, alpha, beta)
        self._admitted = np.zeros(streams, np.int64)  # positions below have been admitted
        self._forgotten = np.zeros(streams, np.int64)  # positions below have been forgotten

    def draw(self, replay: "Replay", n: int, rng: np.random.Generator) -> Drawn:
        """`n` rows with their importance weights. Raises ValueError where there is none."""
        self._settle(replay)
        rows, probability = self.priorities.draw(n, rng)
        stream, slot = np.divmod(rows, replay.rows)
        newest = replay.added[stream] - 1
        position = newest - (newest - slot) % replay.rows
        return stream, position, rows, torch.from_numpy(self.priorities.importance(probability))

    def _settle(self, replay: "Replay") -> None:
        for s in range(replay.streams):
            low, high = replay.span(s)
            gone = np.arange(max(int(self._forgotten[s]), low - replay.rows), low)
            new = np.arange(max(low, int(self._admitted[s])), high)
            new = new[replay.columns["flags"][replay.base[s] + new % replay.rows] & TAIL == 0]
            self.priorities.forget(replay.base[s] + gone % replay.rows)
            self.priorities.admit(replay.base[s] + new % replay.rows)
            self._forgotten[s], self._admitted[s] = max(low, self._forgotten[s]), max(high, self._admitted[s])

    def like(self, replay: "Replay") -> "Prioritised":
        """A sampler of the same kind for another, empty replay."""
        return Prioritised(replay.rows, replay.streams, self.priorities.alpha, self.priorities.beta)

    def learnt(self, rows: np.ndarray, losses: np.ndarray) -> None:
        """Weights of rows follow their losses."""
        if not np.isfinite(losses).all():
            raise UserError("training has diverged: a loss is not finite; lower the learning rate")
        self.priorities.learnt(rows, losses)

    def tensors(self, replay: "Replay") -> dict[str, np.ndarray]:
        """The weights, which change all over: each checkpoint holds them whole."""
        self._settle(replay)
        state = self.priorities.state()
        return {"weights": state["weights"], "max_weight": np.array(state["max_weight"])}

    def restore(self, replay: "Replay", tensors: dict[str, np.ndarray]) -> None:
        """Put `tensors()` back, after the replay's rows and counters."""
        self.priorities.restore({name: np.asarray(value) for name, value in tensors.items()})
        for s in range(replay.streams):
            self._forgotten[s], self._admitted[s] = replay.span(s)
