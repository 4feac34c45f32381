"""What a student's batches are drawn from: rows of experience, cut by the student's layout, on the student's device."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.carries import Carries
from reincarnate.data.layouts import AnyLayout, Rollout, Sequences, Transitions
from reincarnate.data.mirror import Mirror, to_device
from reincarnate.data.ondisk import on_disk
from reincarnate.data.replay import Replay
from reincarnate.data.returns import ReturnsToGo
from reincarnate.data.sampling import Drawn, Prioritised, Sampler, Uniform
from reincarnate.errors import UserError
from reincarnate.native import Kernels
from reincarnate.types import NOTHING, PLAIN, Batch, Prediction, Predictor, Student, TaskSpec, Weighing
from reincarnate.types.leaves import each_tensor

CPU = torch.device("cpu")
CARRIES = "carries"  # what a checkpoint calls them


@dataclass(frozen=True)
class Storage:
    """How much experience is kept and how it is drawn: rows, and prioritised replay's exponents (alpha 0: uniform)."""

    rows: int
    alpha: float = 0.0
    beta: float = 0.5


class Memory:
    """Rows and how they are cut. A stored memory is the actor's: batches hold it where the `reader` is the student.

    Transitions and sequences are drawn with replacement, as often as one likes; `in_steps`, so many sequences as hold
    the steps that are asked for. The newest rollout is prepared once by the student (`begin`), then passed in random
    order, and forgotten with the next but `keeps` - 1.
    """

    def __init__(
        self,
        rows: Replay,
        layout: AnyLayout,
        sampler: Sampler | None = None,
        device: torch.device = CPU,
        reader: str = "student",
        keeps: int = 1,
        in_steps: bool = False,
    ):
        self.rows, self.layout, self.device, self.reader, self.keeps = rows, layout, device, reader, keeps
        self.sampler = sampler or Uniform(layout.ahead, _stride(layout))
        self.fresh = isinstance(layout, Rollout)  # whether only the newest experience is learnt from, at once
        self._prepared: Batch | None = None
        self._kept: list[Batch] = []  # prepared rollouts, oldest first
        self._passing: Batch | None = None  # what was prepared, in the order of a pass
        self._at = 0  # how far it came
        self._mark = rows.added.copy()  # where the last rollout ended
        self._returns: ReturnsToGo | None = None
        self._length = layout.length if in_steps and isinstance(layout, Sequences) else 1

    def mirror(self) -> None:
        """Keep the frames on the student's device as well."""
        self.rows.mirror = self.rows.mirror or Mirror(self.device)

    def quicken(self, kernels: Kernels) -> None:
        """Draw by priority, if that is how it draws, by compiled kernels from now on."""
        if isinstance(self.sampler, Prioritised):
            self.sampler.priorities.quicken(kernels)

    def keep_on_disk(self, folder: str) -> None:
        """Keep the frames in a file of a folder ("": the system's for temporary files). Before anything is added."""
        self.rows.columns["frame"] = on_disk(self.rows.columns["frame"], folder)

    def follow_returns(self, name: str) -> None:
        """Let batches hold, as a note of this name, the return that followed each step."""
        self._returns = ReturnsToGo(self.rows, self.layout.gamma, name)

    def __len__(self) -> int:
        """How many rows can begin a lesson now, tails counted; of a rollout the examples being learnt from."""
        if self.fresh:
            return 0 if self._prepared is None else self._prepared.reward.numel()
        stride = _stride(self.layout)
        spans = [self.rows.span(s, self.layout.ahead, stride > 0) for s in range(self.rows.streams)]
        if stride:
            spans = [(-(-low // stride), -(-high // stride)) for low, high in spans]
        return sum(max(0, high - low) for low, high in spans)

    @property
    def newest(self) -> int:
        """How many examples the newest rollout has."""
        return self._kept[-1].reward.numel() if self._kept else 0

    # ---- rollouts ----------------------------------------------------------------------------------

    def begin(self, student: Student, ask: Mapping[str, Predictor] = NOTHING, weighing: Weighing = PLAIN) -> None:
        """Before learning from a rollout by this objective: let the student prepare it.

        Policies that did not watch are asked about it in one go, in the order of time.
        """
        assert isinstance(self.layout, Rollout)
        watched = [name for name in ask if name in self.rows.kinds]
        rollout = self.layout.gather(self.rows, watched, self._mark)
        told = {name: _of_rollout(rollout, predict) for name, predict in ask.items() if name not in watched}
        rollout = rollout._replace(predictions={**rollout.predictions, **told})
        self.keep(student.prepare(on_device(rollout, self.device), weighing))
        self.skip()

    @property
    def ready(self) -> bool:
        """Whether every copy has acted since the last rollout."""
        return bool((self.rows.added > self._mark).all())

    def pass_over(self, student: Student) -> None:
        """Nothing is learnt from the newest rollout; who remembers reads it all the same, to go on from its end."""
        if self.ready and student.initial(1).shape[-1]:
            assert isinstance(self.layout, Rollout)
            student.prepare(on_device(self.layout.gather(self.rows, [], self._mark), self.device))
        self.skip()

    def skip(self) -> None:
        """What was experienced until now is in no rollout to come."""
        self._mark = self.rows.added.copy()

    def keep(self, prepared: Batch) -> None:
        """From now on learn from this one too, and no more from the oldest where there are too many."""
        self._kept = [*self._kept, prepared][-self.keeps :]
        self._prepared = prepared if len(self._kept) == 1 else joined(self._kept)
        self._passing = None

    def tell(self, change: Callable[[Batch], Batch]) -> None:
        """Change what has just been prepared: what others of the cast, who saw the same rollout, say of it."""
        self.keep(change(self._kept.pop()))

    def forget(self, but: int) -> None:
        """Keep no more than so many of the newest prepared rollouts."""
        self._kept = self._kept[len(self._kept) - but :] if but > 0 else []

    @property
    def kept(self) -> list[Batch]:
        """Prepared rollouts that are learnt from, oldest first."""
        return list(self._kept)

    @property
    def prepared(self) -> Batch:
        """The newest rollout, prepared."""
        return self._kept[-1]

    # ---- reading -----------------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator, ask: Mapping[str, Predictor] = NOTHING) -> Batch:
        """`n` examples, on the student's device."""
        if self._prepared is not None and self.fresh:
            return self._pass(n, rng)
        if self._returns:
            self._returns.renew()
        stream, position, rows, weight = self.draw(max(1, n // self._length), rng)
        self.complete(self.rows, ask, stream, position)
        assert not isinstance(self.layout, Rollout)
        batch = self.layout.gather(self.rows, stream, position, list(ask))
        if self.rows.carries is not None and self.reader == "student":
            batch = batch._replace(carry=self.rows.carries.get(stream, position))
        if rows is not None:
            batch = batch._replace(weight=_both(batch.weight, weight), rows=rows)
        return on_device(batch, self.device)

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        """Which rows: see `sampling.Drawn`."""
        return self.sampler.draw(self.rows, n, rng)

    def complete(self, table: Replay, ask: Mapping[str, Predictor], stream: Any, position: np.ndarray) -> None:
        """See to it that lessons at these positions have the predictions that are asked for."""
        if not ask:
            return
        last = position + (self.layout.ahead if isinstance(self.layout, Sequences) else 0)
        for name, predict in ask.items():
            count = table.predicted.get(name)
            if count is None or (last >= count[stream]).any():
                table.annotate(name, predict)

    def _pass(self, n: int, rng: np.random.Generator) -> Batch:
        """The next `n` examples of a pass in random order; a new pass begins when fewer are left."""
        assert self._prepared is not None
        lessons = len(self._prepared.reward)
        if self._prepared.reward.ndim == 2:  # whole segments
            n = max(1, n // self._prepared.reward.shape[1])
        n = min(n, lessons)
        if self._passing is None or self._at + n > lessons:
            order = torch.from_numpy(rng.permutation(lessons)).to(self.device)
            self._passing, self._at = each_tensor(self._prepared, lambda tensor: tensor[order]), 0
        part, self._at = slice(self._at, self._at + n), self._at + n
        return each_tensor(self._passing, lambda tensor: tensor[part])

    def learnt(self, batch: Batch, losses: Tensor) -> None:
        """Let priorities, if any, follow the losses [B] of a batch that was drawn here."""
        if batch.rows is not None:
            self.sampler.learnt(batch.rows, losses.cpu().numpy())

    # ---- between barriers --------------------------------------------------------------------------

    def cut(self) -> None:
        """Environments have restarted: a rollout that was not learnt from is lost."""
        self._prepared, self._kept, self._passing = None, [], None
        self.skip()

    def tensors(self) -> dict[str, np.ndarray]:
        """What changes all over, so that each checkpoint holds it whole: priorities, if any, and actors' memories.

        Copies, for a checkpoint is written while training goes on.
        """
        carries = {} if self.rows.carries is None else {CARRIES: self.rows.carries.values.copy()}
        return self.sampler.tensors(self.rows) | carries

    def restore_tensors(self, tensors: dict[str, np.ndarray]) -> None:
        """Put `tensors()` back, after rows and counters."""
        if self.rows.carries is not None:
            self.rows.carries.values = np.array(tensors[CARRIES])
        self.sampler.restore(self.rows, {name: value for name, value in tensors.items() if name != CARRIES})

    def state(self) -> dict[str, Any]:
        """Counters, as JSON values. Of rollouts nothing outlives a barrier."""
        return {} if self.fresh else self.rows.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Put the counters of `state()` back."""
        if not self.fresh:
            self.rows.restore(state)
        self.skip()


def memory_for(spec: TaskSpec, layout: AnyLayout, storage: Storage, streams: int, device: torch.device = CPU) -> Memory:
    """An empty memory. Raises UserError where it is more than fits into memory, or less than can be used."""
    try:
        rows = Replay(spec, storage.rows, streams)
    except MemoryError:
        raise UserError(f"--student.replay-size {storage.rows} is more than fits into memory") from None
    except ValueError as error:  # fewer rows than the streams need, or more than NumPy can count
        raise UserError(f"--student.replay-size {storage.rows}: {error}") from None
    stride = _stride(layout)
    if stride:
        rows.carries = Carries(streams, rows.rows, stride)
    if not storage.alpha:
        return Memory(rows, layout, device=device)
    told = (storage.alpha, storage.beta, layout.ahead, stride)
    return Memory(rows, layout, Prioritised(rows.rows, streams, *told), device)


def _stride(layout: AnyLayout) -> int:
    """How far apart sequences begin; 0 of what goes across no episode's end."""
    return layout.stride if isinstance(layout, Sequences) else 0


def rollout_rows(spec: TaskSpec, length: int, streams: int) -> Storage:
    """Room for a rollout, and for one that a barrier cut before it: an episode of one step takes two rows."""
    return Storage(streams * (4 * length + spec.stack + 3))


def _of_rollout(rollout: Batch, predict: Predictor) -> Prediction:
    """What a policy says of observations [streams, T, *O], asked one moment after another: x [streams, T, K]."""
    obs = rollout.obs
    of = [told.transpose(0, 1).flatten(0, 1) for told in (obs, rollout.task) if told is not None]
    kind, x = predict(*of)
    return Prediction(kind, x.unflatten(0, (obs.shape[1], obs.shape[0])).transpose(0, 1))


# ---- batches as wholes --------------------------------------------------------------------------------


def on_device(batch: Batch, device: torch.device) -> Batch:
    """A batch, where it is not there yet, on a device."""
    return batch if device == CPU else each_tensor(batch, lambda tensor: to_device(tensor, device))


def joined(batches: list[Batch]) -> Batch:
    """Batches one after another; what one of them lacks the whole lacks, but for weights, which are 1 there, and masks.

    Where one says which actions are allowed, all are in those that do not.
    """
    weights = [batch.weight for batch in batches]
    if any(weight is not None for weight in weights):
        ones = [torch.ones_like(batch.reward) for batch in batches]
        batches = [batch._replace(weight=_or(w, one)) for batch, w, one in zip(batches, weights, ones, strict=True)]
    batches = _all_remembering([*_all_masked(batches)])
    fields = {}
    for name in Batch._fields:
        values = [getattr(batch, name) for batch in batches]
        if name in ("predictions", "notes"):
            fields[name] = _joined_by_name(values)
        elif name != "rows":
            fields[name] = None if any(value is None for value in values) else torch.cat(values)
    return Batch(**fields)


def _all_masked(batches: list[Batch]) -> Iterator[Batch]:
    """Where some batches have masks the others get those of tasks in which everything is allowed."""
    names = ("mask", "next_mask")
    known = {name: mask for name in names for b in batches if (mask := getattr(b, name)) is not None}
    for batch in batches:
        lacking = {name: mask for name, mask in known.items() if getattr(batch, name) is None}
        yield batch._replace(**{name: _all_allowed(batch, mask) for name, mask in lacking.items()})


def _all_allowed(batch: Batch, like: Tensor) -> Tensor:
    """A mask [*L, A] of ones; of sequences' successors [B, A], for theirs are of last rows alone."""
    return like.new_ones(*batch.reward.shape[: like.ndim - 1], like.shape[-1])


def _all_remembering(batches: list[Batch]) -> list[Batch]:
    """Where some batches hold memories the others get empty ones."""
    carry = next((batch.carry for batch in batches if batch.carry is not None), None)
    if carry is None:
        return batches
    return [
        b if b.carry is not None else b._replace(carry=carry.new_zeros(len(b.obs), carry.shape[1])) for b in batches
    ]


def _joined_by_name(values: list[Mapping[str, Any]]) -> dict[str, Any]:
    names = set.intersection(*(set(value) for value in values))
    whole = {}
    for name in sorted(names):
        parts = [value[name] for value in values]
        if isinstance(parts[0], Prediction):
            whole[name] = Prediction(parts[0].kind, torch.cat([part.x for part in parts]))
        else:
            whole[name] = torch.cat(parts)
    return whole


def _or(weight: Tensor | None, ones: Tensor) -> Tensor:
    return ones if weight is None else weight


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """The product of a lesson's own weights and importance weights [B]."""
    if one is None or other is None:
        return other if one is None else one
    return one * other[:, None]


__all__ = ["Memory", "Storage", "Transitions", "joined", "memory_for", "on_device", "rollout_rows"]
