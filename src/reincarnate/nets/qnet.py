"""Torsos and the value network. Layer names are stable: agents are read back for years (`docs/formats.md`)."""

import itertools
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.types import TaskSpec

TorsoName = Literal["auto", "mlp", "minatar", "nature"]


class MLP(nn.Module):
    """Fully connected layers with ReLU over the flattened observation."""

    def __init__(self, obs_shape: tuple[int, ...], hidden: tuple[int, ...]):
        nn.Module.__init__(self)
        sizes = (int(np.prod(obs_shape)), *hidden)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.features = sizes[-1]

    def forward(self, obs: Tensor) -> Float[Tensor, "B F"]:
        x = as_float(obs).flatten(1)
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


class MinAtarCNN(nn.Module):
    """The network of Young & Tian (2019): 16 filters 3×3, then `hidden` (128 there). Observations [B, H, W, C]."""

    def __init__(self, obs_shape: tuple[int, ...], hidden: tuple[int, ...]):
        nn.Module.__init__(self)
        rows, columns, channels = obs_shape
        self.conv1 = nn.Conv2d(channels, 16, 3)
        self.fc = MLP((16 * (rows - 2) * (columns - 2),), hidden)
        self.features = self.fc.features

    def forward(self, obs: Tensor) -> Float[Tensor, "B F"]:
        x = torch.relu(self.conv1(as_float(obs).permute(0, 3, 1, 2)))
        return self.fc(x.flatten(1))


class NatureCNN(nn.Module):
    """The network of Mnih et al. (2015), VALID padding, then `hidden` (512 there). Observations uint8[B, 4, 84, 84].

    Channels-last in memory, which is faster on a CPU (docs/log.md).
    """

    def __init__(self, obs_shape: tuple[int, ...], hidden: tuple[int, ...]):
        nn.Module.__init__(self)
        self.conv1 = nn.Conv2d(obs_shape[0], 32, 8, stride=4)
        self.conv2 = nn.Conv2d(32, 64, 4, stride=2)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.fc = MLP((64 * 7 * 7,), hidden)
        self.features = self.fc.features
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, obs: Tensor) -> Float[Tensor, "B F"]:
        x = as_float(obs.contiguous(memory_format=torch.channels_last))
        x = torch.relu(self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(x))))))
        return self.fc(x.flatten(1))


TORSOS = {"mlp": MLP, "minatar": MinAtarCNN, "nature": NatureCNN}
HIDDEN = {"mlp": (256, 256), "minatar": (128,), "nature": (512,)}
PIXEL_SCALE = 1 / 255


def as_float(obs: Tensor) -> Tensor:
    """uint8 pixels to [0, 1], booleans to {0, 1}, floats unchanged; float32 always."""
    if obs.dtype == torch.uint8:
        return obs.float().mul_(PIXEL_SCALE)
    return obs.float()


class QNetwork(nn.Module):
    """A torso and a head that gives each action's value; the head may be dueling (Wang et al., 2016, eq. 9)."""

    def __init__(self, torso: MLP | MinAtarCNN | NatureCNN, actions: int, dueling: bool):
        nn.Module.__init__(self)
        self.torso = torso
        self.advantage = nn.Linear(torso.features, actions)
        self.value = nn.Linear(torso.features, 1) if dueling else None

    def forward(self, obs: Tensor) -> Float[Tensor, "B A"]:
        features = self.torso(obs)
        q = self.advantage(features)
        if self.value is None:
            return q
        return q - q.mean(-1, keepdim=True) + self.value(features)


def build(spec: TaskSpec, torso: TorsoName, hidden: tuple[int, ...], dueling: bool, seed: int) -> QNetwork:
    """A fresh value network for a task, initialised from `seed` alone. Raises UserError where torso and task clash."""
    name = torso if torso != "auto" else natural_torso(spec)
    wants = {"minatar": 3, "nature": 3}.get(name)
    if wants is not None and (len(spec.obs_shape) != wants or name != natural_torso(spec)):
        raise UserError(f"torso {name!r} does not suit the observations {spec.obs_shape} of {spec.id}; use 'auto'")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return QNetwork(TORSOS[name](spec.obs_shape, hidden or HIDDEN[name]), spec.actions, dueling)


def natural_torso(spec: TaskSpec) -> str:
    """What `auto` means for a task."""
    if spec.stack > 1:
        return "nature"
    return "minatar" if len(spec.obs_shape) == 3 else "mlp"
