"""Returns and advantages of rollouts [B, T]: every row is a copy's steps in order, episodes following one another.

`reward` and `discount` are each step's (γ, 0 at a termination); `ends` says where an episode ends with the step, by a
termination or a time limit: nothing flows back over that line but a bootstrap from the true successor.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

Rows = Float[Tensor, "B T"]


def advantages(
    reward: Rows, discount: Rows, value: Rows, next_value: Rows, ends: Bool[Tensor, "B T"], lam: float
) -> Rows:
    """Generalised advantage estimates (Schulman et al., 2016, eq. 16): A_t = δ_t + γ_t λ A_{t+1} within an episode.

    δ_t = r_t + γ_t V(s'_t) − V(s_t). `next_value` is V of each step's true successor: at a time limit δ bootstraps from
    it and the sum stops there. Without gradient. λ = 1 gives the return of the rest less V(s_t), λ = 0 the TD error.
    """
    delta = reward + discount * next_value - value
    return _summed_back(delta, lam * discount * ~ends, torch.zeros_like(delta[:, 0]))


@torch.no_grad()
def lambda_returns(reward: Rows, discount: Rows, next_value: Rows, ends: Bool[Tensor, "B T"], lam: float) -> Rows:
    """G_t = r_t + γ_t(λG_{t+1} + (1 − λ)V(s'_t)) (Sutton & Barto, 2018, eq. 12.2, recursively). Without gradient.

    Where an episode ends, and in the last column, G_{t+1} is V(s'_t). Equal to `advantages` + V(s) if V(s'_t) is
    V(s_{t+1}) inside episodes.
    """
    out, ahead = torch.empty_like(reward), next_value[:, -1]
    for t in reversed(range(reward.shape[1])):
        value = next_value[:, t]
        mixed = torch.where(ends[:, t], value, lam * ahead + (1 - lam) * value)
        out[:, t] = ahead = reward[:, t] + discount[:, t] * mixed
    return out


def _summed_back(x: Rows, carried: Rows, last: Float[Tensor, "B"]) -> Rows:
    """y_t = x_t + c_t y_{t+1}, y_T = `last`. No gradient."""
    out, running = [], last.detach()
    for step, factor in zip(x.detach().unbind(1)[::-1], carried.detach().unbind(1)[::-1], strict=True):
        running = torch.addcmul(step, factor, running)
        out.append(running)
    return torch.stack(out[::-1], 1)


def n_step_returns(reward: Rows, discount: Rows, next_value: Rows, ends: Bool[Tensor, "B T"], n: int) -> Rows:
    """Σ_{k<L} γ^k r_{t+k} + γ^L V(s'_{t+L−1}), L = min(n, steps left in the episode and in the row).

    A window that meets a time limit or the row's end stops there and bootstraps from the last step's true successor;
    at a termination its discount is 0.
    """
    if n < 1:
        raise ValueError(f"a return needs one step or more, not {n}")
    out = reward + discount * next_value
    for _ in range(n - 1):
        after = torch.cat([out[:, 1:], next_value[:, -1:]], 1)
        out = reward + discount * torch.where(ends, next_value, after)
    return out.detach()


def standardised(advantage: Float[Tensor, "*L"], eps: float = 1e-8) -> Float[Tensor, "*L"]:
    """(A − mean)/(std + ε) over a minibatch, as PPO's codes do; a single example is left alone."""
    if advantage.numel() < 2:
        return advantage
    return (advantage - advantage.mean()) / (advantage.std() + eps)


def n_step_sums(
    reward: Rows, discount: Rows, ends: Bool[Tensor, "B T"], n: int
) -> tuple[Rows, Rows, Int64[Tensor, "B T"]]:
    """Σ_{k<L} γ^k r_{t+k}, what multiplies the bootstrap value, and the row t + L − 1 whose successor has that value.

    L = min(n, steps left in the episode and in the row). For critics that need more of the successor than a number.
    """
    total, factor, open_ = reward.clone(), discount.clone(), ~ends
    row = torch.arange(reward.shape[1], device=reward.device).expand_as(reward).clone()
    for k in range(1, min(n, reward.shape[1])):
        going = open_[:, :-k]
        total[:, :-k] += torch.where(going, factor[:, :-k] * reward[:, k:], 0.0)
        factor[:, :-k] = torch.where(going, factor[:, :-k] * discount[:, k:], factor[:, :-k])
        row[:, :-k] += going
        open_ = F.pad(going & ~ends[:, k:], (0, k))
    return total, factor, row
