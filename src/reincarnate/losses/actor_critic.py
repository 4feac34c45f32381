"""Targets and losses of off-policy actor-critics: TD3, SAC, REDQ, TQC, D4PG. One number per example, to be minimised.

Ensembles of critics lie in the first axis: [N, B], or [N, B, K] for value distributions. Actions are in [-1, 1].
"""

from jaxtyping import Float, Int64
from torch import Tensor

from reincarnate.losses import distributions

Each = Float[Tensor, "B"]
Ensemble = Float[Tensor, "N B"]


# ---- the value of the successor --------------------------------------------------------------------


def smoothed_action(
    action: Float[Tensor, "B A"], noise: Float[Tensor, "B A"], std: float, clip: float
) -> Float[Tensor, "B A"]:
    """clip(μ'(s') + clip(σε, ±c), ±1), ε = `noise` standard normal (TD3: Fujimoto et al., 2018, Algorithm 1)."""
    return (action + (std * noise).clamp(-clip, clip)).clamp(-1, 1)


def least(q: Ensemble, members: Int64[Tensor, "M"] | None = None) -> Each:
    """min_i Q_i, over all or over the drawn `members` (TD3: all of 2; REDQ: Chen et al., 2021: 2 of 10)."""
    return (q if members is None else q[members]).amin(0)


def soft_value(q: Each, log_prob: Each, alpha: Float[Tensor, ""] | float) -> Each:
    """Q(s', a') − α ln π(a'|s') (SAC: Haarnoja et al., 2018, eq. 3). α = 0 leaves the entropy out."""
    return q - alpha * log_prob


def bootstrapped(reward: Each, discount: Each, next_value: Each) -> Each:
    """r + discount · V(s'), without gradient; `reward` and `discount` of n steps as in `values.q_learning`."""
    return (reward + discount * next_value).detach()


def truncated_quantiles(quantiles: Float[Tensor, "N B K"], drop: int) -> Float[Tensor, "B M"]:
    """All critics' quantiles as one sorted set without the N·`drop` greatest (TQC: Kuznetsov et al., 2020, §3)."""
    critics, _, each = quantiles.shape
    if not 0 <= drop < each:
        raise ValueError(f"{drop} of {each} quantiles a critic cannot be dropped; one must stay")
    pooled = quantiles.movedim(0, 1).flatten(1).sort(-1).values
    return pooled[:, : critics * (each - drop)]


# ---- critics ---------------------------------------------------------------------------------------


def squared_error(q: Ensemble, target: Each) -> Each:
    """Σ_i (Q_i(s, a) − y)², as TD3 sums its critics' errors (SAC has a half of it, Stable-Baselines3's too)."""
    return (q - target.detach()).square().sum(0)


def quantile_error(quantiles: Float[Tensor, "N B K"], targets: Float[Tensor, "B M"], kappa: float = 1.0) -> Each:
    """The quantile Huber loss, a mean over critics, quantiles and targets (TQC, as its authors' code and SB3's).

    A mean where `distributions.quantile_huber` sums over the quantiles: its gradient is K times smaller.
    """
    critics, examples, each = quantiles.shape
    fractions = distributions.midpoints(each, quantiles.device).to(quantiles).expand(critics * examples, each)
    spread = targets.expand(critics, *targets.shape).flatten(0, 1)
    loss = distributions.quantile_huber(quantiles.flatten(0, 1), fractions, spread, kappa)
    return loss.unflatten(0, (critics, examples)).mean(0) / each


def categorical_error(logits: Float[Tensor, "N B K"], target: Float[Tensor, "B K"]) -> Each:
    """Σ_i cross-entropy of each critic's atoms with the projected target (D4PG: Barth-Maron et al., 2018)."""
    critics, examples, _ = logits.shape
    spread = target.expand(critics, *target.shape).flatten(0, 1)
    loss = distributions.categorical_cross_entropy(logits.flatten(0, 1), spread)
    return loss.unflatten(0, (critics, examples)).sum(0)


# ---- actors ----------------------------------------------------------------------------------------


def deterministic_actor(q: Each) -> Each:
    """−Q(s, μ(s)); TD3 asks its first critic."""
    return -q


def clipped_dpg(action: Float[Tensor, "B A"], slope: Float[Tensor, "B A"], limit: float | None) -> Each:
    """½‖μ(s) − (μ(s) + g)‖², the goal held fixed, g = ∂Q/∂a at μ(s) scaled to a norm of at most `limit`.

    Its gradient with respect to μ(s) is −g: the deterministic policy gradient of D4PG with acme's clip (1.0 there).
    """
    slope = slope.detach()
    if limit is not None:
        norm = slope.norm(dim=-1, keepdim=True)
        slope = slope * (limit / norm.clamp(min=limit))
    return 0.5 * (action - (action + slope).detach()).square().sum(-1)


def soft_actor(log_prob: Each, q: Each, alpha: Float[Tensor, ""] | float) -> Each:
    """α ln π(a|s) − Q(s, a), a drawn by reparametrisation (SAC: Haarnoja et al., 2018, eq. 12)."""
    return alpha * log_prob - q


def temperature_loss(log_alpha: Float[Tensor, ""], log_prob: Each, target_entropy: float, of_log: bool = True) -> Each:
    """−ln α·(ln π + H̄), or −α·(ln π + H̄) without `of_log`: α rises while the entropy is below H̄.

    The second is the one written in Haarnoja et al. (2018b, eq. 18); codes differ (SB3 the first, RLPD the second).
    """
    factor = log_alpha if of_log else log_alpha.exp()
    return -factor * (log_prob.detach() + target_entropy)
