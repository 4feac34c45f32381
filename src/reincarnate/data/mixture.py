"""Batches of prior data and own experience together."""

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.replay import Annotate
from reincarnate.types import Batch, Source


class Mixture:
    """Each example is drawn from `prior` with probability `share`, else from `own`."""

    def __init__(self, prior: Source, own: Source, share: float):
        self.prior, self.own, self.share = prior, own, share

    def __len__(self) -> int:
        """Own experience decides when learning may begin; all from prior data, that does."""
        return len(self.prior) if self.share == 1 else len(self.own)

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        teacher: bool = False,
        annotate: Annotate | None = None,
    ) -> Batch:
        """`n` examples: those from prior data first. `rows` are those of own experience alone."""
        count = int(rng.binomial(n, self.share))
        if count == 0:
            return self.own.sample(n, rng, teacher, annotate)
        prior = _whole(self.prior.sample(count, rng, teacher, annotate))
        if count == n:
            return prior
        own = self.own.sample(n - count, rng, teacher, annotate)
        weight = None if own.weight is None else torch.cat([torch.ones(count), own.weight])
        whole = _whole(own)
        columns = [
            None if a is None or b is None else torch.cat([a, b]) for a, b in zip(prior[:6], whole[:6], strict=True)
        ]
        return Batch(*columns, weight=weight, rows=own.rows)  # pyright: ignore

    def learnt(self, batch: Batch, losses: Tensor) -> None:
        """Own experience hears of its part, the batch's last rows."""
        if batch.rows is not None:
            self.own.learnt(batch, losses[len(losses) - len(batch.rows) :])


def _whole(batch: Batch) -> Batch:
    """A batch whose targets are complete has no successors; beside others it needs some, at a discount of zero."""
    return batch if batch.next_obs is not None else batch._replace(next_obs=batch.obs)
