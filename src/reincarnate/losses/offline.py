"""Losses that learn from logged actions: AWAC, IQL, TD3+BC, CQL and Cal-QL. One number per example."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Each = Float[Tensor, "*L"]


def exponential_weight(advantage: Each, scale: float, cap: float) -> Each:
    """min(exp(scale·A), cap), without gradient. AWAC (Nair et al., 2020) has scale 1/λ, IQL its inverse temperature β.

    IQL's code caps at 100. The exponent is capped, not the result, so that nothing overflows.
    """
    return (scale * advantage.detach()).clamp(max=math.log(cap)).exp()


def weighted_imitation(log_prob: Each, weight: Each) -> Each:
    """−w ln π(a|s) for the action of the data (advantage-weighted regression: Peng et al., 2019)."""
    return -weight.detach() * log_prob


def expectile_error(value: Each, target: Each, expectile: float) -> Each:
    """|τ − 1(u < 0)|·u², u = Q̄(s, a) − V(s) (IQL: Kostrikov et al., 2022). The target gets no gradient.

    τ = ½ is half of the squared error; towards 1, V(s) nears the best action of the data.
    """
    error = target.detach() - value
    return torch.where(error < 0, 1 - expectile, expectile) * error.square()


def td3_bc_actor(q: Float[Tensor, "B"], error: Float[Tensor, "B"], alpha: float) -> Float[Tensor, "B"]:
    """−α·Q(s, μ(s))/mean|Q| + error, `error` that of `divergences.action_error` (Fujimoto & Gu, 2021; α = 2.5).

    mean|Q| over the batch carries no gradient.
    """
    return error - alpha * q / q.detach().abs().mean().clamp(min=torch.finfo(q.dtype).tiny)


def uniform_log_density(components: int) -> float:
    """The log-density of uniform actions in [-1, 1]^A: −A ln 2."""
    return -components * math.log(2)


def sampled_conservative(
    data_q: Float[Tensor, "B"],
    random_q: Float[Tensor, "B R"],
    policy_q: Float[Tensor, "B P"],
    policy_log_prob: Float[Tensor, "B P"],
    components: int,
    temperature: float = 1.0,
    lower_bound: Float[Tensor, "B"] | None = None,
) -> Float[Tensor, "B"]:
    """τ ln Σ_j exp((Q(s, a_j) − ln p(a_j))/τ) − Q(s, a): CQL(H) by importance sampling (Kumar et al., 2020).

    Over R uniform actions of so many `components` and P of the policy (of s and of s', with the densities at which they
    were drawn). With `lower_bound`, the return that followed in the data, policy actions count max(Q, bound): Cal-QL
    (Nakamoto et al., 2023), which pushes no value below what was already earned.
    """
    if lower_bound is not None:
        policy_q = torch.maximum(policy_q, lower_bound[:, None])
    weighed = torch.cat([random_q - uniform_log_density(components), policy_q - policy_log_prob.detach()], -1)
    return temperature * (weighed / temperature).logsumexp(-1) - data_q
