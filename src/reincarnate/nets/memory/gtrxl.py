"""GTrXL: the gated transformer-XL of Parisotto et al. (2019) on the relative attention of Dai et al. (2019).

Two ways through one network, equal up to rounding: whole segments, with keys and values of every row; and single rows,
without. A score is (q + u)·W_k y_j, so the query may meet W_k once instead of every remembered row; likewise W_v after
the average, W_R before the distances. What is remembered is each layer's normalised input before the norm's scale and
shift, which no weight has touched: it needs no second normalising and cannot be out of date as cached keys can.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.nets.memory.carries import check_width
from reincarnate.nets.memory.gates import GateName, gate

WIDENING = 4  # hidden units of the perceptron for each feature, as in Vaswani et al. (2017)
WAVELENGTHS = 10_000.0  # the longest sinusoid is so many times the shortest; Vaswani et al. (2017)


class GTrXL(nn.Module):
    """Carry: the last `length` inputs of every layer, oldest first, and how many of them count; H = L · M · D + 1.

    Each layer sees its own row and `length` rows before it, never across an episode's beginning, whether they stand
    in the segment or in the carry, through which no gradient flows. Differs from the paper: a learned b_g (see
    `gates`), biases in the perceptron alone, u and v shared by all layers.
    """

    waves: Tensor
    distance: Tensor

    def __init__(
        self,
        inputs: int,
        size: int = 64,
        layers: int = 2,
        heads: int = 4,
        length: int = 32,
        gate_name: GateName = "gru",
        gate_bias: float | None = None,
    ):
        nn.Module.__init__(self)
        self.features, self.length, self.carry = size, length, layers * length * size + 1
        self.embed = nn.Linear(inputs, size)
        self.layers: Any = nn.ModuleList(Layer(size, heads, gate_name, gate_bias) for _ in range(layers))
        self.u, self.v = (nn.Parameter(torch.zeros(heads, size // heads)) for _ in range(2))
        self.register_buffer("waves", sinusoids(length, size), persistent=False)
        self.register_buffer("distance", torch.arange(length, -1, -1.0), persistent=False)

    def initial(self, n: int) -> Float[Tensor, "n H"]:
        return self.u.new_zeros(n, self.carry)

    def forward(
        self, features: Float[Tensor, "n *T F"], begins: Bool[Tensor, "n *T"], carry: Float[Tensor, "n H"]
    ) -> tuple[Float[Tensor, "n *T D"], Float[Tensor, "n H"]]:
        check_width(carry, self.carry, type(self).__name__)
        carry = carry.detach()
        memory = carry[:, :-1].unflatten(1, (len(self.layers), self.length, self.features))
        read = self._row if features.dim() == 2 else self._segment
        return read(self.embed(features), begins, memory, carry[:, -1])

    def _row(self, x: Tensor, begins: Tensor, memory: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        filled = torch.where(begins, 0.0, filled)
        hidden = torch.where(self.distance <= filled[:, None], 0.0, -torch.inf)[:, None]  # [n, 1, M + 1]
        rows = []
        for i, layer in enumerate(self.layers):
            rows.append(layer.remember(x))
            x = layer.row(x, rows[-1], memory[:, i], hidden, self)
        return x, self._moved_on(memory, rows, (filled + 1).clamp(max=self.length))

    def _moved_on(self, memory: Tensor, rows: list[Tensor], filled: Tensor) -> Tensor:
        """The carry with every layer's newest row in place of its oldest."""
        newest = torch.stack(rows, 1).detach()
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]  # exporters know no writing in place
            kept = torch.cat([memory[:, :, 1:], newest[:, :, None]], 2)
            return torch.cat([kept.flatten(1), filled[:, None]], 1)
        after = memory.new_empty(len(memory), self.carry)
        kept = after[:, :-1].unflatten(1, memory.shape[1:])
        kept[:, :, :-1], kept[:, :, -1], after[:, -1] = memory[:, :, 1:], newest, filled
        return after

    def _segment(self, x: Tensor, begins: Tensor, memory: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.where(visible(begins, filled, self.length), 0.0, -torch.inf)[:, None]  # [B, 1, T, M + T]
        kept = []
        for layer, remembered in zip(self.layers, memory.unbind(1), strict=True):
            rows = torch.cat([remembered, layer.remember(x)], 1)
            x = layer.segment(x, rows, hidden, self)
            kept.append(rows[:, -self.length :].detach())
        since = rows_since(begins)
        filled = torch.where(begins.any(1), since, filled + begins.shape[1]).clamp(max=self.length)
        return x, torch.cat([torch.stack(kept, 1).flatten(1), filled[:, None]], 1)


class Layer(nn.Module):
    """Attention and a perceptron, each behind a norm, a ReLU and a gate; with "trxl" each before a sum and a norm."""

    def __init__(self, size: int, heads: int, gate_name: GateName, gate_bias: float | None):
        nn.Module.__init__(self)
        self.heads, self.scale, self.reordered = heads, (size // heads) ** -0.5, gate_name != "trxl"
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query, self.key, self.value, self.position, self.out = (nn.Linear(size, size, bias=False) for _ in "qkvro")
        self.wide, self.narrow = nn.Linear(size, WIDENING * size), nn.Linear(WIDENING * size, size)
        self.gate1, self.gate2 = gate(gate_name, size, gate_bias), gate(gate_name, size, gate_bias)

    def remember(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """What attention keeps of an input: the norm of it without scale and shift (those come when it is read)."""
        return F.layer_norm(x, self.norm1.normalized_shape, eps=self.norm1.eps) if self.reordered else x

    def segment(self, x: Tensor, rows: Tensor, hidden: Tensor, shared: GTrXL) -> Float[Tensor, "B T D"]:
        """x [B, T, D] and all that can be attended to, rows [B, M + T, D]."""
        rows = self._affine(rows)
        query = self._by_head(self.query(rows[:, -x.shape[1] :]))  # [B, h, T, k]
        key, value = self._by_head(self.key(rows)), self._by_head(self.value(rows))
        place = self.position(shared.waves).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # [h, M + 1, k]
        score = (query + shared.u[:, None]) @ key.mT + skew((query + shared.v[:, None]) @ place.mT)
        attention = torch.softmax(score * self.scale + hidden, -1)
        return self._finish(x, self.out((attention @ value).transpose(1, 2).flatten(2)))

    def row(self, x: Tensor, row: Tensor, remembered: Tensor, hidden: Tensor, shared: GTrXL) -> Float[Tensor, "n D"]:
        """The same for the newest row x [n, D] of each copy, after `remembered` [n, M, D]."""
        query = self.query(self._affine(row)).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # [h, n, k]
        key, place, value = (w.weight.unflatten(0, (self.heads, -1)) for w in (self.key, self.position, self.value))
        content = torch.bmm(query + shared.u[:, None], key).transpose(0, 1)  # [n, h, D]
        content = content * self.norm1.weight if self.reordered else content  # the shift moves all scores alike
        far = (torch.bmm(query + shared.v[:, None], place) @ shared.waves.T).transpose(0, 1)  # [n, h, M + 1]
        rows = torch.cat([remembered, row[:, None]], 1)
        score = torch.baddbmm(far, content, rows.transpose(1, 2), beta=self.scale, alpha=self.scale) + hidden
        mean = self._affine(torch.bmm(torch.softmax(score, -1), rows))  # [n, h, D]
        attended = torch.bmm(mean.transpose(0, 1), value.transpose(1, 2))  # [h, n, k]
        return self._finish(x, self.out(attended.transpose(0, 1).flatten(1)))

    def _affine(self, rows: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """The norm's scale and shift, as what is remembered meets them when it is read."""
        return torch.addcmul(self.norm1.bias, rows, self.norm1.weight) if self.reordered else rows

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        if not self.reordered:
            x = self.norm1(x + attended)
            return self.norm2(x + self.narrow(torch.relu(self.wide(x))))
        x = self.gate1(x, torch.relu(attended))
        return self.gate2(x, torch.relu(self.narrow(torch.relu(self.wide(self.norm2(x))))))

    def _by_head(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B h T k"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def sinusoids(length: int, size: int) -> Float[Tensor, "M1 D"]:
    """Sines and cosines of the distances `length` … 0."""
    rates = WAVELENGTHS ** -(torch.arange(0, size, 2) / size)
    angles = torch.arange(length, -1, -1.0)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def skew(x: Float[Tensor, "*B T M1"]) -> Float[Tensor, "*B T N"]:
    """Columns by distance (M … 0) to columns by row, M remembered and T new ones: [t, c] to [t, t + c], else zeros."""
    rows, columns = x.shape[-2], x.shape[-1] - 1 + x.shape[-2]
    flat = F.pad(x, (0, rows)).flatten(-2)
    return flat[..., : rows * columns].unflatten(-1, (rows, columns))


def visible(begins: Bool[Tensor, "B T"], filled: Float[Tensor, "B"], length: int) -> Bool[Tensor, "B T N"]:
    """Which of `length` remembered and T new rows each new row sees.

    Itself and at most `length` before it, of its own episode, and of the remembered ones only the last `filled`.
    """
    steps = begins.shape[1]
    episode = F.pad(begins.long().cumsum(1), (length, 0))  # remembered rows belong to episode 0
    distance = torch.arange(length, length + steps, device=begins.device)[:, None] - torch.arange(
        length + steps, device=begins.device
    )
    band = (distance >= 0) & (distance <= length)
    known = torch.arange(length + steps, device=begins.device) >= length - filled[:, None]
    return band & (episode[:, -steps:, None] == episode[:, None]) & known[:, None]


def rows_since(begins: Bool[Tensor, "B T"]) -> Float[Tensor, "B"]:
    """How many rows from the last beginning to the end, that one included (T + 1 or more where there is none)."""
    steps = begins.shape[1]
    last = torch.where(begins, torch.arange(steps, device=begins.device), -1).amax(1)
    return (steps - last).float()
