"""What follows the trunk of Dopamine's networks: recognised by its dense layers and how many numbers end it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from reincarnate.errors import UserError
from reincarnate.teachers.heads import Categorical, Dueling, Implicit, Quantiles
from reincarnate.teachers.layers import Layer, linear, mlp, widths

ATOMS, QUANTILES = 51, 200
"""Numbers per action of Dopamine's C51 and Rainbow, and of its QR-DQN."""
MOST_ACTIONS = 18  # of an Atari game
SUPPORT = 10.0


class Head(NamedTuple):
    """Modules from flat features to action values, in words, and what they say of the agent."""

    modules: list[nn.Module]
    words: str
    actions: int
    algorithm: str
    warnings: tuple[str, ...] = ()


def read_head(dense: Sequence[Layer], features: int, actions: int | None, quantiles: bool = False) -> Head:
    """The dense layers of IQN, of a dueling network, or a plain chain.

    `actions`: of the task, where outputs alone do not say how many there are. `quantiles`: 51 numbers per action
    are quantiles. UserError: the layers do not chain, or how many actions there are cannot be told.
    """
    if len(dense) == 3 and dense[0].outputs == features != dense[0].inputs:
        embedding, *after = dense
        words = f"embedding {embedding.inputs}, MLP {widths(features, after)}, relu"
        head = Implicit(linear(embedding, embedding.inputs), nn.Sequential(*mlp(after, features)))
        return Head([head], words, after[-1].outputs, "IQN")
    if len(dense) == 3 and dense[1].inputs == dense[2].inputs == dense[0].outputs != dense[1].outputs:
        return _dueling(dense[0], dense[1], dense[2], features)
    modules, words = mlp(dense, features), f"MLP {widths(features, dense)}, relu"
    each = _numbers_per_action(outputs := dense[-1].outputs, actions)
    if each == 1:
        return Head(modules, words, outputs, "DQN")
    if each == ATOMS and not quantiles:
        return _categorical(Head(modules, words, outputs // each, "C51 or Rainbow"), each)
    return Head([*modules, Quantiles(each)], words, outputs // each, "QR-DQN")


def _dueling(hidden: Layer, advantage: Layer, value: Layer, features: int) -> Head:
    """Advantages come before values, of which there is one for each atom."""
    if advantage.outputs % value.outputs:
        raise UserError(f"layers do not chain: {advantage.outputs} advantages beside {value.outputs} values")
    dueling = Dueling(linear(advantage, hidden.outputs), linear(value, hidden.outputs))
    words = f"MLP {widths(features, [hidden])} and dueling {advantage.outputs} + {value.outputs}, relu"
    modules = [*mlp([hidden], features), nn.ReLU(), dueling]
    actions = advantage.outputs // value.outputs
    if value.outputs == 1:
        return Head(modules, words, actions, "DQN")
    return _categorical(Head(modules, words, actions, "Rainbow"), value.outputs)


def _categorical(head: Head, atoms: int) -> Head:
    """With the means over Dopamine's own support, which its checkpoints do not hold."""
    warning = f"values are means over {atoms} atoms from -10 to 10, Dopamine's own support: its file holds none"
    support = Categorical(torch.linspace(-SUPPORT, SUPPORT, atoms))
    return head._replace(modules=[*head.modules, support], warnings=(*head.warnings, warning))


def _numbers_per_action(outputs: int, actions: int | None) -> int:
    """1, or Dopamine's 51 or 200, or what makes so many actions. UserError: it cannot be told."""
    known = [k for k in (1, ATOMS, QUANTILES) if outputs % k == 0 and 2 <= outputs // k <= MOST_ACTIONS]
    if fitting := [k for k in known if outputs == k * (actions or 0)] or known:
        return fitting[0]
    if actions is None or outputs % actions:
        raise UserError(f"its {outputs} outputs do not say how many actions it has; open it for its task (--env)")
    return outputs // actions
