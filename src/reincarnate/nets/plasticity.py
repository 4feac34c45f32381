"""Keeping a network able to learn: shrink and perturb, frozen parameters, dormant units (`nets/surgery.py` is next)."""

import itertools
import re
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float32
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.nets.names import Names, Weights, copies, under
from reincarnate.nets.torsos import MLP, MinAtarCNN, NatureCNN

Masks = Mapping[str, Bool[Tensor, "_"]]
"""For each layer, which of its units (rows, or channels of a convolution) are meant."""

CHAINS = (MLP, MinAtarCNN, NatureCNN)
"""The torsos whose layers follow one another."""


def reset_head(weights: Weights, fresh: Weights) -> dict[str, Tensor]:
    """The torso of `weights` and everything else of `fresh`."""
    torso = {name: tensor for name, tensor in weights.items() if under(name, "torso")}
    return copies(torso | {name: tensor for name, tensor in fresh.items() if not under(name, "torso")})


def shrink_and_perturb(
    weights: Weights, fresh: Weights, keep: float, names: str | Callable[[str], bool] = ""
) -> dict[str, Tensor]:
    """keep·w + (1 - keep)·fresh for the names that start with a prefix, or satisfy a predicate; the others as they are.

    Ash & Adams (2020) add Gaussian noise to shrunk weights; a fresh initialisation, as in D'Oro et al. (2023), has the
    right scale in every layer.
    """
    if not 0 <= keep <= 1:
        raise UserError(f"keep must be between 0 and 1, not {keep}")
    chosen = names if callable(names) else lambda name: under(name, names)
    new = copies(weights)
    for name in filter(chosen, weights):
        if name not in fresh or fresh[name].shape != weights[name].shape:
            raise UserError(f"there are no fresh weights of shape {list(weights[name].shape)} for {name!r}")
        new[name] = keep * new[name] + (1 - keep) * fresh[name].detach()
    return new


def freeze(module: nn.Module, prefixes: Names) -> list[str]:
    """Take the gradient of the parameters under these prefixes away, and give their names.

    `Flat` turns all gradients on, so this comes after it. An optimiser with momentum still moves what has just been
    frozen: undo its steps with `frozen_mask`.
    """
    names = _frozen(module, prefixes)
    for name in names:
        module.get_parameter(name).requires_grad_(False)
    return names


def frozen_mask(module: nn.Module, prefixes: Names) -> Float32[Tensor, "P"]:
    """1 where a parameter is under one of the prefixes, 0 elsewhere, laid out as in `Flat`."""
    names = set(_frozen(module, prefixes))
    # one value for a whole parameter, so the order of its elements in memory does not matter
    return torch.cat([p.new_full((p.numel(),), float(name in names)) for name, p in module.named_parameters()])


def _frozen(module: nn.Module, prefixes: Names) -> list[str]:
    """The names under the prefixes. Raises UserError for a prefix that no parameter has."""
    names = [name for name, _ in module.named_parameters()]
    for prefix in prefixes:
        if not any(under(name, prefix) for name in names):
            raise UserError(f"no parameter starts with {prefix!r}; there are: {', '.join(names)}")
    return [name for name in names if any(under(name, prefix) for prefix in prefixes)]


def following(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """The hidden layers of a value network, from first to last, and the layers that read each; heads read the last.

    For the torsos that are a chain of layers, each with its ReLU. Raises UserError for any other. IQN's torso is read
    by its `fc`, a hidden layer too, through a product with the embedding of τ.
    """
    torso = getattr(module, "torso", None)
    if not isinstance(torso, CHAINS):
        raise UserError(f"the layers of a {type(torso).__name__} do not make a plain chain; name the ones you mean")
    weights = [(name.removesuffix(".weight"), p) for name, p in module.named_parameters() if name.endswith(".weight")]
    layers = [name for name, p in weights if p.ndim in (2, 4)]  # a normalisation's have one or three dimensions
    hidden = [name for name in layers if under(name, "torso") or name == "fc"]
    heads = tuple(name for name in layers if name not in (*hidden, "embedding"))
    return {name: (after,) for name, after in itertools.pairwise(hidden)} | {hidden[-1]: heads}


@torch.no_grad()
def dormant(
    module: nn.Module, obs: Tensor, threshold: float, layers: Names | None = None, fractions: Tensor | None = None
) -> dict[str, Bool[Tensor, "_"]]:
    """Which units of each hidden layer are τ-dormant on a batch (Sokar et al., 2023, definition 3.1).

    Those whose mean activation, over the batch and for a channel over space, is at most `threshold` times the layer's
    mean. `layers` are fully connected or convolutional ones with a ReLU behind them or behind their normalisation; by
    default those of `following`. IQN's network is asked at `fractions`, over which the mean is too.
    """
    names = tuple(following(module)) if layers is None else layers
    activity: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
        # torsos apply the ReLU as a function, which has no hook of its own
        def hook(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
            activity[name] = torch.relu(output).movedim(1 if output.ndim == 4 else -1, 0).flatten(1).mean(1)

        return hook

    handles = [module.get_submodule(_last(module, name)).register_forward_hook(watch(name)) for name in names]
    try:
        module(obs) if fractions is None else module(obs, fractions)
    finally:
        for handle in handles:
            handle.remove()
    return {name: unit <= threshold * unit.mean() for name, unit in activity.items()}


@torch.no_grad()
def reset_dormant(
    module: nn.Module, masks: Masks, fresh: Weights, next_layers: Mapping[str, Names] | None = None
) -> int:
    """ReDo (Sokar et al., 2023): these units' incoming weights and bias from `fresh`, their outgoing weights zero.

    In place; gives the number of units. Their gain and bias in a normalisation become the fresh ones too. The paper
    also clears the optimiser's moments there: see `touched`.
    """
    incoming, outgoing = _entries(module, masks, following(module) if next_layers is None else next_layers)
    for name, entries in incoming.items():
        p = module.get_parameter(name)
        p.copy_(torch.where(entries, fresh[name].to(p), p))
    for name, entries in outgoing.items():  # last, for a fresh row may read a unit that is itself reset
        module.get_parameter(name).masked_fill_(entries, 0.0)
    return sum(int(mask.sum()) for mask in masks.values())


def touched(
    module: nn.Module, masks: Masks, next_layers: Mapping[str, Names] | None = None
) -> dict[str, Float32[Tensor, "..."]]:
    """1 where `reset_dormant` writes, 0 elsewhere, by parameter; `Flat.join` lays it out for an optimiser's moments."""
    written = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    for part in _entries(module, masks, following(module) if next_layers is None else next_layers):
        for name, entries in part.items():
            written[name].masked_fill_(entries, 1.0)
    return written


def _entries(
    module: nn.Module, masks: Masks, next_layers: Mapping[str, Names]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The masked units' incoming and their outgoing entries, by parameter, in shapes that broadcast to it."""
    incoming, outgoing = {}, {}
    for name, p in module.named_parameters():
        owner = name.rpartition(".")[0]
        for layer, mask in masks.items():
            if owner in (layer, _last(module, layer)):
                incoming[name] = mask.view(-1, *[1] * (p.ndim - 1))
            if owner in next_layers[layer] and p.ndim > 1:
                # a flattened channel owns H·W consecutive inputs
                inputs = mask.repeat_interleave(p.shape[1] // len(mask))
                outgoing[name] = inputs.view(1, -1, *[1] * (p.ndim - 2))
    return incoming, outgoing


def _last(module: nn.Module, layer: str) -> str:
    """What gives a layer's outputs to its ReLU: its normalisation, where our torsos have one, or itself."""
    norm = re.sub(r"(layers\.|conv)(\d+)$", lambda m: ("norms." if m[1] == "layers." else "norm") + m[2], layer)
    return norm if any(name == norm for name, _ in module.named_modules()) else layer
