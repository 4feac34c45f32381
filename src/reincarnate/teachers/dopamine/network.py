"""Dopamine's networks, recognised in a tree of flax parameters (TensorFlow's are brought into that form)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.nets.torsos import SameConv2d
from reincarnate.teachers.dopamine.heads import Head, read_head
from reincarnate.teachers.layers import SCREEN, Flat, Layer, Trunk, filled, mlp, widths
from reincarnate.teachers.wire.flaxtree import Parts, read_parts, stripped
from reincarnate.types import LOGITS, VALUES

BALLOON = 1099
"""Observations of the Balloon Learning Environment, whose agents hold 51 quantiles and not 51 atoms."""
CLASSIC = {
    (4, 2): ("CartPole", (-2.4, -5.0, -math.pi / 12, -2 * math.pi), (2.4, 5.0, math.pi / 12, 2 * math.pi)),
    (6, 3): ("Acrobot", (-1.0, -1.0, -1.0, -1.0, -5.0, -5.0), (1.0, 1.0, 1.0, 1.0, 5.0, 5.0)),
    (2, 3): ("MountainCar", (-1.2, -0.07), (0.6, 0.07)),
}
"""By (observations, actions): the bounds by which Dopamine's own configurations rescale observations to [-1, 1]."""


@dataclass(frozen=True)
class Built:
    """A network from raw observations to what it tells."""

    network: nn.Module
    words: str
    algorithm: str
    tells: str
    obs_shape: tuple[int, ...]
    actions: int
    preprocessing: str
    warnings: tuple[str, ...] = ()

    @property
    def atari(self) -> bool:
        """Whether it looks at screens of Atari."""
        return self.obs_shape[1:] == SCREEN


class Rescaled(nn.Module):
    """Observations between bounds to [-1, 1], as Dopamine does for classic control."""

    def __init__(self, low: tuple[float, ...], high: tuple[float, ...]):
        nn.Module.__init__(self)
        self.low, self.high = nn.Buffer(torch.tensor(low)), nn.Buffer(torch.tensor(high))

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        """2 (x - low) / (high - low) - 1."""
        return 2 * ((x - self.low) / (self.high - self.low)) - 1


class MinAtarConv(nn.Module):
    """Dopamine's convolution on MinAtar, whose observations it holds as [10, 10, C, 1].

    flax takes the first axis for a batch, so that the 3×3 windows lie over columns and channels and never over rows.
    """

    def __init__(self, layer: Layer, channels: int):
        nn.Module.__init__(self)
        with torch.device("meta"):
            conv = SameConv2d(1, layer.outputs, 3, 1, (10, channels))
        self.conv = filled(conv, layer)

    def forward(self, obs: Tensor) -> Float[Tensor, "B F"]:
        """[B, 10, 10, C] to features in the order rows, columns, channels, filters."""
        rows = obs.float().flatten(0, 1)[:, None]  # [B·10, 1, 10, C]
        return torch.relu(self.conv(rows)).movedim(1, -1).reshape(len(obs), -1)


def build(tree: dict[str, Any], actions: int | None) -> Built:
    """The network in a tree of parameters. `actions`: of the task, where the outputs do not say how many there are.

    UserError: not one of Dopamine's, or layers that do not chain.
    """
    tree = stripped(tree)
    if "_shared_network" in tree:
        return _policy(tree)
    parts = _with_dense(read_parts(tree))
    if not parts.convs and not parts.stacks:
        return _flat(parts, actions)
    if len(parts.convs) == 1 and tuple(parts.convs[0].weight.shape[1:]) == (1, 3, 3):
        return _minatar(parts, actions)
    trunk = parts.trunk(same=True)
    assert trunk is not None
    head = read_head(parts.dense, trunk.features, actions)
    return _built(trunk, head, VALUES, (_frames(parts), *SCREEN), "uint8 images divided by 255")


def _built(trunk: Trunk, head: Head, tells: str, shape: tuple[int, ...], preprocessing: str) -> Built:
    network = nn.Sequential(*trunk.modules, *head.modules)
    words = f"{trunk.words}, {head.words}" if trunk.words else head.words
    return Built(network, words, head.algorithm, tells, shape, head.actions, preprocessing, head.warnings)


def _with_dense(parts: Parts) -> Parts:
    if not parts.dense:
        raise UserError("not supported: a network without fully connected layers")
    return parts


def _frames(parts: Parts) -> int:
    return (parts.convs or parts.stacks[0])[0].inputs


def _flat(parts: Parts, actions: int | None) -> Built:
    """A network on vectors. Dopamine rescales those of classic control by bounds that its files do not hold."""
    width = parts.dense[0].inputs
    head = read_head(parts.dense, width, actions, quantiles=width == BALLOON)
    trunk, preprocessing = Trunk([Flat()], width, ""), "none"
    if (width, head.actions) in CLASSIC:
        name, low, high = CLASSIC[width, head.actions]
        preprocessing = f"rescaled by Dopamine's bounds of {name}"
        trunk.modules.append(Rescaled(low, high))
        warning = f"observations are {preprocessing}, which its file does not hold"
        head = head._replace(warnings=(*head.warnings, warning))
    return _built(trunk, head, VALUES, (width,), preprocessing)


def _minatar(parts: Parts, actions: int | None) -> Built:
    conv, features = parts.convs[0], parts.dense[0].inputs
    channels, rest = divmod(features, 100 * conv.outputs)
    if rest or not 1 <= channels <= 32:
        raise UserError(f"layers do not chain: {features} features of {conv.outputs} filters on MinAtar")
    trunk = Trunk([MinAtarConv(conv, channels)], features, f"MinAtar convolution {conv.outputs}")
    return _built(trunk, read_head(parts.dense, features, actions), VALUES, (10, 10, channels), "none")


def _policy(tree: dict[str, Any]) -> Built:
    """PPO on Atari: shared layers with VALID padding, then the actor's."""
    parts = read_parts(tree["_shared_network"])
    parts.dense += read_parts(tree.get("_actor")).dense
    trunk = _with_dense(parts).trunk(same=False)
    if trunk is None:
        raise UserError("not supported: a policy without convolutions")
    words = f"MLP {widths(trunk.features, parts.dense)}, relu"
    head = Head(mlp(parts.dense, trunk.features), words, parts.dense[-1].outputs, "PPO")
    return _built(trunk, head, LOGITS, (_frames(parts), *SCREEN), "uint8 images divided by 255")
