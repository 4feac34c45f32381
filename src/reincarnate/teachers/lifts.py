"""Between what teachers can tell: probabilities, choices and values as logits, and logits as play."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.types import ACTIONS

CERTAINTY = 0.99
"""Probability that a teacher which only names an action is taken to give it."""


def from_probabilities(probabilities: Float[Tensor, "B A"]) -> Float32[Tensor, "B A"]:
    """Logits whose softmax gives these probabilities; an impossible action gets log(1e-8).

    UserError: a row that does not sum to 1 within 1e-3, or holds a negative number.
    """
    if (probabilities < 0).any() or ((probabilities.sum(-1) - 1).abs() > 1e-3).any():
        raise UserError("the teacher says it tells probabilities, but rows do not sum to 1 (logits, perhaps?)")
    return probabilities.float().clamp_min(1e-8).log()


def from_actions(chosen: Int[Tensor, "B"], actions: int) -> Float32[Tensor, "B A"]:
    """Logits that give the chosen action probability 0.99 and share the rest among the others.

    UserError: an action outside 0 .. actions - 1.
    """
    if (chosen < 0).any() or (chosen >= actions).any():
        raise UserError(
            f"the teacher chose an action outside 0..{actions - 1}: actions are numbered from 0 here, wherever the "
            "task's own begin"
        )
    if actions == 1:
        return torch.zeros(len(chosen), 1, device=chosen.device)
    sure = F.one_hot(chosen.long(), actions).bool()
    return torch.where(sure, CERTAINTY, (1 - CERTAINTY) / (actions - 1)).log()


def teacher_temperature(tells: str, asked: float | None) -> float | None:
    """The temperature of the teacher's policy, softmax(logits / τ): as asked; None means the student's.

    A teacher that only names actions has none of its own to sharpen: at τ = 1 the chosen action has probability
    `CERTAINTY`, as documented; at the student's τ = 0.1 it would be 1 - 1e-20.
    """
    return 1.0 if asked is None and tells == ACTIONS else asked


def look_like_probabilities(rows: Float[Tensor, "N A"]) -> bool:
    """Whether numbers meant as logits are never negative and sum to 1 in every row: nobody's logits do."""
    if not len(rows) or rows.shape[1] < 2:
        return False
    return bool((rows >= 0).all() and ((rows.sum(-1) - 1).abs() < 1e-3).all())


def action_gap(logits: Float[Tensor, "B A"]) -> Float[Tensor, "B"]:
    """Best minus second best, in the unit of the logits; infinite where there is but one action."""
    if logits.shape[-1] < 2:
        return torch.full(logits.shape[:-1], torch.inf, dtype=logits.dtype, device=logits.device)
    best = logits.topk(2, dim=-1).values
    return best[:, 0] - best[:, 1]


def entropy(logits: Float[Tensor, "B A"], temperature: float = 1.0) -> Float[Tensor, "B"]:
    """Entropy in nats of softmax(logits / temperature)."""
    log_p = F.log_softmax(logits / temperature, -1)
    return -(log_p.exp() * log_p).sum(-1)
