"""LSTM (Hochreiter & Schmidhuber, 1997) and GRU (Cho et al., 2014), with PyTorch's parameters and their names.

SB3's RecurrentPPO and others hold the same parameters (`weight_ih_l0`, …) under the name of their own module.
"""

import itertools
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.nets.memory.carries import check_width

SHORT = 4  # rows; up to here PyTorch's sequence kernel costs more than as many single cells (CPU, sizes 64 to 256)


class Recurrent(nn.Module):
    """What both share: cells row by row, PyTorch's kernel over stretches in which nobody's episode begins."""

    def __init__(self, net: nn.LSTM | nn.GRU, states: int):
        nn.Module.__init__(self)
        self.net, self._states = net, states
        self.features = net.hidden_size
        self.carry = states * net.num_layers * net.hidden_size

    def initial(self, n: int) -> Float[Tensor, "n H"]:
        return self.net.all_weights[0][0].new_zeros(n, self.carry)

    def forward(
        self, features: Float[Tensor, "n *T F"], begins: Bool[Tensor, "n *T"], carry: Float[Tensor, "n H"]
    ) -> tuple[Float[Tensor, "n *T D"], Float[Tensor, "n H"]]:
        check_width(carry, self.carry, type(self).__name__)
        state = carry.unflatten(1, (self._states, self.net.num_layers, self.features)).permute(1, 2, 0, 3)
        if features.dim() == 2:
            out, state = self._row(features, _forget(state, begins))
        else:
            out, state = self._segment(features, begins, state)
        return out, state.permute(2, 0, 1, 3).flatten(1)

    def _segment(self, x: Tensor, begins: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outs = []
        for first, end in _stretches(begins):
            state = _forget(state, begins[:, first])
            out, state = self._unbroken(x[:, first:end], state)
            outs.append(out)
        return torch.cat(outs, 1), state

    def _unbroken(self, x: Float[Tensor, "B T F"], state: Float[Tensor, "S L B D"]) -> tuple[Tensor, Tensor]:
        if x.shape[1] > SHORT:
            return self._kernel(x, state)
        outs = []
        for row in x.unbind(1):
            out, state = self._row(row, state)
            outs.append(out)
        return torch.stack(outs, 1), state

    def _row(self, x: Float[Tensor, "n F"], state: Float[Tensor, "S L n D"]) -> tuple[Tensor, Tensor]:
        states = []
        for layer, before in enumerate(state.unbind(1)):
            after = self._cell(x, before, self.net.all_weights[layer])
            states.append(after)
            x = after[0]
        return x, torch.stack(states, 1)

    def _kernel(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _cell(self, x: Tensor, before: Tensor, weights: Sequence[Tensor]) -> Tensor:
        raise NotImplementedError


class LSTM(Recurrent):
    """Output h; carry (h, c) of every layer, H = 2 · layers · size."""

    def __init__(self, inputs: int, size: int = 128, layers: int = 1):
        Recurrent.__init__(self, nn.LSTM(inputs, size, layers, batch_first=True), 2)

    def _kernel(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        out, after = self.net(x, (state[0].contiguous(), state[1].contiguous()))
        return out, torch.stack(after)

    def _cell(self, x: Tensor, before: Tensor, weights: Sequence[Tensor]) -> Tensor:
        return torch.stack(torch.lstm_cell(x, (before[0], before[1]), *weights))


class GRU(Recurrent):
    """Output h, which is also the carry, H = layers · size."""

    def __init__(self, inputs: int, size: int = 128, layers: int = 1):
        Recurrent.__init__(self, nn.GRU(inputs, size, layers, batch_first=True), 1)

    def _kernel(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        out, after = self.net(x, state[0].contiguous())
        return out, after[None]

    def _cell(self, x: Tensor, before: Tensor, weights: Sequence[Tensor]) -> Tensor:
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]  # exporters do not know the cell
            return _gru_cell(x, before[0], *weights)[None]
        return torch.gru_cell(x, before[0], *weights)[None]


def _gru_cell(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor) -> Tensor:
    """The same by its formula."""
    (r_x, z_x, n_x), (r_h, z_h, n_h) = F.linear(x, w_x, b_x).chunk(3, 1), F.linear(h, w_h, b_h).chunk(3, 1)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    n = torch.tanh(n_x + r * n_h)
    return n + z * (h - n)


def _forget(state: Float[Tensor, "S L n D"], begins: Bool[Tensor, "n"]) -> Float[Tensor, "S L n D"]:
    """Zeros where an episode begins, by selection: a product would keep a NaN."""
    return torch.where(begins[:, None], 0.0, state)


def _stretches(begins: Bool[Tensor, "B T"]) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of the longest stretches in which episodes begin at the first row alone."""
    cuts = begins.any(0).nonzero()[:, 0].tolist()
    edges = sorted({0, *cuts, begins.shape[1]})
    return itertools.pairwise(edges)
