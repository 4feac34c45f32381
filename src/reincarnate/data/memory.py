"""What a student's batches are drawn from: rows of experience, cut by the student's layout, on the student's device."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.layouts import AnyLayout, Rollout, Sequences, Transitions
from reincarnate.data.replay import Replay
from reincarnate.data.returns import ReturnsToGo
from reincarnate.data.sampling import Drawn, Prioritised, Sampler, Uniform
from reincarnate.errors import UserError
from reincarnate.types import NOTHING, Batch, Prediction, Predictor, Student, TaskSpec

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Storage:
    """How much experience is kept and how it is drawn: rows, and prioritised replay's exponents (alpha 0: uniform)."""

    rows: int
    alpha: float = 0.0
    beta: float = 0.5


class Memory:
    """Rows and how they are cut. `reader` names whose stored memories (`carry.<reader>`) the batches hold.

    Transitions and sequences are drawn with replacement, as often as one likes. The newest rollout is prepared once by
    the student (`begin`), then passed in random order, and forgotten with the next.
    """

    def __init__(
        self,
        rows: Replay,
        layout: AnyLayout,
        sampler: Sampler | None = None,
        device: torch.device = CPU,
        reader: str = "student",
    ):
        self.rows, self.layout, self.device, self.reader = rows, layout, device, reader
        self.sampler = sampler or Uniform(layout.ahead)
        self._prepared: Batch | None = None
        self._order = np.zeros(0, np.int64)
        self._returns: ReturnsToGo | None = None

    def follow_returns(self, name: str) -> None:
        """Let batches hold, as a note of this name, the return that followed each step."""
        self._returns = ReturnsToGo(self.rows, self.layout.gamma, name)

    @property
    def fresh(self) -> bool:
        """Whether only the newest experience is learnt from, at once."""
        return isinstance(self.layout, Rollout)

    def __len__(self) -> int:
        """How many rows can begin a lesson now, tails counted; of a rollout the examples being learnt from."""
        if self.fresh:
            return 0 if self._prepared is None else self._prepared.reward.numel()
        spans = (self.rows.span(s, self.layout.ahead) for s in range(self.rows.streams))
        return sum(max(0, high - low) for low, high in spans)

    # ---- rollouts ----------------------------------------------------------------------------------

    def begin(self, student: Student, ask: Mapping[str, Predictor] = NOTHING) -> None:
        """Before learning from a rollout: let the student prepare it.

        Policies that did not watch are asked about it in one go, in the order of time.
        """
        assert isinstance(self.layout, Rollout)
        watched = [name for name in ask if name in self.rows.kinds]
        rollout = self.layout.gather(self.rows, watched, self.reader)
        told = {name: _of_rollout(rollout.obs, predict) for name, predict in ask.items() if name not in watched}
        rollout = rollout._replace(predictions={**rollout.predictions, **told})
        self._prepared = student.prepare(on_device(rollout, self.device))
        self._order = np.zeros(0, np.int64)
        self.rows.pass_on()

    # ---- reading -----------------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator, ask: Mapping[str, Predictor] = NOTHING) -> Batch:
        """`n` examples, on the student's device."""
        if self._prepared is not None and self.fresh:
            return self._pass(n, rng)
        if self._returns:
            self._returns.renew()
        stream, position, rows, weight = self.draw(n, rng)
        self.complete(self.rows, ask, stream, position)
        assert not isinstance(self.layout, Rollout)
        batch = self.layout.gather(self.rows, stream, position, list(ask), self.reader)
        if rows is not None:
            batch = batch._replace(weight=_both(batch.weight, weight), rows=rows)
        return batch if self.device == CPU else on_device(batch, self.device)

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        """Which rows: see `sampling.Drawn`."""
        return self.sampler.draw(self.rows, n, rng)

    def complete(self, table: Replay, ask: Mapping[str, Predictor], stream: Any, position: np.ndarray) -> None:
        """See to it that lessons at these positions have the predictions that are asked for."""
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
        if len(self._order) < n:
            self._order = rng.permutation(lessons)
        rows, self._order = torch.from_numpy(self._order[:n]).to(self.device), self._order[n:]
        return each_tensor(self._prepared, lambda tensor: tensor[rows])

    def learnt(self, batch: Batch, losses: Tensor) -> None:
        """Let priorities, if any, follow the losses [B] of a batch that was drawn here."""
        if batch.rows is not None:
            self.sampler.learnt(batch.rows, losses.cpu().numpy())

    # ---- between barriers --------------------------------------------------------------------------

    def cut(self) -> None:
        """Environments have restarted: a rollout that was not learnt from is lost."""
        self._prepared = None
        if self.fresh:
            self.rows.pass_on()

    def tensors(self) -> dict[str, np.ndarray]:
        """What changes all over with every update, so that each checkpoint holds it whole: priorities, if any."""
        return self.sampler.tensors(self.rows)

    def restore_tensors(self, tensors: dict[str, np.ndarray]) -> None:
        """Put `tensors()` back, after rows and counters."""
        self.sampler.restore(self.rows, tensors)

    def state(self) -> dict[str, Any]:
        """Counters, as JSON values. Of rollouts nothing outlives a barrier."""
        return {} if self.fresh else self.rows.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Put the counters of `state()` back."""
        if not self.fresh:
            self.rows.restore(state)


def memory_for(spec: TaskSpec, layout: AnyLayout, storage: Storage, streams: int, device: torch.device = CPU) -> Memory:
    """An empty memory. Raises UserError where it is more than fits into memory."""
    try:
        rows = Replay(spec, storage.rows, streams)
    except MemoryError:
        raise UserError(f"--student.replay-size {storage.rows} is more than fits into memory") from None
    if not storage.alpha:
        return Memory(rows, layout, device=device)
    return Memory(rows, layout, Prioritised(rows.rows, streams, storage.alpha, storage.beta, layout.ahead), device)


def rollout_rows(spec: TaskSpec, length: int, streams: int) -> Storage:
    """Room for a rollout, and for one that a barrier cut before it: an episode of one step takes two rows."""
    return Storage(streams * (4 * length + spec.stack + 3))


def _of_rollout(obs: Tensor, predict: Predictor) -> Prediction:
    """What a policy says of observations [streams, T, *O], asked one moment after another: x [streams, T, K]."""
    kind, x = predict(obs.transpose(0, 1).flatten(0, 1))
    return Prediction(kind, x.unflatten(0, (obs.shape[1], obs.shape[0])).transpose(0, 1))


# ---- batches as wholes --------------------------------------------------------------------------------


def each_tensor(batch: Batch, change: Any) -> Batch:
    """The batch with every tensor changed; a carry has a row for each lesson as all others do."""

    def changed(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        if isinstance(value, Prediction):
            return Prediction(value.kind, change(value.x))
        if isinstance(value, dict):
            return {name: changed(item) for name, item in value.items()}
        return value

    return Batch(*map(changed, batch))


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The one place that moves experience to a device: pinned, and without waiting where that is a GPU."""
    if device == CPU:
        return batch
    pinned = device.type == "cuda"
    return each_tensor(batch, lambda t: (t.pin_memory() if pinned else t).to(device, non_blocking=pinned))


def joined(batches: list[Batch]) -> Batch:
    """Batches one after another; what one of them lacks the whole lacks, but for weights, which are 1 there."""
    weights = [batch.weight for batch in batches]
    if any(weight is not None for weight in weights):
        ones = [torch.ones_like(batch.reward) for batch in batches]
        batches = [batch._replace(weight=_or(w, one)) for batch, w, one in zip(batches, weights, ones, strict=True)]
    fields = {}
    for name in Batch._fields:
        values = [getattr(batch, name) for batch in batches]
        if name in ("predictions", "notes"):
            fields[name] = _joined_by_name(values)
        elif name != "rows":
            fields[name] = None if any(value is None for value in values) else torch.cat(values)
    return Batch(**fields)


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
