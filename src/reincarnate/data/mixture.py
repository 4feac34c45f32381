"""Batches of prior data and own experience together."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from reincarnate.data.memory import joined
from reincarnate.types import NOTHING, Batch, Predictor, Source


class Mixture:
    """Each example is drawn from `prior` with probability `share`, else from `own`."""

    def __init__(self, prior: Source, own: Source, share: float):
        self.prior, self.own, self.share = prior, own, share

    def __len__(self) -> int:
        """Own experience decides when learning may begin; all from prior data, that does."""
        return len(self.prior) if self.share == 1 else len(self.own)

    def sample(self, n: int, rng: np.random.Generator, ask: Mapping[str, Predictor] = NOTHING) -> Batch:
        """`n` examples: those from prior data first. `rows` are those of own experience alone."""
        count = int(rng.binomial(n, self.share))
        if count == 0:
            return self.own.sample(n, rng, ask)
        prior = _whole(self.prior.sample(count, rng, ask))
        if count == n:
            return prior
        own = _whole(self.own.sample(n - count, rng, ask))
        return joined([prior, own])._replace(rows=own.rows)

    def learnt(self, batch: Batch, losses: Tensor) -> None:
        """Own experience hears of its part, the batch's last rows."""
        if batch.rows is not None:
            self.own.learnt(batch, losses[len(losses) - len(batch.rows) :])


def _whole(batch: Batch) -> Batch:
    """A batch whose targets are complete has no successors; beside others it needs some, at a discount of zero."""
    return batch if batch.next_obs is not None else batch._replace(next_obs=batch.obs)
