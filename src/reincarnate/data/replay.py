"""Rows of experience in columns, each frame stored once. What a learner makes of them is a layout's business."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.carries import Carries
from reincarnate.data.codecs import codec_of, decoded, encoded, stored_form
from reincarnate.data.mirror import Mirror, to_device
from reincarnate.errors import UserError
from reincarnate.types import NOTHING, Prediction, Predictor, TaskSpec

TERMINATED, ENDED, TAIL = np.uint8(1), np.uint8(2), np.uint8(4)  # flags of a row
BASIC = ("frame", "action", "reward", "flags", "age")  # columns that every table has
ALLOWED = "mask"  # a column of the actions that were allowed
STANDING = (ALLOWED, "task")  # notes that hold on for the observation after the last action too
BLOCK = 256  # observations a policy is asked about at once: enough to be efficient, small enough for 84×84


class Replay:
    """A ring of rows for each of `streams` environments.

    Row t of a stream holds the newest frame of o_t (by the task's codec, if it names one), the action taken there, the
    (clipped) reward that followed and flags. An episode's last observation, which no action follows, is a row of its
    own (TAIL), so that the successor of row t is always row t + 1, and whatever meets ENDED stops there: nothing
    crosses episodes. `age` counts the rows since the episode's start, where a frame stack must stop.

    What a policy predicts is one more column, by the policy's name, filled once per row: as it plays (`add`), or in
    blocks when a row without it is first sampled (`annotate`). What an actor noted (log-probabilities, its memory) and
    the actions that were allowed are columns too, made by whoever first adds them. Memories are large: of those only
    every so manieth is kept (`carries`), where a layout says so.
    """

    closed = False  # whether nothing is ever written
    carries: Carries | None = None
    mirror: Mirror | None = None  # of the frames, on the device where batches are to be
    _whole: "Replay | None" = None  # that this is a shard of
    _parts: tuple[tuple["Replay", slice], ...] = ()  # shards of this, and their rows

    def __init__(self, spec: TaskSpec, capacity: int, streams: int):
        if capacity < streams * (spec.stack + 3):
            raise ValueError(f"a replay of {capacity} rows is too small for {streams} streams")
        self.spec, self.streams = spec, streams
        self.rows = capacity // streams  # of one stream
        self._codec, (shape, dtype) = codec_of(spec), stored_form(spec)
        size = self.rows * streams
        self.columns: dict[str, np.ndarray] = {
            "frame": np.zeros((size, *shape), dtype),
            "action": _actions(spec, size),
            "reward": np.zeros(size, np.float32),
            "flags": np.zeros(size, np.uint8),
            "age": np.zeros(size, np.int32),
        }
        self.added = np.zeros(streams, np.int64)  # rows ever written, per stream
        self.predicted: dict[str, np.ndarray] = {}  # of these, how many have a policy's prediction, by its name
        self.kinds: dict[str, str] = {}  # of these predictions
        self.played = np.zeros(streams, np.int64)  # transitions ever written, per stream
        self.open = np.zeros(streams, np.int64)  # rows of the episode that is not over yet
        self.base = np.arange(streams) * self.rows
        self._offsets = np.arange(-spec.stack + 1, 1)

    @classmethod
    def over(cls, spec: TaskSpec, columns: dict[str, np.ndarray], kinds: Mapping[str, str] = NOTHING) -> "Replay":
        """A full, closed stream over existing (memory-mapped) columns, which it never writes."""
        self = cls.__new__(cls)
        self.closed, size = True, len(columns["action"])
        self.spec, self.streams, self.rows, self.columns = spec, 1, size, columns
        self._codec = codec_of(spec)
        self.added = np.array([size], np.int64)
        self.kinds = dict(kinds)
        self.predicted = {name: np.array([size], np.int64) for name in kinds}
        self.played = np.array([(columns["flags"] & TAIL == 0).sum()], np.int64)
        self.open = np.zeros(1, np.int64)
        self.base = np.zeros(1, np.int64)
        self._offsets = np.arange(-spec.stack + 1, 1)
        return self

    def shard(self, index: int, parts: int) -> "Replay":
        """One of `parts` equal groups of streams, as a replay over the same memory: what is added here is seen there.

        Columns of predictions must exist already; others that are made later are parts of one another too.
        """
        part = Replay.__new__(Replay)
        part.spec, part.streams, part.rows = self.spec, self.streams // parts, self.rows
        part._codec = self._codec
        own = slice(index * part.streams, (index + 1) * part.streams)
        part._whole, rows = self, slice(own.start * self.rows, own.stop * self.rows)
        self._parts = (*self._parts, (part, rows))
        part.columns = {n: c[rows] for n, c in self.columns.items()}
        part.added, part.played, part.open = self.added[own], self.played[own], self.open[own]
        part.predicted = {name: count[own] for name, count in self.predicted.items()}
        part.kinds, part.base, part._offsets = self.kinds, self.base[: part.streams], self._offsets
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
        predictions: Mapping[str, Prediction] = NOTHING,
        notes: Mapping[str, np.ndarray] = NOTHING,
        which: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        next_mask: np.ndarray | None = None,
        carry: Tensor | None = None,
    ) -> None:
        """Store one transition of every stream; arrays [streams, …]. `next_obs` is the true successor.

        `predictions` are of policies that watch, from the start. Only the streams in `which` were played, where it is
        given. `mask` says what is allowed in what is acted on next, `next_mask` in `next_obs`. `carry` [streams, H] is
        the actor's memory before the step.
        """
        if self.streams == 1 and not (predictions or notes or self._more) and which is None and mask is None:
            return self._add_one(obs, action, reward, terminated, truncated, next_obs)
        clip, own = self.spec.reward_clip, slice(None) if which is None else which
        reward = reward if clip is None else np.clip(reward, -clip, clip)
        ended, at = terminated | truncated, self.base + self.added % self.rows
        values = {
            "frame": encoded(self._codec, obs[:, -1] if self.spec.stack > 1 else obs),
            "action": action,
            "reward": reward,
            "flags": ended * ENDED + terminated * TERMINATED,
            "age": self.open,
            **notes,
        }
        self._make_room(notes if mask is None else {**notes, ALLOWED: mask})
        if ALLOWED in self.columns and ALLOWED not in notes:  # nothing was said before this step: all was allowed
            values[ALLOWED] = np.ones((self.streams, *self.columns[ALLOWED].shape[1:]), bool)
        if which is not None:  # indexing costs where nothing is chosen
            at, values = at[which], {name: value[which] for name, value in values.items()}
        for name, value in values.items():
            self.columns[name][at] = value
        if self.carries is not None and carry is not None and carry.shape[-1]:
            self.carries.put(self.added, carry, which)
        self._count(which)
        for name, prediction in predictions.items():
            self._predicted(name, prediction, at, own)
        ended = ended if which is None else ended & np.isin(np.arange(self.streams), which)
        if np.count_nonzero(ended):
            self._tail(np.flatnonzero(ended), next_obs, next_mask)
        if ALLOWED in self.columns:
            self._allow_next(own, self.columns[ALLOWED][at] if mask is None else mask[own])

    @property
    def _more(self) -> bool:
        """Whether rows have more to them than every table's."""
        return self.carries is not None or ALLOWED in self.columns

    def _add_one(self, *plain: np.ndarray) -> None:
        """A plain step of a single stream, in numbers instead of arrays of one: small networks wait for it."""
        obs, action, reward, terminated, truncated, next_obs = plain
        columns, clip, paid, at = self.columns, self.spec.reward_clip, reward[0], int(self.added[0]) % self.rows
        ended = bool(terminated[0] or truncated[0])
        columns["frame"][at] = encoded(self._codec, obs[:, -1] if self.spec.stack > 1 else obs)[0]
        columns["action"][at] = action[0]
        columns["reward"][at] = paid if clip is None else min(max(paid, -clip), clip)
        columns["flags"][at] = (ENDED if ended else 0) | (TERMINATED if terminated[0] else 0)
        columns["age"][at] = self.open[0]
        for count in (self.added, self.open, self.played):
            count[0] += 1
        if ended:
            self._tail(np.zeros(1, np.intp), next_obs)

    def place(self, stream: np.ndarray | int, position: np.ndarray) -> np.ndarray:
        """The rows of the table at these positions of streams."""
        if self.streams == 1:
            return position if self.added[0] < self.rows else position % self.rows
        return self.base[stream] + position % self.rows

    def _make_room(self, noted: Mapping[str, np.ndarray]) -> None:
        """A column for each of what is noted from now on."""
        for name, values in noted.items():
            self.column(name, values.shape[1:], values.dtype)

    def _count(self, which: np.ndarray | None) -> None:
        """A step of all streams, or of those in `which`."""
        for count in (self.added, self.open, self.played):
            if which is None:
                count += 1
            else:
                count[which] += 1

    def _allow_next(self, own: Any, mask: np.ndarray) -> None:
        """Note what is allowed in rows that nobody has acted in yet: learners may look one row ahead."""
        self.columns[ALLOWED][self.base[own] + self.added[own] % self.rows] = mask

    def cut(self, obs: np.ndarray) -> None:
        """Close every open episode as by a time limit: `obs` is what would have been acted on next."""
        open_ = np.flatnonzero(self.open > 0)
        last = self.base[open_] + (self.added[open_] - 1) % self.rows
        self.columns["flags"][last] |= ENDED
        allowed = self.columns.get(ALLOWED)  # of what would have been acted on, as the last step said
        self._tail(open_, obs, None if allowed is None else allowed[self.base + self.added % self.rows])

    def foresee(self, obs: np.ndarray) -> None:
        """Show what comes after the newest rows, where nobody has acted yet: a rollout looks one row ahead."""
        at = self.base + self.added % self.rows
        self.columns["frame"][at] = encoded(self._codec, obs[:, -1] if self.spec.stack > 1 else obs)
        self.columns["age"][at] = self.open
        self._hold_on(slice(None), at, ("task",))

    def _predicted(self, name: str, prediction: Prediction, at: np.ndarray, own: Any) -> None:
        count = self.predictions_of(name, prediction.kind, prediction.x.shape[-1])
        assert (count[own] == self.added[own] - 1).all(), "a policy that watches must have watched from the start"
        self.columns[name][at] = prediction.x.cpu().numpy()[own]
        count[own] = self.added[own]

    def _tail(self, which: np.ndarray, next_obs: np.ndarray, mask: np.ndarray | None = None) -> None:
        # nobody acts on a tail: it needs no prediction where all rows before it have theirs
        current = {name: which[count[which] == self.added[which]] for name, count in self.predicted.items()}
        at = self.base[which] + self.added[which] % self.rows
        frames = next_obs[which]
        self.columns["frame"][at] = encoded(self._codec, frames[:, -1] if self.spec.stack > 1 else frames)
        self.columns["action"][at], self.columns["reward"][at] = 0, 0.0
        self.columns["flags"][at], self.columns["age"][at] = TAIL, self.open[which]
        self._hold_on(which, at, STANDING)
        if mask is not None and ALLOWED in self.columns:
            self.columns[ALLOWED][at] = mask[which]
        if self.carries is not None:
            self.carries.skip(self.added, which)
        self.added[which] += 1
        self.open[which] = 0
        for name, streams in current.items():
            self.predicted[name][streams] = self.added[streams]

    def _hold_on(self, which: Any, at: np.ndarray, names: Sequence[str]) -> None:
        """Rows nobody has acted in are of the task of the row before, and allow what that allowed."""
        before = self.base[which] + (self.added[which] - 1) % self.rows
        for name in names:
            if name in self.columns:
                self.columns[name][at] = self.columns[name][before]

    def column(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A column [rows, *shape], made on first use. In rows before it all was allowed, and all else nothing."""
        if name not in self.columns and self._whole is not None:
            self._whole.column(name, shape, dtype)
        elif name not in self.columns:
            empty = np.ones if name == ALLOWED else np.zeros
            self.columns[name] = empty((self.rows * self.streams, *shape), dtype)
            for part, rows in self._parts:
                part.columns[name] = self.columns[name][rows]
        return self.columns[name]

    # ---- reading -----------------------------------------------------------------------------------

    def observe(self, base: np.ndarray | np.int64, position: np.ndarray, at: np.ndarray) -> Tensor:
        """Observations at rows: [*L, *O], frame stacks rebuilt with zeros before the episode's start."""
        return self._on_host(base, position, at) if self.mirror is None else self._mirrored(base, position, at)

    def _mirrored(self, base: np.ndarray | np.int64, position: np.ndarray, at: np.ndarray) -> Tensor:
        assert self.mirror is not None
        frames, device = self.mirror.frames(self.columns["frame"], self.base, self.added), self.mirror.device
        if self.spec.stack == 1:
            return frames[to_device(torch.from_numpy(at), device)]
        rows, early = self._stacked(base, position, at)
        before = torch.from_numpy(early)
        before = before.reshape(*before.shape, *(1 for _ in frames.shape[1:]))
        stack = frames[to_device(torch.from_numpy(rows), device)]
        return stack.masked_fill_(to_device(before, device), 0)

    def _on_host(self, base: np.ndarray | np.int64, position: np.ndarray, at: np.ndarray) -> Tensor:
        frames = self.columns["frame"]
        if self.spec.stack == 1:
            found = frames.take(at, 0)  # a fifth to a half of what indexing takes
            return torch.from_numpy(decoded(self._codec, found, frames.ndim - 1))
        rows, before = self._stacked(base, position, at)
        stack = frames[rows]
        if before.any():
            stack[before] = 0
        return torch.from_numpy(stack)

    def _stacked(
        self, base: np.ndarray | np.int64, position: np.ndarray, at: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rows of frame stacks [*L, stack], and which of them lie before the episode's start."""
        rows = (position[..., None] + self._offsets) % self.rows
        if self.streams > 1:
            rows += np.asarray(base)[..., None]
        return rows, self.columns["age"].take(at)[..., None] < -self._offsets

    def span(self, stream: int, ahead: int, across: bool = False) -> tuple[int, int]:
        """Positions [low, high) of a stream whose frame stack and `ahead` rows lie within what is stored.

        Row `added` is the next to be overwritten, so after wrapping the oldest rows lack the frames of their stacks.
        While an episode is open its last `ahead` rows wait for their successors; lessons that go on `across` episodes
        need so many rows whatever those hold.
        """
        added, low = int(self.added[stream]), self.oldest(stream)
        if added > self.rows:
            low = max(low, added - self.rows + self.spec.stack - 1)
        return low, added - (ahead if across else min(int(self.open[stream]), ahead))

    def oldest(self, stream: int) -> int:
        """The first position of a stream whose row is whole.

        Where actions are masked a full ring's oldest row is not: what is allowed next is noted there.
        """
        lost = ALLOWED in self.columns and not self.closed
        return max(0, int(self.added[stream]) - self.rows + lost)

    # ---- what policies predict -----------------------------------------------------------------------

    def predictions_of(self, name: str, kind: str, width: int) -> np.ndarray:
        """How many rows of each stream have a policy's predictions; their column [rows, width] is made on first use."""
        if name not in self.predicted:
            self.column(name, (width,), np.float32)
            self.predicted[name], self.kinds[name] = np.zeros(self.streams, np.int64), kind
        return self.predicted[name]

    def annotate(self, name: str, predict: Predictor) -> None:
        """Fill in a policy's predictions of every row that lacks them, oldest first, in blocks."""
        task = self.columns.get("task")
        for base, position, at in self._lacking(name):
            obs = self._on_host(base, position, at)  # teachers of one's own may know no device
            prediction = predict(obs) if task is None else predict(obs, torch.from_numpy(task[at]))
            self.predictions_of(name, prediction.kind, prediction.x.shape[-1])
            self.columns[name][at] = prediction.x.cpu().numpy()
        if name in self.predicted:
            self.predicted[name][:] = self.added

    def _lacking(self, name: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        count = self.predicted.get(name, np.zeros(self.streams, np.int64))
        for s in range(self.streams):
            start, stop = max(int(count[s]), int(self.added[s]) - self.rows), int(self.added[s])
            for first in range(start, stop, BLOCK):
                position = np.arange(first, min(first + BLOCK, stop))
                base = np.full(len(position), self.base[s])
                yield base, position, base + position % self.rows

    # ---- keeping -------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Counters, as JSON values; the rows themselves are saved by `data.segments`."""
        return {
            "added": self.added.tolist(),
            "age": self.open.tolist(),
            "played": self.played.tolist(),
            "predicted": {name: count.tolist() for name, count in self.predicted.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put the counters of `state()` back, after the rows."""
        if self.mirror:
            self.mirror.forget()
        self.added[:], self.open[:], self.played[:] = state["added"], state["age"], state["played"]
        for name, count in predicted_in(state).items():
            if name in self.predicted:
                self.predicted[name][:] = count
        self._check()

    def _check(self) -> None:
        """UserError: rows or counters that no play of the task leaves; the files may be anybody's."""
        added, counts = self.added, [self.open, self.played, *self.predicted.values()]
        if (added < 0).any() or any(((count < 0) | (count > added)).any() for count in counts):
            raise UserError(f"its counters do not fit together: {added.tolist()} rows were added")
        action, discrete = self.columns["action"], self.spec.bounds is None
        if discrete and len(action) and not 0 <= action.min() <= action.max() < self.spec.actions:
            raise UserError(f"its actions are {action.min()} to {action.max()}; {self.spec.id} has {self.spec.actions}")
        for name in ("frame", "reward", "action"):
            column = self.columns[name]
            if column.dtype.kind == "f" and not np.isfinite(column).all():
                raise UserError(f"its column {name!r} holds numbers that are not finite")
        if (self.columns["age"] < 0).any():
            raise UserError("its rows count steps from before an episode's start")


def predicted_in(state: Mapping[str, Any]) -> dict[str, list[int]]:
    """The counters of predictions in a `state()`; those of format 1 counted the teacher's alone."""
    return {"teacher": state["annotated"]} if "annotated" in state else state["predicted"]


def _actions(spec: TaskSpec, rows: int) -> np.ndarray:
    """An empty column of actions."""
    if spec.continuous:
        return np.zeros((rows, spec.actions), np.float32)
    return np.zeros(rows, np.uint8 if spec.actions <= 256 else np.int32)
