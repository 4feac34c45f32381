"""Dense torsos over flat observations: layers with a choice of activation and norm, and SimBa's residual blocks.

Layer names are stable: agents are read back for years (`docs/formats.md`).
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.nets.activations import ACTIVATIONS, Activation
from reincarnate.nets.init import HIDDEN_GAIN, Init, draw, draw_he, redraw
from reincarnate.nets.qnet import natural_torso, torso_maker
from reincarnate.nets.torsos import as_float
from reincarnate.types import TaskSpec

Norm = Literal["none", "every", "first"]
"""LayerNorm nowhere, after every linear layer, or as acme has it: after the first, and tanh for its activation."""
SIMBA_EXPANSION = 4


@dataclass(frozen=True)
class DenseShape:
    """What shapes a torso and the critics' networks.

    With `simba` > 0 it has so many residual blocks of width hidden[0] (Lee et al., 2025), and neither `activation` nor
    `norm` is read. `head_gain`: the last layer is orthogonal of this gain, its bias 0 (None: drawn as the others).
    """

    hidden: tuple[int, ...] = (256, 256)
    activation: Activation = "relu"
    norm: Norm = "none"
    simba: int = 0
    init: Init = "default"
    head_gain: float | None = None
    half: bool = False  # the torso computes in bfloat16 (`nets.precision`)

    def check(self) -> None:
        """Raise UserError where no network can be built."""
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"hidden {self.hidden} must name one layer or more, each of 1 unit or more")
        if self.simba < 0 or (self.simba and len(self.hidden) != 1):
            raise UserError(f"SimBa's blocks have one width, but hidden names {self.hidden}; give one number")


class Dense(nn.Module):
    """Linear layers, each with its norm and activation, over the flattened observation."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], activation: Activation = "relu", norm: Norm = "none"):
        nn.Module.__init__(self)
        sizes = (inputs, *hidden)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(nn.LayerNorm(n) if normed(norm, i) else nn.Identity() for i, n in enumerate(hidden))
        self.features, self._activations = sizes[-1], activations(activation, norm, len(hidden))

    def forward(self, obs: Tensor) -> Float[Tensor, "B F"]:
        x = as_float(obs).flatten(1)
        for layer, norm, activation in zip(self.layers, self.norms, self._activations, strict=True):
            x = activation(norm(layer(x)))
        return x


class Simba(nn.Module):
    """Linear, then blocks x + Linear(ReLU(Linear(LN(x)))) of four times the width inside, then LN (Lee et al., 2025).

    The observation's running normalisation, which belongs to it, is the student's (`nets.normalise`).
    """

    def __init__(self, inputs: int, width: int, blocks: int):
        nn.Module.__init__(self)
        self.embed = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(SimbaBlock(width) for _ in range(blocks))
        self.norm, self.features = nn.LayerNorm(width), width

    def forward(self, obs: Tensor) -> Float[Tensor, "B F"]:
        x = self.embed(as_float(obs).flatten(1))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def redraw(self) -> None:
        """As published: the first layer orthogonal of gain 1, the blocks' He-normal."""
        draw(self.embed.weight, self.embed.bias, "orthogonal", 1.0)
        for layer in self.blocks.modules():
            if isinstance(layer, nn.Linear):
                draw_he(layer.weight, layer.bias)


class SimbaBlock(nn.Module):
    """A pre-norm residual block."""

    def __init__(self, width: int):
        nn.Module.__init__(self)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, SIMBA_EXPANSION * width), nn.Linear(SIMBA_EXPANSION * width, width)

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        return x + self.down(torch.relu(self.up(self.norm(x))))


def normed(norm: Norm, layer: int) -> bool:
    """Whether this layer is followed by a LayerNorm."""
    return norm == "every" or (norm == "first" and layer == 0)


def activations(activation: Activation, norm: Norm, layers: int) -> list[Callable[[Tensor], Tensor]]:
    """The layers' activations in order."""
    return [torch.tanh if norm == "first" and i == 0 else ACTIVATIONS[activation] for i in range(layers)]


def torso_for(spec: TaskSpec, shape: DenseShape) -> nn.Module:
    """A fresh torso for a task, drawn from torch's global generator: dense for flat observations, else convolutional.

    Grids and screens get the torso that `auto` means for a value student; activation, norm and SimBa are for flat ones.
    """
    shape.check()
    if (name := natural_torso(spec)) != "mlp":
        torso = torso_maker(name, spec)(spec.obs_shape, shape.hidden, shape.norm == "every")
    elif shape.simba:
        torso = Simba(math.prod(spec.obs_shape), shape.hidden[0], shape.simba)
        torso.redraw()
        return torso
    else:
        torso = Dense(math.prod(spec.obs_shape), shape.hidden, shape.activation, shape.norm)
    if shape.init != "default":
        redraw(torso, shape.init)
    return torso


def head_for(features: int, outputs: int, shape: DenseShape, gain: float = HIDDEN_GAIN) -> nn.Linear:
    """A fresh last layer; `gain` is the orthogonal init's where the shape names none."""
    layer = nn.Linear(features, outputs)
    if shape.head_gain is not None:
        draw(layer.weight, layer.bias, "orthogonal", shape.head_gain)
    elif shape.init != "default" or shape.simba:
        draw(layer.weight, layer.bias, "orthogonal" if shape.simba else shape.init, 1.0 if shape.simba else gain)
    return layer
