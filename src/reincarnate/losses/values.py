"""Losses as pure functions: one number per example, reduced by the caller, each with its paper."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F


def pick(q: Float[Tensor, "B A"], action: Int64[Tensor, "B"]) -> Float[Tensor, "B"]:
    """The value of the action taken, per row."""
    return q.gather(-1, action[:, None])[:, 0]


def max_value(next_q: Float[Tensor, "B A"]) -> Float[Tensor, "B"]:
    """Bootstrap value of Q-learning: max_a Q̄(s', a) (Mnih et al., 2015)."""
    return next_q.amax(-1)


def q_learning(q: Float[Tensor, "B A"], action: Int64[Tensor, "B"], target: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
    """Huber loss (δ = 1) of Q-learning (Mnih et al., 2015). No gradient flows into the target.

    `target` is reward + discount · value of the successor; with n steps (Sutton & Barto, 2018, §7) the reward is
    Σ_{k<L} γ^k r_{t+k} and the discount γ^L, or 0 after a termination, where L ≤ n steps were left in the episode.
    """
    return F.smooth_l1_loss(pick(q, action), target.detach(), reduction="none")


def q_learning_at_once(
    q: Float[Tensor, "B A"], action: Int64[Tensor, "B"], target: Float[Tensor, "B"]
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B A"]]:
    """`q_learning` and its derivative by q, written down: the error within ±1 at the action taken, 0 elsewhere."""
    taken = action[:, None]
    error = q.gather(1, taken)[:, 0] - target
    slope = error.clamp(-1, 1)
    loss = slope * (error - 0.5 * slope)  # e²/2 within ±1, |e| − ½ beyond
    return loss, torch.zeros_like(q).scatter_(1, taken, slope[:, None])


def large_margin(
    q: Float[Tensor, "B A"], expert: Int64[Tensor, "B"], margin: float, all_actions: bool
) -> Float[Tensor, "B"]:
    """max_a [Q(s, a) + m·1(a ≠ a_E)] − Q(s, a_E): the expert's action leads by the margin (DQfD: Hester et al., 2018).

    With `all_actions`, the mean over all A actions of max(Q(s, a) + m·1(a ≠ a_E) − Q(s, a_E), 0), the default of the
    code of Agarwal et al. (2022): every action within the margin is pushed down, not only the best one.
    """
    rival = torch.arange(q.shape[-1], device=q.device) != expert[:, None]
    lead = q + margin * rival.to(q.dtype) - pick(q, expert)[:, None]
    return lead.clamp(min=0).mean(-1) if all_actions else lead.amax(-1)


def conservative(q: Float[Tensor, "B A"], action: Int64[Tensor, "B"], temperature: float) -> Float[Tensor, "B"]:
    """logsumexp_a Q(s, a)/τ − Q(s, a_data)/τ: CQL(H) for discrete actions (Kumar et al., 2020, eq. 4).

    The temperature is that of the code of Agarwal et al. (2022); the paper's equation has τ = 1. It is the
    cross-entropy of softmax(Q/τ) with the action of the data: the result is not multiplied by τ.
    """
    scaled = q / temperature
    return scaled.logsumexp(-1) - pick(scaled, action)


def rescale(x: Float[Tensor, "*L"], eps: float) -> Float[Tensor, "*L"]:
    """sign(x)(√(|x| + 1) − 1) + εx: returns of any size on a scale that a network can tell (Pohlen et al., 2018)."""
    return x.sign() * ((x.abs() + 1).sqrt() - 1) + eps * x


def unrescale(x: Float[Tensor, "*L"], eps: float) -> Float[Tensor, "*L"]:
    """The inverse of `rescale` for ε > 0: sign(x)(((√(1 + 4ε(|x| + 1 + ε)) − 1)/2ε)² − 1)."""
    root = ((1 + 4 * eps * (x.abs() + 1 + eps)).sqrt() - 1) / (2 * eps)
    return x.sign() * (root.square() - 1)
