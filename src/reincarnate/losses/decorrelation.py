"""Decorrelation: a penalty on features that copy each other (Mavrin et al., 2019, arXiv 1903.07765 and 1911.08610).

With the centred features X [B, F] of a batch, C = XᵀX and G = XXᵀ, the papers' penalty is

    Σ_{i≠j} C_ij² = ‖G‖² − Σ_j (Σ_b X_bj²)²

whose left side costs B·F² and whose right side, the Gramian's, B²·F. Each row has a share in it, so that the penalty is
the mean of one number per example as any other loss is; for shares the left side needs a second product of that size.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

By = Literal["covariance", "correlation", "sums"]
Form = Literal["auto", "covariance", "gramian"]
EPSILON = 1e-8  # added to the sum of squares of a feature, for one that never varies


def decorrelation(features: Float[Tensor, "*S B F"], by: By = "covariance", form: Form = "auto") -> Tensor:
    """Each example's share [*S, B] of the penalty on its batch; the penalty is their mean.

    `by` "covariance": the mean over pairs of features of the squared covariance, C / (B − 1), which does not depend on
    the sizes of batch and layer; "correlation": of the squared correlation, which shrinking features cannot lower;
    "sums": the papers' Σ_{i≠j} C_ij², which grows with B² and F². Every `form` gives the same; "auto" is the cheaper.
    """
    x = features - features.mean(-2, keepdim=True)
    if by == "correlation":
        x = x * (x.square().sum(-2, keepdim=True) + EPSILON).rsqrt()
    rows, width = x.shape[-2:]
    gramian = rows < 2 * width if form == "auto" else form == "gramian"
    share = _by_gramian(x) if gramian else _by_covariance(x)
    pairs = max(1, width * (width - 1))
    scale = {"covariance": pairs * max(1, rows - 1) ** 2, "correlation": pairs, "sums": 1}[by]
    return share * (rows / scale)


def _by_covariance(x: Tensor) -> Tensor:
    """x_bᵀ (C − diag C) x_b."""
    c = x.mT @ x
    return ((x @ (c - torch.diag_embed(c.diagonal(dim1=-2, dim2=-1)))) * x).sum(-1)


def _by_gramian(x: Tensor) -> Tensor:
    """Σ_b' G_bb'² − Σ_j X_bj² Σ_b' X_b'j²."""
    squares = x.square()
    return (x @ x.mT).square().sum(-1) - (squares * squares.sum(-2, keepdim=True)).sum(-1)


def decorrelation_flops(rows: int, width: int) -> float:
    """Of the matrix products of the cheaper form (one of the Gramian's, two of the covariance's) and of their
    gradients, a multiplication and an addition each."""
    return 3 * 2.0 * rows * width * min(rows, 2 * width)


def feature_statistics(features: Float[Tensor, "B F"]) -> dict[str, float]:
    """`correlation`, `rank`, `norm` and `dead` of a batch's features.

    The mean |correlation| of pairs of features that vary; their effective rank, the exponential of the entropy of the
    centred matrix's normalised singular values (Roy & Vetterli, 2007); the mean length of a row; the share of features
    that never vary. All in float64, on the host.
    """
    raw = features.detach().cpu().double()
    x = raw - raw.mean(0)
    varies = x.square().sum(0) > EPSILON
    told = {"norm": float(raw.norm(dim=-1).mean()), "dead": 1 - float(varies.double().mean())}
    live = x[:, varies]
    if live.shape[1] < 2:
        return {"correlation": 0.0, "rank": float(live.shape[1]), **told}
    unit = live / live.norm(dim=0)
    pairs = unit.shape[1] * (unit.shape[1] - 1)
    correlation = float((unit.T @ unit).abs().fill_diagonal_(0).sum()) / pairs
    singular = torch.linalg.svdvals(live)
    share = singular / singular.sum()
    return {"correlation": correlation, "rank": float(torch.special.entr(share).sum().exp()), **told}
