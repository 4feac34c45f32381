"""Floating-point operations of students that are made of several networks; see `nets.flops`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from reincarnate.losses.decorrelation import decorrelation_flops
from reincarnate.nets.flops import LEARNING_PASSES, forward_flops
from reincarnate.types import Cost

if TYPE_CHECKING:
    from reincarnate.students.continuous import ContinuousStudent
    from reincarnate.students.policy import PolicyStudent
    from reincarnate.students.value import ValueStudent


def cost_of_values(student: "ValueStudent") -> Cost:
    """Of a value student. Without a target network online updates need three passes.

    Where a rollout keeps the values that were acted by, its last steps are asked again; those that end an episode,
    which are too, are not counted.
    """
    settings, obs = student.settings, student.blank()
    act = float(forward_flops(student.network, obs, *student.critic.at_rest(1)))
    drawn = student.critic.draw(1, np.random.default_rng(0))[0]
    learn = float(forward_flops(student.network, obs, *drawn)) * settings.batch_size
    passes, more = LEARNING_PASSES + 1 + settings.double, 0.0
    if settings.decorrelate:
        width = student.network(obs, *student.critic.at_rest(1), both=True)[1].shape[-1]
        more = decorrelation_flops(settings.batch_size, width)
    if settings.on_rollouts:
        anew = 1 / settings.rollout if student.keeps_values else 1  # pyright: ignore[reportAttributeAccessIssue]
        return Cost(act, learn * LEARNING_PASSES + more, learn * passes + more, act * anew)
    return Cost(act, learn * passes + more, learn * passes + more)


def cost_of_actor_critic(student: "ContinuousStudent") -> Cost:
    """Of an off-policy student of continuous actions. A critic's step has a pass of the targets before it."""
    settings, net, obs = student.settings, student.network, student.blank()
    action = torch.zeros(1, student.spec.actions, device=student.device)
    act = float(forward_flops(net, obs))
    critic = float(forward_flops(net.critic, net.norm(obs), action))
    values = critic * (1 + LEARNING_PASSES) + act
    if net.value is not None:
        values += forward_flops(net.value, net.norm(obs)) * (1 + LEARNING_PASSES)
    policy = act * LEARNING_PASSES + critic * (LEARNING_PASSES - 1)  # no products for the critics' own gradient
    learn = settings.batch_size * (values + policy / settings.actor_every)
    if settings.decorrelate:
        widths = [net.critic.torso.features] * settings.critics
        own = decorrelation_flops(settings.batch_size, net.actor.torso.features)  # pyright: ignore
        learn += sum(decorrelation_flops(settings.batch_size, width) for width in widths) + own / settings.actor_every
    return Cost(act, learn, learn)


def cost_of_policy(student: "PolicyStudent", copies: int) -> Cost:
    """An on-policy student's; prior data's successors take a pass of the critic's more."""
    net, obs, settings = student.network, student.blank(), student.settings
    act, value = (float(forward_flops(_Part(part), obs)) for part in (net.tell, net.values))
    whole, batch = float(forward_flops(net, obs)), settings.pace(copies).batch
    learn = whole * batch * LEARNING_PASSES
    if settings.decorrelate:
        layers = {id(layer): layer.shape[-1] for layer in net.features(net.seen(obs))}
        learn += sum(decorrelation_flops(batch, width) for width in layers.values())
    return Cost(act, learn, learn + value * batch, act + value)


class _Part(nn.Module):
    """A part of a network, to be counted."""

    def __init__(self, forward: Callable[[Tensor], Tensor]):
        nn.Module.__init__(self)
        self._forward = forward

    def forward(self, obs: Tensor) -> Tensor:
        return self._forward(obs)
