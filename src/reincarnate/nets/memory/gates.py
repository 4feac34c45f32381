"""Gates g(x, y) where a transformer adds y to x (Parisotto et al., 2019, section 3.2); W, U without biases but b_g.

b_g keeps a newborn network near the identity, hence near a policy without memory; it is learned, one number each
feature, from 2 (gru) or 1 (output, highway, sigtanh), the values of the paper.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

GateName = Literal["gru", "input", "output", "highway", "sigtanh", "none", "trxl"]
GRU_BIAS, OTHER_BIAS = 2.0, 1.0
Features = Float[Tensor, "*B D"]


class Sum(nn.Module):
    """x + y: no gate."""

    def forward(self, x: Features, y: Features) -> Features:
        return x + y


class InputGate(nn.Module):
    """σ(W x) ⊙ x + y."""

    def __init__(self, size: int):
        nn.Module.__init__(self)
        self.w = nn.Linear(size, size, bias=False)

    def forward(self, x: Features, y: Features) -> Features:
        return torch.addcmul(y, torch.sigmoid(self.w(x)), x)


class OutputGate(nn.Module):
    """x + σ(W x − b) ⊙ y."""

    def __init__(self, size: int, bias: float):
        nn.Module.__init__(self)
        self.w, self.b = nn.Linear(size, size, bias=False), nn.Parameter(torch.full((size,), bias))

    def forward(self, x: Features, y: Features) -> Features:
        return torch.addcmul(x, torch.sigmoid(self.w(x) - self.b), y)


class HighwayGate(nn.Module):
    """c ⊙ x + (1 − c) ⊙ y with c = σ(W x + b)."""

    def __init__(self, size: int, bias: float):
        nn.Module.__init__(self)
        self.w, self.b = nn.Linear(size, size, bias=False), nn.Parameter(torch.full((size,), bias))

    def forward(self, x: Features, y: Features) -> Features:
        return torch.lerp(y, x, torch.sigmoid(self.w(x) + self.b))


class SigTanhGate(nn.Module):
    """x + σ(W y − b) ⊙ tanh(U y)."""

    def __init__(self, size: int, bias: float):
        nn.Module.__init__(self)
        self.w, self.u = nn.Linear(size, size, bias=False), nn.Linear(size, size, bias=False)
        self.b = nn.Parameter(torch.full((size,), bias))

    def forward(self, x: Features, y: Features) -> Features:
        return torch.addcmul(x, torch.sigmoid(self.w(y) - self.b), torch.tanh(self.u(y)))


class GRUGate(nn.Module):
    """(1 − z) ⊙ x + z ⊙ h: r = σ(W_r y + U_r x), z = σ(W_z y + U_z x − b), h = tanh(W_g y + U_g (r ⊙ x)).

    `w` holds W_r, W_z, W_g and `u` holds U_r, U_z, one under the other.
    """

    def __init__(self, size: int, bias: float):
        nn.Module.__init__(self)
        self.w, self.u = nn.Linear(size, 3 * size, bias=False), nn.Linear(size, 2 * size, bias=False)
        self.u_g, self.b = nn.Linear(size, size, bias=False), nn.Parameter(torch.full((size,), bias))

    def forward(self, x: Features, y: Features) -> Features:
        (w_r, w_z, w_g), (u_r, u_z) = self.w(y).chunk(3, -1), self.u(x).chunk(2, -1)
        r, z = torch.sigmoid(w_r + u_r), torch.sigmoid(w_z + u_z - self.b)
        return torch.lerp(x, torch.tanh(w_g + self.u_g(r * x)), z)


def gate(name: GateName, size: int, bias: float | None) -> nn.Module:
    """A fresh gate over `size` features; `bias` None for the paper's b_g. "none" and "trxl" add."""
    if name == "gru":
        return GRUGate(size, GRU_BIAS if bias is None else bias)
    if name == "input":
        return InputGate(size)
    biased = {"output": OutputGate, "highway": HighwayGate, "sigtanh": SigTanhGate}
    return biased[name](size, OTHER_BIAS if bias is None else bias) if name in biased else Sum()
