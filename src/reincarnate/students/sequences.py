"""Sequences as examples: the rows after a burn-in, their n-step sums, and where the bootstrap value of each stands."""

import torch
from jaxtyping import Int64
from torch import Tensor

from reincarnate.data.layouts import all_where_none
from reincarnate.losses.returns import n_step_sums
from reincarnate.types import Batch, Prediction


def warmed(batch: Batch, burn_in: int) -> Batch:
    """What is learnt from: the rows after the first `burn_in`, [B, U]."""
    cut = {name: getattr(batch, name) for name in ("obs", "action", "reward", "discount", "ended", "weight", "mask")}
    rows = {name: None if value is None else value[:, burn_in:] for name, value in cut.items()}
    told = {name: Prediction(p.kind, p.x[:, burn_in:]) for name, p in batch.predictions.items()}
    return batch._replace(**rows, predictions=told)


def lesson_of(rows: Batch, n_step: int) -> tuple[Batch, Int64[Tensor, "B U"]]:
    """The rows [B, U] as examples [B·U] with n-step sums, and the row of each one's bootstrap value.

    That is the successor of row `ahead`. Rows that are no steps have weight 0.
    """
    assert rows.ended is not None and rows.weight is not None
    reward, discount, ahead = n_step_sums(rows.reward, rows.discount, rows.ended, n_step)
    told = {name: Prediction(p.kind, p.x.flatten(0, 1)) for name, p in rows.predictions.items()}
    flat = (rows.obs.flatten(0, 1), rows.action.flatten(0, 1), reward.flatten(), discount.flatten(), None)
    lesson = Batch(*flat, predictions=told, weight=rows.weight.flatten())
    if rows.mask is None:
        return lesson, ahead
    assert rows.next_mask is not None
    allowed = all_where_none(rows.mask).flatten(0, 1)
    return lesson._replace(mask=allowed, next_mask=_allowed_next(rows.mask, rows.next_mask, ahead)), ahead


def _allowed_next(mask: Tensor, last: Tensor, ahead: Tensor) -> Tensor:
    """Actions [B·U, A] that are allowed in each example's successor, in the last row's those of `last` [B, A].

    All where nobody said so.
    """
    after = all_where_none(torch.cat([mask[:, 1:], last[:, None]], 1))
    at = ahead[..., None].expand(-1, -1, after.shape[-1])
    return after.gather(1, at).flatten(0, 1)
