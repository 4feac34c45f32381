"""A student and a torso of your own: DQN with half the squared error for Huber's loss, on a network of tanh layers.

This is examples/own_student.py: in that folder, or with it on PYTHONPATH,

    reincarnate train scratch --import own_student --student squared --student.torso tanh --env CartPole-v1

A student is its settings, a frozen dataclass (`reincarnate.types.Settings`). Here it is one of ours with another
critic; one that shares nothing with ours has the methods of that protocol, and makes a `reincarnate.types.Student`.
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reincarnate import register_student, register_torso
from reincarnate.losses import values
from reincarnate.students.critics import Expected
from reincarnate.students.settings import ReplaySettings


class SquaredError(Expected):
    """One number per action; the loss is half the squared error."""

    def loss(self, out: Tensor, batch, target: Tensor, arguments) -> Tensor:
        return (values.pick(out, batch.action) - target) ** 2 / 2


@dataclass(frozen=True)
class Squared(ReplaySettings):
    """DQN with half the squared error: large errors count for more than Huber lets them."""

    max_grad_norm: float = 10.0  # such errors have large gradients; 0: gradients are not clipped

    def critic(self) -> SquaredError:
        return SquaredError()


class Tanh(nn.Module):
    """Fully connected layers with tanh over the flattened observation. `features` says how many numbers it gives."""

    hidden = (64, 64)  # unless --student.hidden says otherwise

    def __init__(self, obs_shape, hidden, layer_norm=False, linear=nn.Linear, width=1):
        nn.Module.__init__(self)
        sizes = (math.prod(obs_shape), *hidden)
        self.layers = nn.ModuleList(linear(a, b) for a, b in itertools.pairwise(sizes))
        self.features = sizes[-1]

    def forward(self, obs: Tensor) -> Tensor:
        x = obs.float().flatten(1)
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


register_student("squared", Squared)
register_torso("tanh", Tanh)
