"""Losses as pure functions: one number per example, reduced by the caller, each with its paper."""

import torch
from jaxtyping import Bool, Float, Float32, Int64
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


def distillation(
    student: Float[Tensor, "B A"],
    teacher: Float32[Tensor, "B A"],
    temperature: float,
    teacher_temperature: float,
) -> Float[Tensor, "B"]:
    """KL(softmax(teacher/τ_T) ‖ softmax(student/τ)) per example (Agarwal et al., 2022, eq. 2).

    The paper uses one τ for both. Its gradient with respect to the student's values is (π − π_T)/τ: there is no τ²
    rescaling. The printed equation has the sign of a cross-entropy wrong; what is minimised is the KL divergence.
    """
    target = F.log_softmax(teacher / teacher_temperature, -1)
    return (target.exp() * (target - F.log_softmax(student / temperature, -1))).sum(-1)


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


@torch.no_grad()
def lambda_returns(
    reward: Float32[Tensor, "T *B"],
    discount: Float32[Tensor, "T *B"],
    after: Float32[Tensor, "T *B"],
    ended: Bool[Tensor, "T *B"],
    lam: float,
) -> Float32[Tensor, "T *B"]:
    """G_t = r_t + d_t·(λ·G_{t+1} + (1 − λ)·V(s_{t+1})), from the last step to the first.

    `after` is V(s_{t+1}) of the true successor, `discount` d_t, 0 at a termination. Where an episode `ended`, or the
    segment does, G_t = r_t + d_t·V(s_{t+1}) (Daley & Amato, 2019, eq. 4; λ-returns cut at limits).
    """
    returns, ahead = torch.empty_like(reward), after[-1]
    for t in range(len(reward) - 1, -1, -1):
        mixed = torch.where(ended[t], after[t], lam * ahead + (1 - lam) * after[t])
        returns[t] = ahead = reward[t] + discount[t] * mixed
    return returns
