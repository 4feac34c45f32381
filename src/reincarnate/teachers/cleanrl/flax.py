"""CleanRL's JAX agents: networks recognised in the trees that flax stored."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from reincarnate.errors import UserError
from reincarnate.teachers.cleanrl.torch import Bounds, Recognised, value_head
from reincarnate.teachers.exported import widened
from reincarnate.teachers.heads import Bounded, Gaussian
from reincarnate.teachers.layers import SCREEN, Flat, mlp, widths
from reincarnate.teachers.wire.flaxtree import Parts, read_parts
from reincarnate.types import LOGITS, MEANS, VALUES

UNBOUND = "its file does not hold the bounds of its actions, taken as -1 to 1: name them, ?tells=means&low=…&high=…"


def recognise_flax(tree: Mapping[str, Any], bounds: Bounds | None = None) -> Recognised:
    """The network in a tree of `flax.serialization.to_bytes`. `bounds`: of continuous actions, which it does not hold.

    UserError: none of CleanRL's, or layers that do not fit.
    """
    args: Mapping[str, Any] = {}
    if "model_weights" in tree:  # C51
        args = tree["args"] if isinstance(tree.get("args"), dict) else {}
        tree = tree["model_weights"]
    elif set(tree) == {"0", "1"} and isinstance(tree["1"], dict) and "2" in tree["1"]:  # PPO: [args, [...]]
        args = tree["0"] if isinstance(tree["0"], dict) else {}
        return _policy(tree["1"], args)
    elif "0" in tree:  # DDPG and TD3: [actor, critics ...]
        return _actor(read_parts(tree["0"]), bounds)
    parts = read_parts(tree)
    modules, shape, words = _body(parts)
    head, actions, algorithm = value_head(parts.dense[-1].outputs, None, args)
    return Recognised(nn.Sequential(*modules, *head), words, algorithm, VALUES, shape, actions, args)


def _policy(tree: Mapping[str, Any], args: Mapping[str, Any]) -> Recognised:
    """PPO keeps network, actor and critic apart."""
    parts = read_parts(tree.get("0"))
    parts.dense += read_parts(tree.get("1")).dense
    modules, shape, words = _body(parts)
    return Recognised(nn.Sequential(*modules), words, "PPO", LOGITS, shape, parts.dense[-1].outputs, args)


def _actor(parts: Parts, bounds: Bounds | None) -> Recognised:
    modules, shape, words = _body(parts)
    actions = parts.dense[-1].outputs
    warnings = () if bounds else (UNBOUND,)
    bounds = widened(bounds or ((-1.0,), (1.0,)), actions, "its actor")
    assert bounds is not None
    low, high = (torch.tensor(bound) for bound in bounds)
    action = Bounded((high - low) / 2, (high + low) / 2)
    network = Gaussian(nn.Sequential(*modules[:-1]), modules[-1], None, action)
    words += ", tanh to the bounds, no spread: it tells means"
    return Recognised(network, words, "DDPG or TD3", MEANS, shape, actions, warnings=warnings, bounds=bounds)


def _body(parts: Parts) -> tuple[list[nn.Module], tuple[int, ...], str]:
    """Everything but the head, the shape of observations, and the network in words."""
    if not parts.dense:
        raise UserError("not supported: a network without fully connected layers")
    trunk = parts.trunk(same=False)
    if trunk is None:
        width = parts.dense[0].inputs
        words = f"MLP {widths(width, parts.dense)}, relu"
        return [Flat(), *mlp(parts.dense, width)], (width,), words
    first = parts.stacks[0][0] if parts.stacks else parts.convs[0]
    words = f"{trunk.words}, MLP {widths(trunk.features, parts.dense)}, relu"
    return [*trunk.modules, *mlp(parts.dense, trunk.features)], (first.inputs, *SCREEN), words
