"""Forward passes of many networks of one shape at once: parameters [S, …], inputs of S equal parts.

Small layers become batched matrix products; networks with other layers go through `torch.func.vmap`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from reincarnate.nets.noisy import noise_windows
from reincarnate.nets.qnet import QNetwork
from reincarnate.nets.torsos import MLP, MinAtarCNN, as_float

Windows = dict[str, Tensor]


def stacked_forward(
    module: nn.Module, parameters: Windows, noise: Tensor | None, obs: Tensor, *arguments: Tensor
) -> Tensor:
    """Outputs [S·B, A, …] for obs [S·B, …] and arguments [S·B, …]: the parts one after another.

    `parameters` are [S, …] by name, `noise` is [S, N] or None; `module` says how they are connected.
    """
    return _forward(module, parameters, noise, obs, arguments, both=False)


def stacked_both(
    module: nn.Module, parameters: Windows, noise: Tensor | None, obs: Tensor, *arguments: Tensor
) -> tuple[Tensor, Tensor]:
    """As `stacked_forward`, and the features [S, B, F] that the heads read."""
    return _forward(module, parameters, noise, obs, arguments, both=True)


def _forward(
    module: nn.Module, parameters: Windows, noise: Tensor | None, obs: Tensor, arguments: tuple[Tensor, ...], both: bool
) -> Any:
    seeds = next(iter(parameters.values())).shape[0]
    inputs = [x.unflatten(0, (seeds, -1)) for x in (obs, *arguments)]
    if noise is None and not arguments and isinstance(module, QNetwork) and _is_plain(module):
        out, features = _products(module, parameters, inputs[0])
        return (out.flatten(0, 1), features) if both else out.flatten(0, 1)

    def once(parameters: Windows, noise: Tensor | None, *inputs: Tensor) -> Any:
        windows = {} if noise is None else noise_windows(module, noise)
        return functional_call(module, {**parameters, **windows}, inputs, {"both": True} if both else None)

    in_dims = (0, None if noise is None else 0, *(0 for _ in inputs))
    out = vmap(once, in_dims=in_dims)(parameters, noise, *inputs)
    return (out[0].flatten(0, 1), out[1]) if both else out.flatten(0, 1)


def _is_plain(module: QNetwork) -> bool:
    """An MLP, or MinAtar's network, of linear layers and LayerNorms."""
    layers = isinstance(module.torso, MLP | MinAtarCNN) and isinstance(module.advantage, nn.Linear)
    relu = not isinstance(module.torso, MLP) or module.torso.activation == "relu"
    return layers and relu and not module.in_bfloat16


def _products(module: QNetwork, parameters: Windows, obs: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs [S, B, A, …] and features [S, B, F]."""
    if isinstance(module.torso, MinAtarCNN):
        x = _conv(parameters, "torso.conv1", as_float(obs).movedim(-1, 2))
        x = torch.relu(_norm(parameters, "torso.norm1", x)).flatten(2)
        x = _layers(module.torso.fc, parameters, "torso.fc", x)
    else:
        x = _layers(module.torso, parameters, "torso", as_float(obs).flatten(2))  # pyright: ignore
    out = _by_action(module, _linear(parameters, "advantage", x))
    if module.value is not None:
        out = out - out.mean(2, keepdim=True) + _by_action(module, _linear(parameters, "value", x))
    return out, x


def _by_action(module: QNetwork, x: Tensor) -> Tensor:
    return x if module.outputs == 1 else x.unflatten(-1, (-1, module.outputs))


def _layers(mlp: MLP, parameters: Windows, prefix: str, x: Tensor) -> Tensor:
    for i in range(len(mlp.layers)):
        x = torch.relu(_norm(parameters, f"{prefix}.norms.{i}", _linear(parameters, f"{prefix}.layers.{i}", x)))
    return x


def _linear(parameters: Windows, name: str, x: Tensor) -> Tensor:
    """[S, B, in] to [S, B, out]."""
    return torch.baddbmm(parameters[f"{name}.bias"][:, None], x, parameters[f"{name}.weight"].mT)


def _conv(parameters: Windows, name: str, x: Tensor) -> Tensor:
    """A VALID convolution: [S, B, C, H, W] to [S, B, out, H', W'], as one of S groups (of five ways the quickest)."""
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    seeds, filters = weight.shape[:2]
    out = nn.functional.conv2d(x.transpose(0, 1).flatten(1, 2), weight.flatten(0, 1), bias.flatten(), groups=seeds)
    return out.unflatten(1, (seeds, filters)).transpose(0, 1)


def _norm(parameters: Windows, name: str, x: Tensor) -> Tensor:
    """LayerNorm over all but the first two axes, where the network has one."""
    if f"{name}.weight" not in parameters:
        return x
    axes = list(x.shape[2:])
    scale, shift = parameters[f"{name}.weight"][:, None], parameters[f"{name}.bias"][:, None]
    return nn.functional.layer_norm(x, axes) * scale + shift
