"""From what a teacher predicts to what a student predicts: one number per example.

Kinds of predictions: `values` and `logits` [A]; `means` [A], the action itself; `gaussian` [2A], mean and log σ of a
Gaussian whose draws are clipped to the box; `squashed` [2A], mean and log σ *before* tanh. The box is [-1, 1].
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from reincarnate.losses.log_probs import unsquash

DISCRETE = ("values", "logits")
CONTINUOUS = ("means", "gaussian", "squashed")
LARGEST_MEAN = 0.999  # a known action that a squashed Gaussian shall match: further out the base mean runs away


@runtime_checkable
class Predicted(Protocol):
    """A kind and the numbers."""

    @property
    def kind(self) -> str:
        """One of `DISCRETE` or `CONTINUOUS`."""
        ...

    @property
    def x(self) -> Tensor:
        """Its numbers, [*L, K]."""
        ...


def categorical_kl(
    p: Float[Tensor, "*L A"], q: Float[Tensor, "*L A"], p_temperature: float = 1.0, q_temperature: float = 1.0
) -> Float[Tensor, "*L"]:
    """KL(softmax(p/τ_p) ‖ softmax(q/τ_q)) = Σ_a p_a (ln p_a − ln q_a), in nats. Actions that p never takes add 0."""
    log_p, log_q = F.log_softmax(p / p_temperature, -1), F.log_softmax(q / q_temperature, -1)
    mass = log_p.exp()
    return (mass * (log_p - log_q).masked_fill(mass == 0, 0)).sum(-1)


def categorical_kl_at_once(
    p: Float[Tensor, "B A"], q: Float[Tensor, "B A"], p_temperature: float, q_temperature: float
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B A"]]:
    """`categorical_kl` and its derivative by q, written down: (softmax(q/τ_q) − softmax(p/τ_p)) / τ_q.

    Actions of which p says −∞ have no part, in q's policy either.
    """
    log_p, log_q = F.log_softmax(p / p_temperature, -1), F.log_softmax(_known(p, q) / q_temperature, -1)
    mass = log_p.exp()
    kl = (mass * (log_p - log_q).masked_fill_(mass == 0, 0)).sum(-1)
    return kl, log_q.exp_().sub_(mass).div_(q_temperature)


def _known(p: Tensor, q: Tensor) -> Tensor:
    """q with −∞ where p, who knows which actions there are, says it."""
    return torch.where(p.isneginf(), p, q)


def gaussian_kl(
    p_mean: Float[Tensor, "*L A"],
    p_log_std: Float[Tensor, "*L A"],
    q_mean: Float[Tensor, "*L A"],
    q_log_std: Float[Tensor, "*L A"],
) -> Float[Tensor, "*L"]:
    """KL(p ‖ q) of diagonal Gaussians: Σ_i ln(σ_q/σ_p) + (σ_p² + (μ_p − μ_q)²)/2σ_q² − ½.

    Also the KL of two tanh-squashed Gaussians, from their base means and spreads: tanh is a bijection.
    """
    log_ratio = q_log_std - p_log_std
    shift = (p_mean - q_mean) * (-q_log_std).exp()
    return (log_ratio + 0.5 * ((-2 * log_ratio).exp() + shift.square()) - 0.5).sum(-1)


def action_error(action: Float[Tensor, "*L A"], target: Float[Tensor, "*L A"]) -> Float[Tensor, "*L"]:
    """Mean over the components of (a − a_T)², both in [-1, 1] (behaviour cloning; TD3+BC: Fujimoto & Gu, 2021)."""
    return (action - target).square().mean(-1)


def q_scale(q: Float[Tensor, "*L"], floor: float) -> Float[Tensor, ""]:
    """max(mean|Q|, floor) over the batch, without gradient: the factor that makes an action error as large as −Q.

    mean|Q| is TD3+BC's normalisation (Fujimoto & Gu, 2021), there as a divisor of Q. A fresh critic's is near 0,
    where the imitation is needed most, hence the floor (in units of return).
    """
    return q.detach().abs().mean().clamp(min=floor)


def greedy_action(kind: str, x: Float[Tensor, "*L K"]) -> Float[Tensor, "*L A"]:
    """The action in [-1, 1] that a continuous policy takes when it does not explore."""
    if kind == "means":
        return x.clamp(-1, 1)
    mean = x.chunk(2, -1)[0]
    return mean.tanh() if kind == "squashed" else mean.clamp(-1, 1)


def divergence(
    teacher: Predicted,
    student: Predicted,
    *,
    temperature: float = 1.0,
    teacher_temperature: float = 1.0,
    teacher_std: float | None = None,
    reverse: bool = False,
) -> Float[Tensor, "*L"]:
    """KL(teacher ‖ student), with `reverse` KL(student ‖ teacher), or the error of actions where a KL has no meaning.

    Discrete: categorical, temperatures divide values or logits; over the actions that the teacher knows, for one of
    several tasks says −∞ of those that its own has not. Gaussians of one kind: `gaussian_kl`. A teacher of
    means, or of another kind of Gaussian (clipped, squashed), whose spread cannot be compared, is a Gaussian of spread
    `teacher_std` around its greedy action (before tanh for a squashed student); without it the action error is taken.
    So it is where the student tells means. No gradient reaches the teacher. TypeError: a discrete and a continuous one,
    or unknown kinds.
    """
    told = teacher.x.detach()
    if _speak_of_the_same(teacher.kind, student.kind):
        p, q = (told, teacher_temperature), (_known(told, student.x), temperature)
        (p, p_tau), (q, q_tau) = (q, p) if reverse else (p, q)
        return categorical_kl(p, q, p_tau, q_tau)
    kind = student.kind
    if kind == "means" or (teacher.kind != kind and teacher_std is None):
        own = student.x if kind == "means" else greedy_action(kind, student.x)
        return action_error(own, greedy_action(teacher.kind, told))
    mean, log_std = _as_gaussian(teacher.kind, told, kind, teacher_std)
    own_mean, own_log_std = student.x.chunk(2, -1)
    if reverse:
        return gaussian_kl(own_mean, own_log_std, mean, log_std)
    return gaussian_kl(mean, log_std, own_mean, own_log_std)


def _speak_of_the_same(teacher: str, student: str) -> bool:
    """True where both are discrete, False where both are continuous."""
    for kind in (teacher, student):
        if kind not in DISCRETE + CONTINUOUS:
            raise TypeError(f"{kind!r} is no kind of prediction; there are {', '.join(DISCRETE + CONTINUOUS)}")
    if (teacher in DISCRETE) != (student in DISCRETE):
        sort = "one of so many actions" if teacher in DISCRETE else "a vector of numbers"
        other = "a vector of numbers" if teacher in DISCRETE else "one of so many actions"
        raise TypeError(
            f"a teacher that tells {teacher!r} cannot teach a student that tells {student!r}: "
            f"its action is {sort}, the student's {other}"
        )
    return teacher in DISCRETE


def _as_gaussian(kind: str, x: Tensor, wanted: str, std: float | None) -> tuple[Tensor, Tensor]:
    if kind == wanted:
        mean, log_std = x.chunk(2, -1)
        return mean, log_std
    assert std is not None
    action = x if kind == "means" else greedy_action(kind, x)
    mean = unsquash(action, LARGEST_MEAN) if wanted == "squashed" else action
    return mean, torch.full_like(mean, std).log()
