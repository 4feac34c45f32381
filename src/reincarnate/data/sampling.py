"""Which rows of a table are drawn: uniformly, or by priority."""

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.priorities import NOTHING_YET, Priorities
from reincarnate.data.replay import TAIL, Replay
from reincarnate.errors import UserError

Drawn = tuple[np.ndarray | int, np.ndarray, np.ndarray | None, Tensor | None]
"""(streams, positions, rows of the table, importance weights): positions count rows ever written to a stream; a
single stream is the integer 0 instead of an array of zeros; the last two are None unless priorities ask for them."""


class Uniform:
    """Every row that begins a lesson is as likely as any other. `ahead`: rows that must follow it.

    With a `stride` lessons are sequences that go on across episodes; they begin at every so manieth row, of any kind.
    """

    def __init__(self, ahead: int, stride: int = 0):
        self.ahead, self.stride = ahead, stride

    def draw(self, replay: Replay, n: int, rng: np.random.Generator) -> Drawn:
        """`n` rows, with replacement. Raises ValueError where there is none."""
        if self.stride:
            return *self._sequences(replay, n, rng), None, None
        if replay.streams == 1:
            return 0, self._of_one(replay, n, rng), None, None
        stream, position = self._guess(replay, n, rng)
        flags, base = replay.columns["flags"], replay.base[stream]
        while True:
            tails = flags[base + position % replay.rows] & TAIL
            if not np.count_nonzero(tails):
                return stream, position, None, None
            again = np.flatnonzero(tails)
            stream[again], position[again] = self._guess(replay, len(again), rng)
            base = replay.base[stream]

    def _of_one(self, replay: Replay, n: int, rng: np.random.Generator) -> np.ndarray:
        """Positions in a single stream: what a small network is fed by, so in few calls."""
        low, high = replay.span(0, self.ahead)
        if high <= low:
            raise ValueError(NOTHING_YET)
        flags, position = replay.columns["flags"], rng.integers(low, high, size=n)
        while np.count_nonzero(tails := flags.take(replay.place(0, position)) & TAIL):
            again = tails.nonzero()[0]
            position[again] = rng.integers(low, high, size=len(again))
        return position

    def _guess(self, replay: Replay, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows drawn uniformly from all streams, tails among them."""
        lows, highs = np.array([replay.span(s, self.ahead) for s in range(replay.streams)]).T
        ends = np.cumsum(np.maximum(highs - lows, 0))
        if ends[-1] == 0:
            raise ValueError(NOTHING_YET)
        pick = rng.integers(ends[-1], size=n)
        stream = np.searchsorted(ends, pick, side="right")
        starts = np.concatenate([[0], ends[:-1]])
        return stream, lows[stream] + pick - starts[stream]

    def _sequences(self, replay: Replay, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Streams and positions of sequences drawn uniformly."""
        spans = [replay.span(s, self.ahead, True) for s in range(replay.streams)]
        firsts, ends = np.array([(-(-low // self.stride), -(-high // self.stride)) for low, high in spans]).T
        sums = np.cumsum(np.maximum(ends - firsts, 0))
        if sums[-1] == 0:
            raise ValueError(NOTHING_YET)
        pick = rng.integers(sums[-1], size=n)
        stream = np.searchsorted(sums, pick, side="right")
        before = np.concatenate([[0], sums[:-1]])
        return stream, (firsts[stream] + pick - before[stream]) * self.stride

    def like(self, replay: Replay) -> "Uniform":
        """A sampler of the same kind for another, empty replay."""
        return Uniform(self.ahead, self.stride)

    def learnt(self, rows: np.ndarray, losses: np.ndarray) -> None:
        """Nothing follows from losses."""

    def tensors(self, replay: Replay) -> dict[str, np.ndarray]:
        """Nothing to keep."""
        return {}

    def restore(self, replay: Replay, tensors: dict[str, np.ndarray]) -> None:
        """Nothing to put back."""


class Prioritised:
    """Rows are drawn by priority (Schaul et al., 2016).

    A row is admitted the moment what must follow it is there and forgotten when its frames go, so that only rows that
    begin a lesson are ever drawn, each with exactly its probability. With a `stride`: see `Uniform`.
    """

    def __init__(self, rows: int, streams: int, alpha: float, beta: float, ahead: int, stride: int = 0):
        self.priorities, self.ahead, self.stride = Priorities(rows * streams, alpha, beta), ahead, stride
        self._admitted = np.zeros(streams, np.int64)  # positions below have been admitted
        self._forgotten = np.zeros(streams, np.int64)  # positions below have been forgotten

    def draw(self, replay: Replay, n: int, rng: np.random.Generator) -> Drawn:
        """`n` rows with their importance weights. Raises ValueError where there is none."""
        self._catch_up(replay)
        rows, probability = self.priorities.draw(n, rng)
        weight = torch.from_numpy(self.priorities.importance(probability))
        if replay.streams == 1:
            newest = int(replay.added[0]) - 1
            return 0, newest - (newest - rows) % replay.rows, rows, weight
        stream, slot = np.divmod(rows, replay.rows)
        newest = replay.added[stream] - 1
        position = newest - (newest - slot) % replay.rows
        return stream, position, rows, weight

    def _catch_up(self, replay: Replay) -> None:
        for s in range(replay.streams):
            low, high = replay.span(s, self.ahead, self.stride > 0)
            gone = np.arange(max(int(self._forgotten[s]), low - replay.rows), low)
            new = np.arange(max(low, int(self._admitted[s])), high)
            if self.stride:
                new = new[new % self.stride == 0]
            else:
                new = new[replay.columns["flags"][replay.base[s] + new % replay.rows] & TAIL == 0]
            self.priorities.renew(replay.base[s] + gone % replay.rows, replay.base[s] + new % replay.rows)
            self._forgotten[s], self._admitted[s] = max(low, self._forgotten[s]), max(high, self._admitted[s])

    def like(self, replay: Replay) -> "Prioritised":
        """A sampler of the same kind for another, empty replay."""
        told = (self.priorities.alpha, self.priorities.beta, self.ahead, self.stride)
        return Prioritised(replay.rows, replay.streams, *told)

    def learnt(self, rows: np.ndarray, losses: np.ndarray) -> None:
        """Weights of rows follow their losses."""
        if not np.isfinite(losses).all():
            raise UserError("training has diverged: a loss is not finite; lower the learning rate")
        self.priorities.learnt(rows, losses)

    def tensors(self, replay: Replay) -> dict[str, np.ndarray]:
        """The weights, which change all over: each checkpoint holds them whole."""
        self._catch_up(replay)
        state = self.priorities.state()
        return {"weights": state["weights"], "max_weight": np.array(state["max_weight"])}

    def restore(self, replay: Replay, tensors: dict[str, np.ndarray]) -> None:
        """Put `tensors()` back, after the replay's rows and counters."""
        self.priorities.restore({name: np.asarray(value) for name, value in tensors.items()})
        for s in range(replay.streams):
            self._forgotten[s], self._admitted[s] = replay.span(s, self.ahead, self.stride > 0)


Sampler = Uniform | Prioritised
