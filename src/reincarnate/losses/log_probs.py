"""Log-probabilities and entropies of policies: categorical, Gaussian, clipped Gaussian, tanh-squashed Gaussian.

Actions are components in the last axis; a result has the leading shape alone. Continuous ones are in [-1, 1] or, for a
squashed Gaussian, also given as `base`, the number before tanh.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

LOG_2PI = math.log(2 * math.pi)
LARGEST_ACTION = 1 - 1e-5  # where tanh is inverted; WSRL and Cal-QL clip the actions of their data there


def masked(x: Float[Tensor, "*L A"], mask: Tensor | None) -> Float[Tensor, "*L A"]:
    """Logits or values with −∞ for actions that a mask [*L, A], on whatever device, does not allow."""
    return x if mask is None else x.masked_fill(~mask.to(x.device), -torch.inf)


def categorical_log_prob(logits: Float[Tensor, "*L A"], action: Int64[Tensor, "*L"]) -> Float[Tensor, "*L"]:
    """ln softmax(logits)_a."""
    return F.log_softmax(logits, -1).gather(-1, action[..., None])[..., 0]


def categorical_entropy(logits: Float[Tensor, "*L A"]) -> Float[Tensor, "*L"]:
    """−Σ_a π_a ln π_a with π = softmax(logits). An action masked out by a logit of −∞ adds nothing."""
    log_p = F.log_softmax(logits, -1)
    p = log_p.exp()
    return -(p * log_p.masked_fill(p == 0, 0)).sum(-1)


def gaussian_log_prob(
    mean: Float[Tensor, "*L A"], log_std: Float[Tensor, "*L A"], action: Float[Tensor, "*L A"]
) -> Float[Tensor, "*L"]:
    """Σ_i −½((a_i − μ_i)/σ_i)² − ln σ_i − ½ ln 2π: the density of a diagonal Gaussian.

    PPO asks this of the action as drawn; it is clipped to the box on its way into the environment alone.
    """
    scaled = (action - mean) * (-log_std).exp()
    return (-0.5 * scaled.square() - log_std - 0.5 * LOG_2PI).sum(-1)


def gaussian_entropy(log_std: Float[Tensor, "*L A"]) -> Float[Tensor, "*L"]:
    """Σ_i ln σ_i + ½ ln 2πe."""
    return (log_std + 0.5 * (LOG_2PI + 1)).sum(-1)


def clipped_gaussian_log_prob(
    mean: Float[Tensor, "*L A"],
    log_std: Float[Tensor, "*L A"],
    action: Float[Tensor, "*L A"],
    low: float = -1.0,
    high: float = 1.0,
) -> Float[Tensor, "*L"]:
    """The likelihood of an action that was clipped to [low, high] before it was written down.

    Inside, the density; at a bound, the log of the whole mass beyond it, ln Φ((low − μ)/σ) or ln Φ((μ − high)/σ)
    (Fujita & Maeda, 2018). For imitating data of clipped Gaussians: the plain density would pull means that lie
    outside back to the bound.
    """
    scale = (-log_std).exp()
    inside = -0.5 * ((action - mean) * scale).square() - log_std - 0.5 * LOG_2PI
    below = torch.special.log_ndtr((low - mean) * scale)
    above = torch.special.log_ndtr((mean - high) * scale)
    return torch.where(action <= low, below, torch.where(action >= high, above, inside)).sum(-1)


def log_tanh_slope(base: Float[Tensor, "*L A"]) -> Float[Tensor, "*L A"]:
    """ln(1 − tanh²u) = 2(ln 2 − u − softplus(−2u)), exact for any u (no ε inside the logarithm)."""
    return 2 * (math.log(2) - base - F.softplus(-2 * base))


def squashed_log_prob(
    mean: Float[Tensor, "*L A"], log_std: Float[Tensor, "*L A"], base: Float[Tensor, "*L A"]
) -> Float[Tensor, "*L"]:
    """The density of a = tanh(u), u ~ N(μ, σ²), at u = `base` (Haarnoja et al., 2018, appendix C, eq. 21).

    Stable-Baselines3 has ln(1 − a² + 1e-6) for the correction, which differs where |a| > 0.999.
    """
    return gaussian_log_prob(mean, log_std, base) - log_tanh_slope(base).sum(-1)


def unsquash(action: Float[Tensor, "*L A"], largest: float = LARGEST_ACTION) -> Float[Tensor, "*L A"]:
    """artanh(a), with |a| clipped to `largest` < 1: the number before tanh, finite at the bounds too."""
    return action.clamp(-largest, largest).atanh()


def log_prob_of(kind: str, x: Float[Tensor, "*L K"], action: Tensor) -> Float[Tensor, "*L"]:
    """ln π(a|s) by what a policy predicts: of `logits` and an action's number, of a `gaussian` and the action as drawn.

    TypeError: kinds without a density to be asked for here.
    """
    if kind == "logits":
        return categorical_log_prob(x, action)
    if kind == "gaussian":
        mean, log_std = x.chunk(2, -1)
        return gaussian_log_prob(mean, log_std, action)
    raise TypeError(f"a policy that tells {kind!r} has no probabilities of actions")


def log_prob_of_data(kind: str, x: Float[Tensor, "*L K"], action: Tensor) -> Float[Tensor, "*L"]:
    """ln π(a|s) of an action as logs hold it: a number, or within [-1, 1] after the clip or the tanh.

    Clipped actions count by the mass beyond the bound; a squashed Gaussian's are cut to `LARGEST_ACTION`. A policy that
    tells `means` is a Gaussian of σ = 1/√2 around them, without its constant: −‖a − μ(s)‖².
    """
    if kind == "means":
        return -(action - x).square().sum(-1)
    if kind == "squashed":
        mean, log_std = x.chunk(2, -1)
        return squashed_log_prob(mean, log_std, unsquash(action))
    if kind == "gaussian":
        mean, log_std = x.chunk(2, -1)
        return clipped_gaussian_log_prob(mean, log_std, action)
    return log_prob_of(kind, x, action)


def entropy_of(kind: str, x: Float[Tensor, "*L K"]) -> Float[Tensor, "*L"]:
    """The entropy of what a policy predicts, `logits` or a `gaussian` (before its draws are clipped), in nats."""
    return categorical_entropy(x) if kind == "logits" else gaussian_entropy(x.chunk(2, -1)[1])
