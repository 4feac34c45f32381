"""Value distributions: projections and losses, each with its paper. Losses give one number per example."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

# ---- on a fixed grid of atoms ---------------------------------------------------------------------


def support(low: float, high: float, atoms: int, device: torch.device | None = None) -> Float[Tensor, "K"]:
    """The atoms z_i: at least two, evenly spaced from `low` to `high`, both included (Bellemare et al., 2017)."""
    return torch.linspace(low, high, atoms, device=device)


def categorical_mean(logits: Float[Tensor, "B A K"], support: Float[Tensor, "K"]) -> Float[Tensor, "B A"]:
    """Action values Q(s, a) = Σ_i z_i p_i(s, a), with p the softmax of the logits (Bellemare et al., 2017, §4)."""
    return (F.softmax(logits, -1) * support).sum(-1)


def _shared(
    mass: Float[Tensor, "B M"], value: Float[Tensor, "B M"], support: Float[Tensor, "K"]
) -> Float[Tensor, "B K"]:
    """Masses at `value`, each shared by the two atoms around it so that its mean stays: max(0, 1 − |x − z_i|/Δ) of it.

    A mass beyond an end is put on it. Counted in steps from the first atom, where no mass is lost to a rounded Δ.
    """
    atoms = support.shape[0]
    step = (support[-1] - support[0]) / (atoms - 1)
    position = ((value - support[0]) / step).clamp(0, atoms - 1)
    # a sum that is scattered has no fixed order on a GPU, where many small products cost nothing
    return (_by_scattering if value.device.type == "cpu" else _by_sums)(mass, position, atoms)


def _by_scattering(mass: Float[Tensor, "B M"], position: Float[Tensor, "B M"], atoms: int) -> Float[Tensor, "B K"]:
    below = position.floor().clamp(max=atoms - 2)
    above, index = mass * (position - below), below.long()
    shared = mass.new_zeros(len(mass), atoms).scatter_add(1, index, mass - above)
    return shared.scatter_add(1, index + 1, above)


def _by_sums(mass: Float[Tensor, "B M"], position: Float[Tensor, "B M"], atoms: int) -> Float[Tensor, "B K"]:
    index = torch.arange(atoms, dtype=position.dtype, device=position.device)
    return (mass[:, :, None] * (1 - (position[:, :, None] - index).abs()).clamp(min=0)).sum(1)


def project(
    probabilities: Float[Tensor, "B K"],
    reward: Float[Tensor, "B"],
    discount: Float[Tensor, "B"],
    support: Float[Tensor, "K"],
) -> Float[Tensor, "B K"]:
    """C51's target Φ(r + γz), projected back onto the support (Bellemare et al., 2017, eq. 7 and Algorithm 1).

    `reward` and `discount` are those of `losses.q_learning`. The result carries no gradient.
    """
    shifted = reward[:, None] + discount[:, None] * support
    return _shared(probabilities, shifted, support).detach()


def two_hot(value: Float[Tensor, "B"], support: Float[Tensor, "K"]) -> Float[Tensor, "B K"]:
    """The distribution on the two atoms around `value` whose mean it is (Schrittwieser et al., 2020, appendix F).

    Values beyond the support are clipped to it. The result carries no gradient.
    """
    return _shared(torch.ones_like(value)[:, None], value[:, None], support).detach()


def hl_gauss(value: Float[Tensor, "B"], support: Float[Tensor, "K"], sigma: float) -> Float[Tensor, "B K"]:
    """Histogram of N(value, σ²) over bins centred on the atoms (Farebrother et al., 2024, §3.1, "HL-Gauss").

    Edges lie halfway between atoms, and half a step beyond the ends: the paper's [v_min, v_max] is one step wider
    than the support. What falls outside is dropped and the rest normalised. Values are clipped to the support. σ > 0
    is in units of value: the paper advises 0.75 steps. The result carries no gradient.
    """
    half = (support[-1] - support[0]) / (2 * (support.shape[0] - 1))
    edges = torch.cat([support[:1] - half, (support[1:] + support[:-1]) / 2, support[-1:] + half])
    mean = torch.minimum(torch.maximum(value, support[0]), support[-1])
    mass = torch.erf((edges - mean[:, None]) / (math.sqrt(2) * sigma)).diff(dim=-1)
    return (mass / mass.sum(-1, keepdim=True)).detach()


def categorical_cross_entropy(logits: Float[Tensor, "B K"], target: Float[Tensor, "B K"]) -> Float[Tensor, "B"]:
    """−Σ_i target_i ln softmax(logits)_i (Bellemare et al., 2017, Algorithm 1). The target gets no gradient."""
    return -(target.detach() * F.log_softmax(logits, -1)).sum(-1)


# ---- by quantiles ---------------------------------------------------------------------------------


def midpoints(n: int, device: torch.device | None = None) -> Float[Tensor, "N"]:
    """The fractions (2i + 1)/2n, i = 0..n−1, of n equally likely quantiles (Dabney et al., 2018a, Lemma 2)."""
    return (2 * torch.arange(n, dtype=torch.get_default_dtype(), device=device) + 1) / (2 * n)


def cosine_embedding(fractions: Float[Tensor, "B N"], features: int) -> Float[Tensor, "B N features"]:
    """cos(π i τ) for i = 0..features−1 (Dabney et al., 2018b, eq. 4). The first feature is thus always one.

    Dopamine counts from 1 to `features` instead: weights trained by the one do not fit the other.
    """
    index = torch.arange(features, dtype=fractions.dtype, device=fractions.device)
    return torch.cos(math.pi * index * fractions[:, :, None])


def quantile_huber(
    predictions: Float[Tensor, "B N"],
    fractions: Float[Tensor, "B N"],
    targets: Float[Tensor, "B M"],
    kappa: float,
) -> Float[Tensor, "B"]:
    """Σ_i mean_j |τ_i − 1{u_ij < 0}| L_κ(u_ij)/κ, u_ij = target_j − prediction_i (Dabney et al., 2018b, eq. 3).

    A sum over the predictions and a mean over the targets, as in QR-DQN (Dabney et al., 2018a, eq. 10), which does not
    divide by κ: at κ = 1 they agree. κ = 0 is the limit, with |u| for L_κ(u)/κ. Targets and fractions get no gradient.
    """
    with torch.no_grad():
        loss, slope = _quantile_slope(predictions, fractions, targets, kappa)
    return loss + ((predictions - predictions.detach()) * slope).sum(1)  # nothing is added but the gradient


def _quantile_slope(
    predictions: Float[Tensor, "B N"], fractions: Float[Tensor, "B N"], targets: Float[Tensor, "B M"], kappa: float
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B N"]]:
    """The loss and its gradient at once: autograd would fill five times the memory with pairs, most of its time."""
    error = targets[:, None, :] - predictions[:, :, None]
    pull = torch.where(error < 0, 1 - fractions[:, :, None], fractions[:, :, None])
    if kappa > 0:
        inside = error.clamp(-kappa, kappa)
        pull = pull.mul_(inside).div_(kappa)
        error = error.sub_(inside, alpha=0.5)  # |u| − κ/2 outside, |u|/2 inside, with its sign
    else:
        pull = pull.mul_(error.sign())
    return error.mul_(pull).mean(2).sum(1), -pull.mean(2)
