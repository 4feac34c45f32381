"""A teacher's value network as a student's: its modules, one after another, by the names that a student gives them.

What the readers of CleanRL's and Dopamine's files build are chains of known modules; a student of the same function is
made of them, or it is said why there is none.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reincarnate.agents.imported import Imported
from reincarnate.errors import UserError
from reincarnate.nets.activations import Activation
from reincarnate.nets.torsos import SameConv2d
from reincarnate.students.families import DQN, PQN, QRDQN, Rainbow
from reincarnate.teachers.dopamine.network import Rescaled
from reincarnate.teachers.heads import Categorical, Dueling, Quantiles
from reincarnate.teachers.layers import Flat, Pixels
from reincarnate.types import VALUES, TaskSpec, TeacherCard

Tensors = dict[str, Tensor]
ACTIVATIONS: dict[type, Activation] = {nn.ReLU: "relu", nn.Tanh: "tanh"}


class Layers(NamedTuple):
    """Hidden layers with what lies behind each: its LayerNorm, or None; and the activation of them all."""

    linears: list[nn.Linear]
    norms: list[nn.LayerNorm | None]
    activation: Activation


class Chain(NamedTuple):
    """A network taken apart. `bounds`: observations are brought from these to [-1, 1] first; `last`: channels last."""

    convs: list[tuple[nn.Conv2d, nn.LayerNorm | None]]
    last: bool
    bounds: tuple[Tensor, Tensor] | None
    dense: Layers
    head: list[nn.Module]


def value_agent(path: Path, card: TeacherCard, network: nn.Module, said: tuple[str, ...] = ()) -> Imported:
    """The agent of a value teacher. UserError: a network that no value student has; it says which."""
    try:
        if card.tells != VALUES:
            raise UserError(f"a {card.algorithm} agent whose file is not known to hold its critic cannot go on")
        settings, tensors = value_weights(take_apart(network), card)
    except UserError as error:
        raise UserError(f"{path}: {error}; it can be a --teacher") from None
    return agent_of(path, card, settings, tensors, said)


def agent_of(path: Path, card: TeacherCard, settings: Any, tensors: Tensors, said: tuple[str, ...]) -> Imported:
    """An imported agent without targets or optimisers, checked. UserError: its tensors are not the student's."""
    settings.check(settings.copies)
    agent = Imported(
        path=path,
        student=settings,
        spec=spec_of(card),
        sha256=card.sha256,
        about={"env_steps": card.trained_env_steps, "imported": f"{card.algorithm}, {card.format}"},
        card=card,
        tensors={name: tensor.detach().float().clone() for name, tensor in tensors.items()},
        said=(*card.warnings, *said),
    )
    agent.network()
    return agent


def spec_of(card: TeacherCard) -> TaskSpec:
    """The task as far as a card tells."""
    shape = card.obs_shape or ()
    stack = shape[0] if len(shape) == 3 and shape[-1] > 16 else 1  # screens, not grids
    clip = card.protocol.get("reward_clip")
    env, dtype = card.env or "its task", card.obs_dtype or "float32"
    return TaskSpec(env, shape, dtype, card.actions or 0, stack, clip, dict(card.protocol), card.bounds)


def take_apart(network: nn.Module) -> Chain:
    """UserError: modules of another kind, or in another order."""
    modules, bounds, last, convs = list(_flat(network)), None, False, []
    if isinstance(modules[0], Pixels):
        modules.pop(0)
    while modules and isinstance(modules[0], nn.Conv2d):
        conv = modules.pop(0)
        norm = modules.pop(0) if isinstance(modules[0], nn.LayerNorm) else None
        _expect(modules, nn.ReLU)
        convs.append((conv, norm))
    last = _expect(modules, Flat).channels_last
    if modules and isinstance(modules[0], Rescaled):
        rescaled = modules.pop(0)
        bounds = (rescaled.low, rescaled.high)
    return Chain(convs, last, bounds, _hidden(modules), modules)  # pyright: ignore[reportArgumentType]


def _flat(network: nn.Module) -> list[nn.Module]:
    if isinstance(network, nn.Sequential):
        return [inner for module in network for inner in _flat(module)]
    return [network]


def _expect(modules: list[nn.Module], kind: type) -> Any:
    if not modules or not isinstance(modules[0], kind):
        found = type(modules[0]).__name__ if modules else "nothing"
        raise UserError(f"not supported: a network with {found} where a student has {kind.__name__}")
    return modules.pop(0)


def _hidden(modules: list[nn.Module]) -> Layers:
    """Take the hidden layers off the front: linear, perhaps its norm, and an activation."""
    linears, norms, activations = [], [], set()
    while len(modules) > 1 and isinstance(modules[0], nn.Linear) and type(modules[1]) in (nn.LayerNorm, *ACTIVATIONS):
        linears.append(modules.pop(0))
        norms.append(modules.pop(0) if isinstance(modules[0], nn.LayerNorm) else None)
        if not modules or type(modules[0]) not in ACTIVATIONS:
            raise UserError("not supported: a layer without an activation that students know")
        activations.add(ACTIVATIONS[type(modules.pop(0))])
    if not linears:
        raise UserError(f"not supported: no hidden layers before its {type(modules[0]).__name__}")
    if len(activations) > 1:
        raise UserError("not supported: layers of several activations")
    return Layers(linears, norms, activations.pop())


def value_weights(chain: Chain, card: TeacherCard) -> tuple[Any, Tensors]:
    """The student's settings, and its tensors."""
    norms = [*(norm for _, norm in chain.convs), *chain.dense.norms]
    if any(norms) and not all(norms):
        raise UserError("not supported: layer norms behind some layers and not behind others")
    tensors = _convolutions(chain) | hidden_tensors(chain, "torso.fc.layers" if chain.convs else "torso.layers")
    head, *rest = chain.head
    dueling = isinstance(head, Dueling)
    if isinstance(head, Dueling):
        tensors |= _layer("advantage", head.advantage) | _layer("value", head.value)
    elif isinstance(head, nn.Linear):
        tensors |= _layer("advantage", head)
    else:
        raise UserError(f"not supported: a {card.algorithm} agent that ends in {type(head).__name__}")
    if len(rest) > 1:
        raise UserError("not supported: modules behind its head")
    hidden = tuple(layer.out_features for layer in chain.dense.linears)
    shape: dict[str, Any] = {"hidden": hidden, "dueling": dueling, "layer_norm": all(norms), "n_step": 1}
    if chain.convs:
        shape["torso"] = "nature-same" if isinstance(chain.convs[0][0], SameConv2d) else "nature"
    elif chain.dense.activation != "relu":
        shape["activation"] = chain.dense.activation
    return _kind(rest, card, shape), tensors


def _kind(rest: list[nn.Module], card: TeacherCard, shape: dict[str, Any]) -> Any:
    """The family that reads its head."""
    match rest:
        case []:
            return PQN(**shape) if card.algorithm == "PQN" else DQN(**shape)
        case [Categorical() as head]:
            support = head.support
            even = torch.linspace(float(support[0]), float(support[-1]), len(support))
            if not torch.allclose(support, even, atol=1e-4):
                raise UserError("not supported: atoms that are not evenly spaced")
            return Rainbow(
                priority=0.0, atoms=len(support), low=float(support[0]), high=float(support[-1]), **{**shape}
            )
        case [Quantiles() as head]:
            return QRDQN(quantiles=head.quantiles, **shape)
    raise UserError(f"not supported: a {card.algorithm} agent with {type(rest[0]).__name__}")


def _layer(name: str, module: nn.Linear | nn.Conv2d | nn.LayerNorm) -> Tensors:
    assert module.bias is not None
    return {f"{name}.weight": module.weight.detach(), f"{name}.bias": module.bias.detach()}


def _convolutions(chain: Chain) -> Tensors:
    tensors: Tensors = {}
    for i, (conv, norm) in enumerate(chain.convs, 1):
        tensors |= _layer(f"torso.conv{i}", conv) | (_layer(f"torso.norm{i}", norm) if norm else {})
    return tensors


def hidden_tensors(chain: Chain, prefix: str) -> Tensors:
    """The hidden layers, numbered below `prefix`: the first one's inputs in our order and units."""
    tensors: Tensors = {}
    norms = prefix.replace("layers", "norms")
    for i, (layer, norm) in enumerate(zip(chain.dense.linears, chain.dense.norms, strict=True)):
        tensors |= _layer(f"{prefix}.{i}", layer) | (_layer(f"{norms}.{i}", norm) if norm else {})
    first = f"{prefix}.0"
    if chain.last and chain.convs:
        tensors[f"{first}.weight"] = _channels_first(tensors[f"{first}.weight"], chain.convs[-1][0].out_channels)
    if chain.bounds is not None:  # W (2 (x − l)/(h − l) − 1) + b is a layer of x
        low, high = (bound.double() for bound in chain.bounds)
        weight, bias = (tensors[f"{first}.{part}"].double() for part in ("weight", "bias"))
        scale, shift = 2 / (high - low), -(high + low) / (high - low)
        tensors |= {f"{first}.weight": weight * scale, f"{first}.bias": bias + weight @ shift}
    return tensors


def _channels_first(weight: Tensor, channels: int) -> Tensor:
    """Inputs that count rows, columns, channels, in the order channels, rows, columns."""
    side = math.isqrt(weight.shape[1] // channels)
    return weight.unflatten(1, (side, side, channels)).permute(0, 3, 1, 2).flatten(1)
