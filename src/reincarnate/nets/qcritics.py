"""State-action critics Q(s, a): n networks of one shape as one module, their layers batched matrix products.

Weights are stacked, [n, in, out] and [n, 1, out]. Layer names are stable: agents are read back for years
(`docs/formats.md`).
"""

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reincarnate.nets.dense import SIMBA_EXPANSION, DenseShape, activations, normed
from reincarnate.nets.init import HIDDEN_GAIN, Init, draw, draw_he
from reincarnate.nets.precision import through
from reincarnate.nets.torsos import as_float

Draw = Callable[[Tensor, Tensor], None]
"""Fills weight [out, in] and bias [out] of one member."""


class StackedLinear(nn.Module):
    """n linear layers at once: [n, B, in] to [n, B, out]."""

    def __init__(self, n: int, inputs: int, outputs: int):
        nn.Module.__init__(self)
        self.weight, self.bias = nn.Parameter(torch.empty(n, inputs, outputs)), nn.Parameter(torch.empty(n, 1, outputs))

    def forward(self, x: Float[Tensor, "N B I"]) -> Float[Tensor, "N B O"]:
        return torch.baddbmm(self.bias, x, self.weight)

    def redraw(self, draw: Draw) -> None:
        """Fill the members one after another."""
        for weight, bias in zip(self.weight.data, self.bias.data, strict=True):
            draw(weight.mT, bias[0])


class StackedLayerNorm(nn.Module):
    """n layer norms over the last axis at once."""

    def __init__(self, n: int, features: int):
        nn.Module.__init__(self)
        self.weight, self.bias = nn.Parameter(torch.ones(n, 1, features)), nn.Parameter(torch.zeros(n, 1, features))

    def forward(self, x: Float[Tensor, "N B F"]) -> Float[Tensor, "N B F"]:
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:]), self.weight)


class StackedDense(nn.Module):
    """n `Dense` torsos at once."""

    def __init__(self, n: int, inputs: int, shape: DenseShape):
        nn.Module.__init__(self)
        sizes = (inputs, *shape.hidden)
        self.layers = nn.ModuleList(StackedLinear(n, a, b) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(
            StackedLayerNorm(n, width) if normed(shape.norm, i) else nn.Identity()
            for i, width in enumerate(shape.hidden)
        )
        self.features, self._activations = sizes[-1], activations(shape.activation, shape.norm, len(shape.hidden))
        for layer in self.layers:
            layer.redraw(_drawn(shape.init, HIDDEN_GAIN))  # pyright: ignore

    def forward(self, x: Float[Tensor, "N B I"]) -> Float[Tensor, "N B F"]:
        for layer, norm, activation in zip(self.layers, self.norms, self._activations, strict=True):
            x = activation(norm(layer(x)))
        return x


class StackedSimba(nn.Module):
    """n `Simba` torsos at once."""

    def __init__(self, n: int, inputs: int, shape: DenseShape):
        nn.Module.__init__(self)
        width = self.features = shape.hidden[0]
        self.embed, self.norm = StackedLinear(n, inputs, width), StackedLayerNorm(n, width)
        self.blocks = nn.ModuleList(StackedSimbaBlock(n, width) for _ in range(shape.simba))
        self.embed.redraw(_drawn("orthogonal", 1.0))

    def forward(self, x: Float[Tensor, "N B I"]) -> Float[Tensor, "N B F"]:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class StackedSimbaBlock(nn.Module):
    """n `SimbaBlock`s at once."""

    def __init__(self, n: int, width: int):
        nn.Module.__init__(self)
        self.norm = StackedLayerNorm(n, width)
        self.up = StackedLinear(n, width, SIMBA_EXPANSION * width)
        self.down = StackedLinear(n, SIMBA_EXPANSION * width, width)
        self.up.redraw(draw_he)
        self.down.redraw(draw_he)

    def forward(self, x: Float[Tensor, "N B F"]) -> Float[Tensor, "N B F"]:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class QCritics(nn.Module):
    """n critics of (observation, action): [n, B], or with `outputs` K > 1 (atoms, quantiles) [n, B, K]."""

    def __init__(self, n: int, observation: int, actions: int, outputs: int, shape: DenseShape):
        nn.Module.__init__(self)
        self.n, self.outputs, self.in_bfloat16 = n, outputs, shape.half
        torso = StackedSimba if shape.simba else StackedDense
        self.torso = torso(n, observation + actions, shape)
        self.head = StackedLinear(n, self.torso.features, outputs)
        self.head.redraw(_head_drawn(shape))

    def forward(self, obs: Tensor, action: Float[Tensor, "B A"]) -> Float[Tensor, "N B *K"]:
        """Observations [B, *O], actions in [-1, 1]."""
        return self.read(self.features(obs, action))

    def features(self, obs: Tensor, action: Float[Tensor, "B A"]) -> Float[Tensor, "N B F"]:
        """What each critic's head reads."""
        x = torch.cat([as_float(obs).flatten(1), action], -1)
        return through(self.torso, x.expand(self.n, *x.shape), self.in_bfloat16)

    def read(self, features: Float[Tensor, "N B F"]) -> Float[Tensor, "N B *K"]:
        """Their outputs."""
        if self.outputs > 1:
            return self.head(features)
        # on a CPU a batched product with one column takes several times as long
        return torch.linalg.vecdot(features, self.head.weight.mT) + self.head.bias[..., 0]

    def keep_first(self) -> None:
        """Be the first critic alone from now on, in the memory where it lies."""
        self.n = 1
        for parameter in self.parameters():
            parameter.data = parameter.data[:1]


def build_critics(n: int, observation: int, actions: int, shape: DenseShape, seed: int, outputs: int = 1) -> QCritics:
    """n fresh critics, initialised from `seed` alone; each member's weights differ. UserError: no such shape."""
    shape.check()
    if n < 1 or outputs < 1:
        raise ValueError(f"{n} critics of {outputs} outputs: at least one of each is needed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return QCritics(n, observation, actions, outputs, shape)


def _drawn(init: Init, gain: float) -> Draw:
    return lambda weight, bias: draw(weight, bias, init, gain)


def _head_drawn(shape: DenseShape) -> Draw:
    if shape.head_gain is not None:
        return _drawn("orthogonal", shape.head_gain)
    return _drawn("orthogonal" if shape.simba else shape.init, 1.0)
