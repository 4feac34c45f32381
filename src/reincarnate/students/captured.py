"""Gradients and whole updates as CUDA graphs: recorded once, replayed with one launch where small kernels wait."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.students.gradient import Draws
from reincarnate.students.noise import Ask, HeldNoise, Noise
from reincarnate.types import Batch, Learnt, Term, Weighing
from reincarnate.types.leaves import each_tensor, leaves, shape_of

WARMUPS = 3  # eager passes before recording, as PyTorch's notes on CUDA graphs ask for
PATIENCE = 50  # updates of a kind before it is recorded, which takes as long as some of them
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

    def __init__(self, device: torch.device):
        self._device = device

    def warm(self, work: Callable[[], Learnt]) -> Learnt:
        """Eagerly, on a stream beside the current one."""
        with torch.cuda.device(self._device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                learnt = work()
            torch.cuda.current_stream().wait_stream(stream)
        return learnt

    def record(self, work: Callable[[], Learnt]) -> tuple[Callable[[], None], Learnt]:
        """Without running it: the first replay does that. Another thread may act on the GPU meanwhile.

        Raises UserError where something in it cannot be recorded: a loss of somebody's that asks the host.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self._device):
                stream = torch.cuda.Stream()
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    learnt = work()
        except RuntimeError as error:
            said = str(error).splitlines()[0]
            raise UserError(f"an update cannot be recorded as a CUDA graph ({said}): --compile off") from error
        return graph.replay, learnt


class Recorded(NamedTuple):
    """A recorded update, and the memory that it reads and writes."""

    replay: Callable[[], None]
    batch: Batch
    weights: Tensor  # of the terms
    noise: HeldNoise
    learnt: Learnt


class CapturedGradient:
    """Computes a gradient as `plain` does, from static copies of its inputs. One graph per set of active terms.

    `plain` must write its gradient into memory that stays (`Flat.grad`), and draw nothing itself. Batches of another
    shape have graphs of their own. Results equal the plain ones: the same kernels run in the same order.
    """

    def __init__(self, plain: Gradient, device: torch.device, recorder: Recorder | None = None):
        self._plain, self._recorder = plain, recorder or CUDARecorder(device)
        self._graphs: OrderedDict[Any, tuple[Callable[[], None], list[Tensor], Learnt]] = OrderedDict()

    def __call__(self, batch: Batch, draws: Draws, terms: Sequence[Term], weights: Tensor) -> Learnt:
        """Fill the gradient."""
        inputs = [weights, *_drawn(draws), *leaves(batch)]
        key = (tuple(terms), len(inputs), shape_of(batch))
        if key not in self._graphs:
            self._graphs[key] = self._record(batch, draws, tuple(terms), weights)
            _forget(self._graphs)
        self._graphs.move_to_end(key)
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
        return replay, [weights, *_drawn(own), *leaves(mine)], learnt


class CapturedUpdate:
    """Whole updates as `plain` makes them: gradients, optimisers' steps, lagging networks. One graph per kind.

    A kind is the batch's shape, what is due (`due`), the terms and the weighing's other numbers; the terms' weights are
    read like the batch. The first `PATIENCE` of a kind are made eagerly, so that a rate that changes all the time is
    not recorded all the time. What an update draws is drawn ahead of its replay, in the order in which it asks: a
    generator stands where it would without. `settings` are part of a recording: with others all begins anew.
    """

    def __init__(self, plain: Update, device: torch.device, recorder: Recorder | None = None):
        self._plain, self._device, self._recorder = plain, device, recorder or CUDARecorder(device)
        self._graphs: OrderedDict[Any, Recorded] = OrderedDict()
        self._made: OrderedDict[Any, tuple[int, list[Ask]]] = OrderedDict()  # how many eagerly, what they asked for
        self._settings: Any = None

    def __call__(
        self, batch: Batch, weighing: Weighing, rng: np.random.Generator, due: tuple[bool, ...], settings: Any
    ) -> Learnt:
        """Make an update."""
        if settings is not self._settings:  # another learning rate, say
            self._graphs.clear()
            self._made.clear()
            self._settings = settings
        key = (due, weighing._replace(terms=tuple([term for _, term in weighing.terms])), shape_of(batch))
        try:
            known = key in self._graphs
        except TypeError:  # somebody's term has no hash
            return self._plain(batch, weighing, Noise(rng, self._device))
        if known:
            self._graphs.move_to_end(key)
            return self._replayed(self._graphs[key], batch, weighing, rng)
        times, asked = self._made.pop(key, (0, []))
        if times < PATIENCE:
            noise = Noise(rng, self._device)
            learnt = self._recorder.warm(lambda: self._plain(batch, weighing, noise))
            self._made[key] = (times + 1, noise.asked)
            _forget(self._made)
            return learnt
        self._graphs[key] = recorded = self._record(batch, weighing, asked)
        _forget(self._graphs)
        return self._replayed(recorded, batch, weighing, rng)

    def _record(self, batch: Batch, weighing: Weighing, asked: list[Ask]) -> Recorded:
        mine, weights = _copied(batch), torch.zeros(len(weighing.terms), device=self._device)
        noise = HeldNoise(asked, self._device)
        terms = [(weight, term) for weight, (_, term) in zip(weights.unbind(), weighing.terms, strict=True)]
        weighed: Any = weighing._replace(terms=terms)
        replay, learnt = self._recorder.record(lambda: self._plain(mine, weighed, noise))
        return Recorded(replay, mine, weights, noise, learnt)

    def _replayed(self, recorded: Recorded, batch: Batch, weighing: Weighing, rng: np.random.Generator) -> Learnt:
        for place, leaf in zip(leaves(recorded.batch), leaves(batch), strict=True):
            place.copy_(leaf)
        if weighing.terms:
            recorded.weights.copy_(torch.tensor([weight for weight, _ in weighing.terms]))
        recorded.noise.fill(rng)
        recorded.replay()
        return _handed_out(recorded.learnt)


def _drawn(draws: Draws) -> list[Tensor]:
    """What was drawn, in a fixed order."""
    return [t for t in (*draws.online, *draws.target, draws.online_noise, draws.target_noise) if t is not None]


def _forget(table: OrderedDict[Any, Any]) -> None:
    """Drop what was added first of what is too much."""
    while len(table) > KEPT:
        table.popitem(last=False)


def _handed_out(learnt: Learnt) -> Learnt:
    """Results of a replay, whose means the next one shall not change."""
    return Learnt({name: torch.as_tensor(mean).clone() for name, mean in learnt.means.items()}, learnt.each)


def _copied(batch: Batch) -> Batch:
    """The same batch in memory of its own."""
    return each_tensor(batch, Tensor.clone)
