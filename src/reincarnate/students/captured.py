"""Gradients and whole updates as CUDA graphs: recorded once, replayed with one launch where small kernels wait."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from reincarnate.students.gradient import Draws
from reincarnate.students.noise import Ask, HeldNoise, Noise
from reincarnate.types import Batch, Learnt, Term, Weighing
from reincarnate.types.leaves import leaves, rebuilt, shape_of

WARMUPS = 3  # eager passes before recording, as PyTorch's notes on CUDA graphs ask for
KEPT = 16  # recorded graphs of one student, each with memory of its own
Gradient = Callable[[Batch, Draws, Sequence[Term], Tensor], Learnt]
Update = Callable[[Batch, Weighing, Noise], Learnt]


class Recorder(Protocol):
    """Runs work eagerly as a recording will want it, and records it: what replays it, and where its results lie."""

    def warm(self, work: Callable[[], Learnt]) -> Learnt:
        """Run it."""
        ...

    def record(self, work: Callable[[], Learnt]) -> tuple[Callable[[], None], Learnt]:
        """Record it; nobody has read the results before the first replay."""
        ...


class CUDARecorder:
    """CUDA's own. What is recorded reads and writes memory that stays, and brings nothing from the host."""

    def warm(self, work: Callable[[], Learnt]) -> Learnt:
        """Eagerly, on a stream beside the current one."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            learnt = work()
        torch.cuda.current_stream().wait_stream(stream)
        return learnt

    def record(self, work: Callable[[], Learnt]) -> tuple[Callable[[], None], Learnt]:
        """Without running it: the first replay does that."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            learnt = work()
        return graph.replay, learnt


class CapturedGradient:
    """Computes a gradient as `plain` does, from static copies of its inputs. One graph per set of active terms.

    `plain` must write its gradient into memory that stays (`Flat.grad`), and draw nothing itself. Every batch must have
    the size of the first. Results equal the plain ones: the same kernels run in the same order.
    """

    def __init__(self, plain: Gradient, recorder: Recorder | None = None):
        self._plain, self._recorder = plain, recorder or CUDARecorder()
        self._graphs: dict[Any, tuple[Callable[[], None], list[Tensor], Learnt]] = {}

    def __call__(self, batch: Batch, draws: Draws, terms: Sequence[Term], weights: Tensor) -> Learnt:
        """Fill the gradient."""
        drawn = [t for t in (*draws.online, *draws.target, draws.online_noise, draws.target_noise) if t is not None]
        inputs = [weights, *drawn, *leaves(batch)]
        key = (tuple(terms), len(drawn), shape_of(batch))
        if key not in self._graphs:
            self._graphs[key] = self._record(batch, draws, tuple(terms), weights)
        replay, static, learnt = self._graphs[key]
        for place, leaf in zip(static, inputs, strict=True):
            place.copy_(leaf)
        replay()
        return _handed_out(learnt)

    def _record(self, batch: Batch, draws: Draws, terms: tuple[Term, ...], weights: Tensor) -> Any:
        mine, weights = _copied(batch), weights.clone()
        own = Draws(
            tuple(t.clone() for t in draws.online),
            tuple(t.clone() for t in draws.target),
            None if draws.online_noise is None else draws.online_noise.clone(),
            None if draws.target_noise is None else draws.target_noise.clone(),
        )

        def work() -> Learnt:
            return self._plain(mine, own, terms, weights)

        for _ in range(WARMUPS):
            self._recorder.warm(work)
        replay, learnt = self._recorder.record(work)
        drawn = [t for t in (*own.online, *own.target, own.online_noise, own.target_noise) if t is not None]
        return replay, [weights, *drawn, *leaves(mine)], learnt


class CapturedUpdate:
    """Whole updates as `plain` makes them: gradients, optimisers' steps, lagging networks. One graph per kind.

    A kind is the batch's shape, the weighing's numbers and what is due (`due`). The first ones of a kind are made
    eagerly, so that a weight that changes in every update never records anything. What an update draws is drawn ahead
    of its replay, in the order in which it asks: a generator stands where it would without.
    """

    def __init__(self, plain: Update, device: torch.device, recorder: Recorder | None = None):
        self._plain, self._device, self._recorder = plain, device, recorder or CUDARecorder()
        self._graphs: OrderedDict[Any, tuple[Callable[[], None], Batch, HeldNoise | None, Learnt]] = OrderedDict()
        self._made: OrderedDict[Any, tuple[int, list[Ask]]] = OrderedDict()  # how many eagerly, what they asked for

    def __call__(self, batch: Batch, weighing: Weighing, rng: np.random.Generator, due: tuple[bool, ...]) -> Learnt:
        """Make an update."""
        key = (due, weighing._replace(terms=tuple(weighing.terms)), shape_of(batch))
        if key in self._graphs:
            return self._replayed(key, batch, rng)
        times, asked = self._made.pop(key, (0, []))
        if times < WARMUPS:
            noise = Noise(rng, self._device)
            learnt = self._recorder.warm(lambda: self._plain(batch, weighing, noise))
            self._made[key] = (times + 1, noise.asked)
            _forget(self._made)
            return learnt
        mine, noise = _copied(batch), HeldNoise(asked, rng, self._device) if asked else None
        held = noise or Noise(rng, self._device)
        replay, learnt = self._recorder.record(lambda: self._plain(mine, weighing, held))
        self._graphs[key] = replay, mine, noise, learnt
        _forget(self._graphs)
        replay()
        return _handed_out(learnt)

    def _replayed(self, key: Any, batch: Batch, rng: np.random.Generator) -> Learnt:
        replay, static, noise, learnt = self._graphs[key]
        for place, leaf in zip(leaves(static), leaves(batch), strict=True):
            place.copy_(leaf)
        if noise is not None:
            noise.fill(rng)
        replay()
        return _handed_out(learnt)


def _forget(table: OrderedDict[Any, Any]) -> None:
    """Drop what was added first of what is too much."""
    while len(table) > KEPT:
        table.popitem(last=False)


def _handed_out(learnt: Learnt) -> Learnt:
    """Results of a replay, whose means the next one shall not change."""
    return Learnt({name: mean.clone() for name, mean in learnt.means.items()}, learnt.each)


def _copied(batch: Batch) -> Batch:
    """The same batch in memory of its own."""
    return rebuilt(batch, [leaf.clone() for leaf in leaves(batch)])
