"""How stored steps are cut for a learner: transitions of n steps, sequences, whole rollouts. Frozen values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from reincarnate.data.replay import ALLOWED, BASIC, ENDED, TAIL, TERMINATED, Replay
from reincarnate.types import Batch, Prediction, TaskSpec

TASK = "task"  # with ALLOWED a column that becomes a field of a batch; all others are notes
NEXT_ACTION, NEXT_ACTED = "next_action", "next_acted"
"""Notes of a batch: the action that the data took in the successor, and whether it took one there."""


@dataclass(frozen=True)
class Transitions:
    """Single steps with the discounted sum of up to `n_step` rewards; a sum that meets an episode's end stops there.

    With `next_action` batches note what was done in the successor; nobody acted where an episode ended.
    """

    n_step: int = 1
    gamma: float = 0.99
    next_action: bool = False
    powers: np.ndarray = field(init=False, repr=False, compare=False)
    discounts: np.ndarray = field(init=False, repr=False, compare=False)  # of one step: by whether it terminates

    def __post_init__(self):
        object.__setattr__(self, "powers", (self.gamma ** np.arange(self.n_step + 1)).astype(np.float32))
        object.__setattr__(self, "discounts", np.array([self.gamma, 0], np.float32))

    @property
    def ahead(self) -> int:
        """Rows that must follow a row before it can be drawn."""
        return self.n_step

    def gather(self, rows: Replay, stream: np.ndarray | int, position: np.ndarray, names: Sequence[str]) -> Batch:
        """The transitions that begin at these positions [B] of these streams."""
        base, columns = rows.base[stream], rows.columns
        at = rows.place(stream, position)
        flags, reward, steps = columns["flags"].take(at), columns["reward"].take(at), 1
        for k in range(1, self.n_step):
            going = flags & ENDED == 0
            ahead = base + (position + k) % rows.rows
            reward = reward + np.where(going, self.powers[k] * columns["reward"][ahead], np.float32(0))
            flags = np.where(going, columns["flags"][ahead], flags)
            steps = steps + going
        if self.n_step == 1:
            discount = self.discounts.take(flags & TERMINATED)
        else:
            discount = np.where(flags & TERMINATED, np.float32(0), self.powers[steps])
        successor = position + steps
        after = rows.place(stream, successor)
        batch = Batch(
            obs=rows.observe(base, position, at),
            action=_actions(rows, at),
            reward=torch.from_numpy(reward),
            discount=torch.from_numpy(discount),
            next_obs=rows.observe(base, successor, after),
            predictions=_predictions(rows, at, names),
        )
        if len(columns) > len(BASIC) + len(rows.kinds):
            batch = _with_extras(batch, rows, at, after)
        return _with_next_action(batch, rows, after) if self.next_action else batch


@dataclass(frozen=True)
class Sequences:
    """`length` rows of one stream after another, of which the first `burn_in` only warm a memory up.

    They may cross episodes: `begins` says where one starts, and the row of an episode's last observation, on which
    nobody acted, has weight 0. They begin at every `stride`th row, for which the actor's memory is kept (R2D2's overlap
    of 40 in 80). The learner sums up to `n_step` rewards before it bootstraps.
    """

    length: int = 80
    burn_in: int = 0
    gamma: float = 0.99
    n_step: int = 1
    stride: int = 1

    @property
    def ahead(self) -> int:
        """Rows that must follow a row before it can be drawn: the sequence's, and its last one's successor."""
        return self.length

    def gather(self, rows: Replay, stream: np.ndarray | int, position: np.ndarray, names: Sequence[str]) -> Batch:
        """The sequences [B, length] that begin at these positions [B]."""
        base = np.broadcast_to(rows.base[stream], position.shape)[:, None]
        positions = position[:, None] + np.arange(self.length)
        at = base + positions % rows.rows
        flags = rows.columns["flags"][at]
        last = position + self.length
        after = base[:, 0] + last % rows.rows
        batch = Batch(
            obs=rows.observe(base, positions, at),
            action=_actions(rows, at),
            reward=torch.from_numpy(rows.columns["reward"][at]),
            discount=torch.from_numpy(np.where(flags & TERMINATED, np.float32(0), np.float32(self.gamma))),
            next_obs=rows.observe(base[:, 0], last, after),
            predictions=_predictions(rows, at, names),
            weight=torch.from_numpy((flags & TAIL == 0).astype(np.float32)),
            begins=torch.from_numpy(rows.columns["age"][at] == 0),
            ended=torch.from_numpy(flags & ENDED != 0),
        )
        return _with_extras(batch, rows, at, after)


@dataclass(frozen=True)
class Rollout:
    """The newest steps of every stream, `length` of each or what there is, whole: [streams, T]; then gone."""

    length: int = 16
    gamma: float = 0.99

    @property
    def ahead(self) -> int:
        """Rows that must follow a row before it can be drawn."""
        return 1

    def gather(self, rows: Replay, names: Sequence[str], since: np.ndarray | None = None) -> Batch:
        """All steps of every stream since positions [streams] (None: all), oldest first, each with its successor."""
        position = self._positions(rows, np.zeros_like(rows.added) if since is None else since)
        base = rows.base[:, None]
        at, after = base + position % rows.rows, base + (position + 1) % rows.rows
        flags = rows.columns["flags"][at]
        batch = Batch(
            obs=rows.observe(rows.base[:, None], position, at),
            action=_actions(rows, at),
            reward=torch.from_numpy(rows.columns["reward"][at]),
            discount=torch.from_numpy(np.where(flags & TERMINATED, np.float32(0), np.float32(self.gamma))),
            next_obs=rows.observe(rows.base[:, None], position + 1, after),
            predictions=_predictions(rows, at, names),
            begins=torch.from_numpy(rows.columns["age"][at] == 0),
            ended=torch.from_numpy(flags & ENDED != 0),
        )
        return _with_extras(batch, rows, at, after)

    def _positions(self, rows: Replay, since: np.ndarray) -> np.ndarray:
        """Positions [streams, steps] of the rows in which somebody acted since the last rollout."""
        position = since[:, None] + np.arange(int((rows.added - since).max()))
        flags = rows.columns["flags"][rows.base[:, None] + position % rows.rows]
        acted = (flags & TAIL == 0) & (position < rows.added[:, None])
        steps = int(acted.sum(1).min())  # of a last step some streams may have had no part
        return np.take_along_axis(position, np.argsort(~acted, axis=1, kind="stable")[:, :steps], 1)


AnyLayout = Transitions | Sequences | Rollout


def _actions(rows: Replay, at: np.ndarray) -> Tensor:
    """Actions as learners know them: int64, or of continuous tasks in [-1, 1]."""
    actions = rows.columns["action"].take(at, 0)
    if not rows.spec.continuous:
        return torch.from_numpy(actions.astype(np.int64))
    return torch.from_numpy(to_unit(rows.spec, actions))


def to_unit(spec: TaskSpec, actions: np.ndarray) -> np.ndarray:
    """Actions in the task's units [*L, A] to [-1, 1], float32."""
    _, _, half, middle = _box(spec.bounds)
    return ((actions - middle) / half).astype(np.float32)


def from_unit(spec: TaskSpec, actions: np.ndarray) -> np.ndarray:
    """Actions in [-1, 1] to the task's units, within its bounds, float32."""
    low, high, half, middle = _box(spec.bounds)
    return np.minimum(np.maximum(actions * half + middle, low), high).astype(np.float32)  # `np.clip` takes longer


def bounds_of(spec: TaskSpec) -> tuple[np.ndarray, np.ndarray]:
    """The least and greatest values of each number of an action, float64."""
    low, high, _, _ = _box(spec.bounds)
    return low, high


@cache
def _box(bounds: tuple[tuple[float, ...], tuple[float, ...]] | None) -> tuple[np.ndarray, ...]:
    """The least and greatest values, half of what is between them, and the middle; asked at every step."""
    assert bounds is not None, "a task with discrete actions has no bounds"
    low, high = (np.asarray(bound, np.float64) for bound in bounds)
    for kept in (box := (low, high, (high - low) / 2, (high + low) / 2)):
        kept.flags.writeable = False
    return box


def _predictions(rows: Replay, at: np.ndarray, names: Sequence[str]) -> Mapping[str, Prediction]:
    return {name: Prediction(rows.kinds[name], torch.from_numpy(rows.columns[name][at])) for name in names}


def _with_extras(batch: Batch, rows: Replay, at: np.ndarray, after: np.ndarray) -> Batch:
    """A batch with what else was stored beside its steps, and what was allowed in the successors' rows."""
    columns, names = rows.columns, rows.columns.keys() - {*BASIC, *rows.kinds}
    notes = {name: torch.from_numpy(columns[name][at]) for name in names if name not in (ALLOWED, TASK)}
    batch = batch._replace(notes=notes, task=torch.from_numpy(columns[TASK][at]) if TASK in columns else None)
    if ALLOWED not in columns:
        return batch
    allowed = columns[ALLOWED]
    next_mask = all_where_none(torch.from_numpy(allowed[after]))
    return batch._replace(mask=torch.from_numpy(allowed[at]), next_mask=next_mask)


def _with_next_action(batch: Batch, rows: Replay, after: np.ndarray) -> Batch:
    acted = torch.from_numpy(rows.columns["flags"][after] & TAIL == 0)
    return batch._replace(notes={**batch.notes, NEXT_ACTION: _actions(rows, after), NEXT_ACTED: acted})


def all_where_none(mask: Bool[Tensor, "*L A"]) -> Bool[Tensor, "*L A"]:
    """All actions where none is allowed: nothing is known of an end in older data, nor where no step is."""
    return mask | ~mask.any(-1, keepdim=True)
