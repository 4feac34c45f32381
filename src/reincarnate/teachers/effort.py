"""How much work somebody's program may take for an answer: seconds for any, counted operations where torch runs it."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import flop_registry

from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.nets.flops import Watch

BUSY = 6  # times as long on a machine that is busy with something else


def within_seconds(answer: Callable[[], Any], what: str, seconds: float | None = None) -> Any:
    """What `answer` gives. UserError: it takes longer; then it is left to itself, for native code cannot be stopped.

    Where the machine is busy with something else it has longer. It must release Python's lock while it works, as
    onnxruntime does.
    """
    seconds, found = seconds or limits.SECONDS, list[Any]()

    def run() -> None:
        try:
            found.append((True, answer()))
        except BaseException as error:
            found.append((False, error))

    worker = threading.Thread(target=run, daemon=True, name="teacher")
    worker.start()
    _wait(worker, seconds)
    if not found:
        raise UserError(f"{what}: no answer within {seconds:g} s, more work than a policy can need; refused")
    fine, value = found[0]
    if not fine:
        raise value
    return value


def _wait(worker: threading.Thread, seconds: float) -> None:
    """Until it has answered, or has had its seconds: of the clock, and half of them of a processor."""
    worked, latest = time.process_time(), time.monotonic() + BUSY * seconds
    worker.join(seconds)
    while worker.is_alive() and time.process_time() - worked < seconds / 2 and time.monotonic() < latest:
        worker.join(seconds / 10)


class Bounded(Watch):
    """While it is entered, every operator is looked at before it runs: the size of what it makes, and its work.

    `by_numbers`: whether an answer of the same shapes may be more work, for a size or a branch depends on numbers.

    UserError: a tensor of over `limits.NUMBERS` numbers, over `limits.WORK` multiplications for each of `rows`
    observations, or too long.
    """

    def __init__(self, what: str, rows: int):
        super().__init__()
        self.what, self.rows = what, max(rows, 1)
        self.failed: Exception | None = None
        self.by_numbers = False
        self.work, self.deadline = 0.0, time.thread_time() + limits.SECONDS  # of this thread

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator, if it is within limits."""
        kwargs = kwargs or {}
        try:
            self._look(func, args, kwargs)
            if time.thread_time() > self.deadline:
                raise UserError(f"{self.what}: no answer within {limits.SECONDS:g} s; refused")
            return func(*args, **kwargs)
        except Exception as error:
            self.failed = error  # torch's interpreter makes one of its own of it, and loses the words
            raise

    def _look(self, func: Any, args: Any, kwargs: Any) -> None:
        packet = func.overloadpacket
        if (counts := BY_NUMBERS.get(packet)) is not None:
            self.by_numbers = True
            numbers = counts(*args)
            self._check_size(packet, numbers)
            return self._add_work(numbers)
        makes = "device" in kwargs or not _has_tensor(args)  # out of nothing: on the device that it is told
        meta = tree_map(_as_meta, (args, {**kwargs, **({"device": "meta"} if makes else {})}))
        out = func(*meta[0], **meta[1])  # whatever fails here is not run: its size would not be known
        numbers = sum(x.numel() for x in tree_flatten(out)[0] if isinstance(x, Tensor))
        self._check_size(packet, numbers)
        formula = flop_registry.get(packet)
        self._add_work(max(numbers if formula is None else _flops(formula, meta, out), numbers))

    def _check_size(self, packet: Any, numbers: int) -> None:
        if numbers > limits.NUMBERS:
            raise UserError(
                f"{self.what}: {packet} would make {numbers:,} numbers, more than a policy can need; refused"
            )

    def _add_work(self, work: float) -> None:
        self.work += work
        if not math.isfinite(self.work) or self.work > limits.WORK * self.rows:
            raise UserError(f"{self.what}: over {limits.WORK:.0e} multiplications for one answer; refused")


# ---- operators that make as much as the numbers that they get say ----------------------------------------


def _one(*_: Any) -> int:
    return 1


def _places(x: Tensor, *_: Any) -> int:
    """Of what is not zero: a number an axis."""
    return int(torch.count_nonzero(x)) * x.dim()


def _repeats(repeats: Tensor, *_: Any) -> int:
    """In Python's whole numbers: torch's own sum of them overflows, and what it then writes is out of bounds."""
    values, counts = torch.unique(repeats, return_counts=True)
    return sum(max(int(value), 0) * int(count) for value, count in zip(values, counts, strict=True))


def _indexed(x: Tensor, indices: Any, *_: Any) -> int:
    """With a mask in place of numbers one takes as many as it lets through."""
    places = list[Tensor | None]()
    for one in indices:
        if one is None or one.dtype not in (torch.bool, torch.uint8):
            places.append(None if one is None else one.to("meta"))
        else:
            through = torch.empty(int(torch.count_nonzero(one)), dtype=torch.int64, device="meta")
            places += [through] * one.dim()
    return torch.ops.aten.index.Tensor(x.to("meta"), places).numel()


_ATEN = torch.ops.aten
BY_NUMBERS: dict[Any, Callable[..., int]] = {
    _ATEN._local_scalar_dense: _one,
    _ATEN.nonzero: _places,
    _ATEN.repeat_interleave: _repeats,
    _ATEN.index: _indexed,
}
"""How many numbers each makes; all other operators that a policy may call say so on the "meta" device."""


def _flops(formula: Any, meta: Any, out: Any) -> float:
    try:
        return float(formula(*meta[0], **meta[1], out_val=out))
    except Exception:
        return 0.0


def _as_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) else value


def _has_tensor(value: Any) -> bool:
    return any(isinstance(x, Tensor) for x in tree_flatten(value)[0])


def bounded(module: Any, obs: Tensor, what: str) -> tuple[Any, bool]:
    """What a TorchScript module answers, every operator looked at before it runs.

    And whether another answer on observations of this shape is to be looked at again, for it may be more work.
    """
    mode = Bounded(what, len(obs))
    try:
        with torch.no_grad(), mode:
            return module(obs), mode.by_numbers
    except Exception:
        if mode.failed is not None:
            raise mode.failed from None
        raise
