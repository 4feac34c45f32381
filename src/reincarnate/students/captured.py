"""A student's gradient as a CUDA graph: recorded once and replayed with one launch, where many small kernels wait."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reincarnate.students.gradient import TENSORS, Draws
from reincarnate.types import Batch, Learnt, Prediction, Term

WARMUPS = 3  # eager passes before recording, as PyTorch's notes on CUDA graphs ask for
Gradient = Callable[[Batch, Draws, Sequence[Term], Tensor], Learnt]


class CapturedGradient:
    """Computes a gradient as `plain` does, from static copies of its inputs. One graph per set of active terms.

    `plain` must write its gradient into memory that stays (`Flat.grad`), and draw nothing itself. Every batch must have
    the size of the first. Results equal the plain ones: the same kernels run in the same order.
    """

    def __init__(self, plain: Gradient):
        self._plain = plain
        self._graphs: dict[Any, tuple[Any, list[Tensor], Learnt]] = {}

    def __call__(self, batch: Batch, draws: Draws, terms: Sequence[Term], weights: Tensor) -> Learnt:
        """Fill the gradient."""
        said = tuple((name, prediction.kind) for name, prediction in batch.predictions.items())
        leaves = _leaves(batch, draws)
        key = (tuple(terms), said, tuple(None if leaf is None else tuple(leaf.shape) for leaf in leaves))
        if key not in self._graphs:
            self._graphs[key] = self._record(batch, draws, tuple(terms), weights, said)
        graph, static, learnt = self._graphs[key]
        for place, leaf in zip(static, [weights, *[leaf for leaf in leaves if leaf is not None]], strict=True):
            place.copy_(leaf)
        graph.replay()
        return Learnt({name: mean.clone() for name, mean in learnt.means.items()}, learnt.each)

    def _record(self, batch: Batch, draws: Draws, terms: tuple[Term, ...], weights: Tensor, said: Any) -> Any:
        own = [None if leaf is None else leaf.clone() for leaf in _leaves(batch, draws)]
        mine, drawn = _put_together(own, draws, said)
        static = [weights.clone(), *[leaf for leaf in own if leaf is not None]]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMUPS):
                self._plain(mine, drawn, terms, static[0])
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            learnt = self._plain(mine, drawn, terms, static[0])
        return graph, static, learnt


def _leaves(batch: Batch, draws: Draws) -> list[Tensor | None]:
    """All tensors that a gradient reads, in a fixed order."""
    told = [prediction.x for prediction in batch.predictions.values()]
    drawn = (*draws.online, *draws.target, draws.online_noise, draws.target_noise)
    return [*batch[:TENSORS], batch.weight, batch.next_mask, *told, *drawn]


def _put_together(leaves: list[Tensor | None], draws: Draws, said: Any) -> tuple[Batch, Draws]:
    """The inverse of `_leaves`."""
    weight, next_mask, *rest = leaves[TENSORS:]
    told: list[Any] = rest[: len(said)]
    drawn: list[Any] = rest[len(said) :]
    predictions = {name: Prediction(kind, x) for (name, kind), x in zip(said, told, strict=True)}
    batch = Batch(*leaves[:TENSORS], predictions=predictions, weight=weight, next_mask=next_mask)  # pyright: ignore
    first, second = len(draws.online), len(draws.online) + len(draws.target)
    return batch, Draws(tuple(drawn[:first]), tuple(drawn[first:second]), drawn[-2], drawn[-1])
