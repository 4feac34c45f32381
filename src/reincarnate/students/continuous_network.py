"""The network of an off-policy student of continuous actions, as its settings shape it: without and with memories."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from reincarnate.errors import UserError
from reincarnate.nets import memory as memories
from reincarnate.nets.actorcritic import ActorCriticNetwork, Entropy
from reincarnate.nets.actors import Actor, ActorKind, Spread, ValueNetwork, actor_head, build_actor, build_value
from reincarnate.nets.dense import DenseShape, head_for, torso_for
from reincarnate.nets.memory import Remembering
from reincarnate.nets.normalise import ObservationNorm
from reincarnate.nets.qcritics import QCritics, build_critics
from reincarnate.nets.qnet import natural_torso
from reincarnate.nets.remembering import RecurrentActorCritic, RecurrentCritics, Remembered
from reincarnate.types import MEANS, TaskSpec

if TYPE_CHECKING:
    from reincarnate.students.continuous_settings import ContinuousSettings


def build(
    settings: "ContinuousSettings",
    spec: TaskSpec,
    seed: int,
    actor: DenseShape,
    critic: DenseShape,
    spread: Spread | None,
    entropy: Entropy | None,
) -> ActorCriticNetwork:
    """A fresh network, initialised from `seed` alone. Raises UserError where student and task clash."""
    _check(settings, spec)
    actor, critic = (replace(shape, half=settings.bfloat16) for shape in (actor, critic))
    kind: Literal["means", "squashed"] = "means" if settings.predicts == MEANS else "squashed"
    norm, outputs = ObservationNorm(spec.obs_shape) if settings.normalise else None, settings.critic().outputs
    if settings.remembers:
        critics = _critics(settings, spec, critic, seed + 1, outputs)
        value = _value(settings, spec, critic, seed + 2) if settings.expectile else None
        first = _actor(settings, spec, actor, kind, seed, spread)
        return RecurrentActorCritic(first, critics, norm, entropy, value)
    first = build_actor(spec, actor, kind, seed, spread)
    size = math.prod(spec.obs_shape)
    critics = build_critics(settings.critics, size, spec.actions, critic, seed + 1, outputs)
    value = build_value(spec, critic, seed + 2) if settings.expectile else None
    return ActorCriticNetwork(first, critics, norm, entropy, value)


def _check(settings: "ContinuousSettings", spec: TaskSpec) -> None:
    if not spec.continuous:
        raise UserError(
            f"{spec.id} has discrete actions; a {type(settings).__name__} student needs continuous ones: "
            "use --student dqn"
        )
    if natural_torso(spec) not in ("mlp", "keyed"):
        raise UserError(
            f"{spec.id} shows {spec.obs_shape}; a {type(settings).__name__} student sees flat vectors alone: "
            "use --student ppo"
        )


def _remembered(spec: TaskSpec, shape: DenseShape, memory: Remembering, own: bool = False) -> Remembered:
    """A fresh torso and memory, from torch's global generator."""
    torso: nn.Module = torso_for(spec, shape)
    return Remembered(torso, memories.build(torso.features, memory), own, shape.half)  # pyright: ignore


def _actor(
    memory: Remembering, spec: TaskSpec, shape: DenseShape, kind: ActorKind, seed: int, spread: Spread | None
) -> Actor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torso = _remembered(spec, shape, memory, own=True)
        return Actor(torso, actor_head(torso.features, spec.actions, shape, kind, spread, False), kind)


def _critics(
    settings: "ContinuousSettings", spec: TaskSpec, shape: DenseShape, seed: int, outputs: int
) -> RecurrentCritics:
    """The heads, which alone are as many as there are critics, have one hidden layer of the torso's last width."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        remembered = _remembered(spec, shape, settings)
        inputs, last = remembered.features + math.prod(spec.obs_shape), replace(shape, hidden=shape.hidden[-1:])
        return RecurrentCritics(remembered, QCritics(settings.critics, inputs, spec.actions, outputs, last))


def _value(memory: Remembering, spec: TaskSpec, shape: DenseShape, seed: int) -> ValueNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torso = _remembered(spec, shape, memory)
        return ValueNetwork(torso, head_for(torso.features, 1, shape, 1.0))
