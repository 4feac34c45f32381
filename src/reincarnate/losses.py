"""Losses as pure functions: one number per example, reduced by the caller, each with its paper."""

from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional as F


def pick(q: Float[Tensor, "B A"], action: Int64[Tensor, "B"]) -> Float[Tensor, "B"]:
    """The value of the action taken, per row."""
    return q.gather(-1, action[:, None])[:, 0]


def max_value(next_q: Float[Tensor, "B A"]) -> Float[Tensor, "B"]:
    """Bootstrap value of Q-learning: max_a Q̄(s', a) (Mnih et al., 2015)."""
    return next_q.amax(-1)


def double_value(next_q: Float[Tensor, "B A"], selector: Float[Tensor, "B A"]) -> Float[Tensor, "B"]:
    """Bootstrap value of double Q-learning: Q̄(s', argmax_a Q(s', a)) (van Hasselt et al., 2016, eq. 4).

    `next_q` is the target network's, `selector` the online network's, both at the successor state.
    """
    return pick(next_q, selector.argmax(-1))


def q_learning(
    q: Float[Tensor, "B A"],
    action: Int64[Tensor, "B"],
    reward: Float[Tensor, "B"],
    discount: Float[Tensor, "B"],
    next_value: Float[Tensor, "B"],
) -> Float[Tensor, "B"]:
    """Huber loss (δ = 1) of n-step Q-learning (Mnih et al., 2015; n-step: Sutton & Barto, 2018, §7).

    `reward` is Σ_{k<L} γ^k r_{t+k} and `discount` γ^L, or 0 after a termination, where L ≤ n steps were left in the
    episode. No gradient flows into the target.
    """
    target = (reward + discount * next_value).detach()
    return F.smooth_l1_loss(pick(q, action), target, reduction="none")


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
