"""CleanRL's torch agents: networks recognised by the names and shapes in their state dicts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.teachers.heads import Bounded, Categorical, FixedSpread, Gaussian, LinearSpread
from reincarnate.teachers.layers import (
    MOST_LAYERS,
    SCREEN,
    Flat,
    Layer,
    checked,
    impala,
    linear,
    mlp,
    nature,
    normed,
    widths,
)
from reincarnate.types import LOGITS, MEANS, VALUES

UNSAVED = "was trained on normalised observations, whose statistics CleanRL does not save: it sees others here"
WRAPPED = ("state_dict", "model_state_dict", "agent_state_dict", "model", "agent", "network", "q_network", "actor")
"""Keys under which people keep an agent's state dict in what they save; others may lie beside it."""
PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
LOG_STD = (-5.0, 2.0)  # where CleanRL's SAC brings log σ
BLOCKS = ("conv", "res_block0.conv0", "res_block0.conv1", "res_block1.conv0", "res_block1.conv1")

Bounds = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Recognised:
    """A network from raw observations to what it tells, and what its file says of it."""

    network: nn.Module
    words: str
    algorithm: str
    tells: str
    obs_shape: tuple[int, ...]
    actions: int
    args: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    bounds: Bounds | None = None

    @property
    def pixels(self) -> bool:
        """Whether it looks at screens."""
        return len(self.obs_shape) == 3


def recognise_torch(saved: Any, size: int) -> Recognised:
    """The network in what `torch.load` gave of a file of `size` bytes. UserError: none of CleanRL's, or misfits."""
    (state, *_), args = state_dicts(saved)
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > size:
        raise UserError("its layers share their numbers, which CleanRL's never do; refused")
    if "fc1.weight" in state:
        return _actor(state)
    if "actor_mean.0.weight" in state:
        return _gaussian(state)
    if "actor.0.weight" in state:
        return _ppo(state)
    if "network.0.weight" in state or "network.0.conv.weight" in state:
        return _network(state, args)
    raise UserError(f"not supported: an agent with layers such as {', '.join(sorted(state)[:3])[:120] or 'none'}")


def state_dicts(saved: Any) -> tuple[list[dict[str, Tensor]], Mapping[str, Any]]:
    """The agent's state dict, and those of its critics where they are apart; the arguments of the training.

    UserError: there is none.
    """
    args: Any = {}
    if isinstance(saved, dict) and isinstance(saved.get("model_weights"), dict):  # C51
        args, saved = saved.get("args") or {}, saved["model_weights"]
    elif isinstance(saved, dict) and (inner := _wrapped(saved)):
        args, saved = saved.get("args") or {}, inner
    several = list(saved) if isinstance(saved, tuple | list) else [saved]  # DDPG and TD3: the actor, then its critics
    if not several or not isinstance(several[0], dict) or not all(isinstance(name, str) for name in several[0]):
        raise UserError("not an agent of CleanRL: no state dict was found in it")
    dicts = [one for one in several if isinstance(one, dict) and all(isinstance(name, str) for name in one)]
    tensors = [{name: tensor for name, tensor in one.items() if isinstance(tensor, Tensor)} for one in dicts]
    return [_plain(one) for one in tensors], args if isinstance(args, dict) else {}


def _wrapped(saved: dict[Any, Any]) -> dict[str, Tensor] | None:
    """The state dict that lies one level down, where none lies here: under a known key, or the only one there."""
    if any(isinstance(value, Tensor) and value.ndim for value in saved.values()):
        return None
    inner = {
        key: value
        for key, value in saved.items()
        if isinstance(value, dict) and any(isinstance(one, Tensor) for one in value.values())
    }
    known = [key for key in WRAPPED if key in inner] or (list(inner) if len(inner) == 1 else [])
    return inner[known[0]] if known else None


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without what wrappers of the network put before them all."""
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _network(state: dict[str, Tensor], args: Mapping[str, Any]) -> Recognised:
    """What CleanRL calls `network`: values (DQN, C51, QDagger), or with `actor` after it a policy (PPO on Atari)."""
    convs, stacks, dense = _sequence(state, "network.")
    policy = "actor.weight" in state
    if policy:
        dense.append(_layer(state, "actor"))
    _refuse_others(state, ("network.", "actor.", "critic.", "atoms"))
    if not dense:
        raise UserError("not supported: a network without fully connected layers")
    if convs and stacks:
        raise UserError("not supported: plain convolutions and residual stacks in one network")
    if convs or stacks:
        trunk = impala(stacks, False, False) if stacks else nature(convs, False, False)
        modules, width, words = trunk.modules, trunk.features, f"{trunk.words}, "
        shape = ((stacks[0] if stacks else convs)[0].inputs, *SCREEN)
    else:
        modules, width, words = [Flat()], dense[0].inputs, ""
        shape = (width,)
    modules = [*modules, *mlp(dense, width)]
    layered = any(layer.norm for layer in (*convs, *dense))
    words += f"MLP {widths(width, dense)}, {'layer norm, ' if layered else ''}relu"
    if policy:
        return Recognised(nn.Sequential(*modules), words, "PPO", LOGITS, shape, dense[-1].outputs, args)
    head, actions, algorithm = value_head(dense[-1].outputs, state.get("atoms"), args)
    algorithm = "PQN" if layered and algorithm == "DQN" else algorithm
    return Recognised(nn.Sequential(*modules, *head), words, algorithm, VALUES, shape, actions, args)


def value_head(outputs: int, atoms: Tensor | None, args: Mapping[str, Any]) -> tuple[list[nn.Module], int, str]:
    """What follows a value network, the number of actions, and the algorithm: C51 where there are atoms."""
    if atoms is None:
        if "n_atoms" not in args:
            return [], outputs, "DQN"
        atoms = _support(args)
    if atoms.ndim != 1 or not 2 <= len(atoms) <= outputs or outputs % len(atoms) or not atoms.isfinite().all():
        raise UserError(f"its {outputs} outputs are not a whole number of actions with {tuple(atoms.shape)} atoms each")
    return [Categorical(atoms)], outputs // len(atoms), "C51"


def _support(args: Mapping[str, Any]) -> Tensor:
    low, high, atoms = (args.get(key) for key in ("v_min", "v_max", "n_atoms"))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (low, high))
    if not numbers or not isinstance(atoms, int) or not 2 <= atoms <= 10_000 or not low < high:  # pyright: ignore
        raise UserError(f"its support is {str(low)[:20]} to {str(high)[:20]} in {str(atoms)[:20]} atoms, which is none")
    return torch.linspace(float(low), float(high), atoms)  # pyright: ignore[reportArgumentType]


def _ppo(state: dict[str, Tensor]) -> Recognised:
    _, _, dense = _sequence(state, "actor.")
    _refuse_others(state, ("actor.", "critic."))
    network, width = _tanh(dense)
    return Recognised(network, f"MLP {widths(width, dense)}, tanh", "PPO", LOGITS, (width,), dense[-1].outputs)


def _gaussian(state: dict[str, Tensor]) -> Recognised:
    _, _, dense = _sequence(state, "actor_mean.")
    _refuse_others(state, ("actor_mean.", "actor_logstd", "critic."))
    network, width = _tanh(dense)
    *features, mean = network
    words = f"MLP {widths(width, dense)}, tanh, clipped by its task"
    log_std, actions = state.get("actor_logstd"), dense[-1].outputs
    spread = None
    if log_std is not None:
        if log_std.numel() != actions or not log_std.is_floating_point() or not log_std.isfinite().all():
            raise UserError(f"actor_logstd: not {actions} finite spreads, one for each number in an action")
        spread, words = FixedSpread(log_std.flatten()), f"{words}, one spread for all observations"
    network = Gaussian(nn.Sequential(*features), mean, spread, nn.Identity())
    return Recognised(network, words, "PPO", MEANS, (width,), actions, warnings=(UNSAVED,))


def _tanh(dense: list[Layer]) -> tuple[nn.Sequential, int]:
    if not dense:
        raise UserError("not supported: an actor without fully connected layers")
    width = dense[0].inputs
    return nn.Sequential(Flat(), *mlp(dense, width, nn.Tanh)), width


def _actor(state: dict[str, Tensor]) -> Recognised:
    """The actor of DDPG and TD3 (`fc_mu`) or SAC (`fc_mean`): tanh, scaled to the action's bounds."""
    last = "fc_mean" if "fc_mean.weight" in state else "fc_mu"
    _refuse_others(state, ("fc1.", "fc2.", f"{last}.", "fc_logstd.", "action_scale", "action_bias"))
    dense = [_layer(state, name) for name in ("fc1", "fc2", last)]
    width, actions = dense[0].inputs, dense[-1].outputs
    scale, bias = (state.get(f"action_{part}") for part in ("scale", "bias"))
    if scale is None or bias is None or scale.numel() not in (1, actions) or bias.numel() not in (1, actions):
        raise UserError(f"not supported: an actor without a scale and a bias for its {actions} numbers")
    if not (scale.isfinite().all() and bias.isfinite().all()):
        raise UserError("its action bounds hold NaN or infinity")
    scale, bias = scale.flatten().float().expand(actions), bias.flatten().float().expand(actions)
    *features, mean = mlp(dense, width)
    algorithm, words = "SAC" if last == "fc_mean" else "DDPG or TD3", f"MLP {widths(width, dense)}, relu"
    spread, told = None, "no spread: it tells means"
    if "fc_logstd.weight" in state:
        layer = _layer(state, "fc_logstd")
        if layer.outputs != actions:
            raise UserError(f"fc_logstd: {layer.outputs} spreads for {actions} numbers in an action")
        spread, told = LinearSpread(linear(layer, dense[-1].inputs), *LOG_STD, squashed=True), "spread by observation"
    network = Gaussian(nn.Sequential(Flat(), *features), mean, spread, Bounded(scale, bias))
    words += f", tanh to the bounds, {told}"
    bounds = tuple((bias - scale).tolist()), tuple((bias + scale).tolist())
    return Recognised(network, words, algorithm, MEANS, (width,), actions, bounds=bounds)


def _sequence(state: dict[str, Tensor], prefix: str) -> tuple[list[Layer], list[list[Layer]], list[Layer]]:
    """Convolutions, residual stacks and dense layers of an `nn.Sequential`, in order."""
    numbers = {int(found[1]) for name in state if (found := re.fullmatch(rf"{re.escape(prefix)}(\d{{1,3}})\..+", name))}
    if len(numbers) > MOST_LAYERS:
        raise UserError(f"not supported: {len(numbers)} layers; at most {MOST_LAYERS} can be read")
    used, convs, stacks, dense = set[str](), list[Layer](), list[list[Layer]](), list[Layer]()
    for name in (f"{prefix}{number}" for number in sorted(numbers)):
        weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
        if weight is not None and bias is not None and weight.ndim in (1, 3):  # PQN's LayerNorm
            before = dense or convs
            if not before or stacks:
                raise UserError(f"not supported: a LayerNorm ({name}) before any layer, or among residual stacks")
            before[-1] = normed(name, before[-1], weight, bias)
            used |= {f"{name}.weight", f"{name}.bias"}
            continue
        inner = [f"{name}.{block}" for block in BLOCKS] if f"{name}.conv.weight" in state else [name]
        layers = [_layer(state, one) for one in inner]
        used |= {f"{one}.{part}" for one in inner for part in ("weight", "bias")}
        if dense and layers[0].weight.ndim == 4:
            raise UserError(f"not supported: a convolution ({name}) after a fully connected layer")
        if len(layers) > 1:
            stacks.append(layers)
        else:
            (convs if layers[0].weight.ndim == 4 else dense).append(layers[0])
    if left := [name for name in state if name.startswith(prefix) and name not in used]:
        raise UserError(f"not supported: layers such as {left[0][:60]!r}")
    return convs, stacks, dense


def _layer(state: dict[str, Tensor], name: str) -> Layer:
    weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
    if weight is None or bias is None:
        raise UserError(f"not supported: {name[:60]!r} is no layer with a weight and a bias")
    return checked(name, weight, bias)


def _refuse_others(state: dict[str, Tensor], known: tuple[str, ...]) -> None:
    if left := [name for name in state if not name.startswith(known)]:
        raise UserError(f"not supported: layers such as {left[0][:60]!r}")
