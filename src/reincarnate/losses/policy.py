"""Losses of on-policy learners: PPO, A2C, proximal policy distillation. One number per example, to be minimised."""

import torch
from jaxtyping import Float
from torch import Tensor

Each = Float[Tensor, "*L"]


def policy_gradient(log_prob: Each, advantage: Each) -> Each:
    """−ln π(a|s) A: its gradient is the policy gradient's estimate (A2C: Mnih et al., 2016)."""
    return -log_prob * advantage.detach()


def clipped_surrogate(log_prob: Each, old_log_prob: Each, advantage: Each, clip: float) -> Each:
    """−min(ρA, clip(ρ, 1−ε, 1+ε)A), ρ = π(a|s)/π_old(a|s) (PPO: Schulman et al., 2017, eq. 7)."""
    ratio, a = (log_prob - old_log_prob.detach()).exp(), advantage.detach()
    return -torch.minimum(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)


def value_error(value: Each, target: Each) -> Each:
    """½(V(s) − G)², G without gradient. The ½ is CleanRL's; Stable-Baselines3 has none: its coefficient is halved."""
    return 0.5 * (value - target.detach()).square()


def clipped_value_error(value: Each, old_value: Each, target: Each, clip: float) -> Each:
    """½max((V − G)², (V_old + clip(V − V_old, ±ε) − G)²), as OpenAI's code and CleanRL's have it (not in the paper).

    Stable-Baselines3 takes the second square alone. ε is in units of value, so it depends on the rewards' scale.
    """
    near = old_value.detach() + (value - old_value.detach()).clamp(-clip, clip)
    return torch.maximum(value_error(value, target), value_error(near, target))


def approximate_kl(log_prob: Each, old_log_prob: Each) -> Each:
    """ρ − 1 − ln ρ, an estimate of KL(π_old ‖ π) from actions of π_old that is never negative (Schulman, 2020, k3)."""
    log_ratio = (log_prob - old_log_prob).detach()
    return torch.expm1(log_ratio) - log_ratio


def proximal_distillation(kl: Each, log_prob: Each, old_log_prob: Each, clip: float) -> Each:
    """max(ρ, clip(ρ, 1−ε, 1+ε))·KL = max(ρ, 1−ε)·KL, ρ = π(a|s)/π_old(a|s) (PPD: Spigler, 2025).

    `kl` is a divergence from the teacher at s, in either direction. It is never negative, so that the upper clip of
    PPO never binds; below 1−ε the weight stays and carries no gradient. The gradient flows through ρ too, as in the
    author's code.
    """
    ratio = (log_prob - old_log_prob.detach()).exp()
    return ratio.clamp(min=1 - clip) * kl
