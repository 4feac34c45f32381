"""Operations on weights by name (as of `state_dict`): fit them to another network, and keep what it computes.

All but `load` are pure: they return new dictionaries of new tensors and leave what they were given alone. Layers may
be noisy (`nets/noisy.py`): where a function stays, it is the one without noise.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.nets.names import Names, Weights, copies, matrices, refuse_norms, tensors


@dataclass(frozen=True)
class Loaded:
    """What `load` did. `unused` are names as in the weights before renaming, all others the module's."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    """The name, the shape in the weights, the shape in the module."""

    def __str__(self) -> str:
        shapes = [f"{name} {list(there)} there, {list(here)} here" for name, there, here in self.mismatched]
        parts = [
            ("not in the weights", self.missing),
            ("not in the network", self.unused),
            ("of another shape", shapes),
        ]
        left = ["\n  ".join([f"{what}: {len(names)}", *names]) for what, names in parts if names]
        whole = "" if left else ", all that the network has"
        return "\n".join([f"loaded: {len(self.loaded)}{whole}", *left])


@torch.no_grad()
def load(module: nn.Module, weights: Weights, renames: tuple[tuple[str, str], ...] = ()) -> Loaded:
    """Copy into `module`, in place, each tensor whose name and shape fit; raises UserError where none does.

    `renames` are (pattern, replacement): the first regular expression that matches the start of a name is replaced.
    """
    sources = _renamed(weights, renames)
    loaded, missing, mismatched = [], [], []
    own = module.state_dict()
    for name, tensor in own.items():
        if name not in sources:
            missing.append(name)
        elif (given := weights[sources[name]]).shape != tensor.shape:
            mismatched.append((name, tuple(given.shape), tuple(tensor.shape)))
        else:
            tensor.copy_(given)
            loaded.append(name)
    if not loaded:
        raise UserError(f"no weight fits by name and shape: given {_some(weights)}; wanted {_some(own)}")
    unused = tuple(source for name, source in sources.items() if name not in own)
    return Loaded(tuple(loaded), tuple(missing), unused, tuple(mismatched))


def _some(weights: Weights) -> str:
    shapes = [f"{name} {list(tensor.shape)}" for name, tensor in weights.items()]
    return ", ".join(shapes[:3]) + (f" and {len(shapes) - 3} more" if len(shapes) > 3 else "") or "none"


def _renamed(weights: Weights, renames: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The names in `weights`, by the names they are to have."""
    new = {old: _rename(old, renames) for old in weights}
    twice = [name for name, count in Counter(new.values()).items() if count > 1]
    if twice:
        raise UserError(
            f"the renames give {twice[0]!r} to more than one weight: {[o for o in new if new[o] == twice[0]]}"
        )
    return {name: old for old, name in new.items()}


def _rename(name: str, renames: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in renames:
        try:
            renamed, hits = re.subn(rf"\A(?:{pattern})", replacement, name)
        except (re.error, IndexError) as e:
            raise UserError(f"bad rename ({pattern!r}, {replacement!r}): {e}") from e
        if hits:
            return renamed
    return name


def widen(
    weights: Weights,
    layer: str,
    next_layers: Names,
    width: int,
    rng: np.random.Generator,
    noise: float = 0.0,
    outputs_per_unit: int = 1,
) -> dict[str, Tensor]:
    """Net2WiderNet (Chen et al., 2016): `layer` gets `width` units, copies of random old ones; the function stays.

    Outgoing weights are divided by how often their unit occurs. `outputs_per_unit` is H·W where a convolution's
    channels are flattened into the next layer. `noise` moves the copies' incoming weights by so many standard
    deviations of the layer's, so that they can part ways; the function is then only nearly the same.

    Not for a layer whose outputs enter a residual sum (IMPALA) or a product (IQN), which fixes their number elsewhere.
    """
    names, old = tensors(weights, layer), weights[f"{layer}.weight"].shape[0]
    if "embedding.weight" in weights and "fc" in next_layers:
        raise UserError(f"layer {layer!r} cannot be widened: its outputs are multiplied by IQN's embedding")
    if width < old:
        raise UserError(f"layer {layer!r} has {old} units and cannot be widened to {width}")
    refuse_norms(weights, f"widening {layer!r}", {old, old * outputs_per_unit})
    copied = np.concatenate([np.arange(old), rng.integers(old, size=width - old)])
    share = torch.from_numpy(1 / np.bincount(copied)[copied])
    unit = torch.from_numpy(copied)
    new = copies(weights)
    for name in names:
        new[name] = weights[name].detach()[unit]
    wide = new[f"{layer}.weight"]
    if noise:
        wide[old:] += noise * wide[:old].std() * torch.from_numpy(rng.standard_normal(wide[old:].shape)).to(wide)
    for following in next_layers:
        for name in matrices(weights, following):
            # a noisy layer draws each copy's noise apart, so variances add up
            scale = share.sqrt() if name.endswith("_sigma") else share
            new[name] = _inputs(name, weights[name].detach(), unit, scale, (old, outputs_per_unit))
    return new


def _inputs(name: str, weight: Tensor, unit: Tensor, scale: Tensor, inputs: tuple[int, int]) -> Tensor:
    """A weight [O, units·outputs_per_unit, …] for the units `unit` of the old ones, each times its `scale`."""
    if weight.shape[1] != inputs[0] * inputs[1]:
        raise UserError(
            f"{name} takes {weight.shape[1]} inputs, not {inputs[0]} units × {inputs[1]} (outputs_per_unit)"
        )
    grouped = weight.unflatten(1, inputs)[:, unit]
    return (grouped * scale.to(weight).view(-1, *[1] * (grouped.ndim - 2))).flatten(1, 2)


def deepen(weights: Weights, after: str, new: str) -> dict[str, Tensor]:
    """Net2DeeperNet (Chen et al., 2016): an identity layer `new` behind the ReLU of layer `after`; the function stays.

    `new` is the next number of `after` ("torso.layers.1" → "torso.layers.2"), or number 0 of the fully connected
    layers behind a convolution ("torso.conv1" → "torso.fc.layers.0"); layers from that number on are renumbered. Exact,
    for what comes out of a ReLU passes the identity and another ReLU unchanged.
    """
    tensors(weights, after)
    refuse_norms(weights, f"deepening after {after!r}")
    stem, _, number = new.rpartition(".")
    _check_place(weights, after, stem, number)
    like = new if f"{new}.weight" in weights else after
    width = weights[f"{like}.weight"].shape[1 if like == new else 0]
    deeper = {_renumbered(name, stem, int(number)): tensor for name, tensor in copies(weights).items()}
    for name in tensors(weights, like):
        part = name.rpartition(".")[2]
        deeper[f"{new}.{part}"] = weights[name].new_zeros([width] * weights[name].ndim)
    deeper[f"{new}.weight"].fill_diagonal_(1.0)
    return deeper


def _check_place(weights: Weights, after: str, stem: str, number: str) -> None:
    """Raise UserError unless layer `number` of `stem` may come next behind `after`, and is fully connected."""
    displaced = weights.get(f"{stem}.{number}.weight")
    before, _, last = after.rpartition(".")
    first = number == "0" and before != stem and displaced is not None
    follows = before == stem and last.isdigit() and number == str(int(last) + 1)
    flat = (weights[f"{after}.weight"] if displaced is None else displaced).ndim == 2
    if not (flat and (first or follows)):
        raise UserError(f"'{stem}.{number}' is not the fully connected layer that comes next after {after!r}")


def _renumbered(name: str, stem: str, number: int) -> str:
    """`stem.N.rest` as `stem.N+1.rest` where N is at least `number`."""
    match = re.fullmatch(rf"({re.escape(stem)}\.)(\d+)(\..*)", name)
    return f"{match[1]}{int(match[2]) + 1}{match[3]}" if match and int(match[2]) >= number else name


def add_actions(
    weights: Weights, actions: int, heads: Names = ("advantage",), atoms: int = 1, fill: Weights | None = None
) -> dict[str, Tensor]:
    """Heads for `actions` actions in all, the new ones last; the old actions' values stay. Heads are [A·atoms, F].

    A new action's rows are the mean of the old ones, or `fill[name]` ([atoms, F] for a weight, [atoms] for a bias; a
    noisy layer's spread is always the mean). A dueling head computes q = v + a - mean(a), so another action changes
    every value unless the mean stays. The default keeps it; with `fill`, its change, a linear function of the features,
    is added to `value`.
    """
    new = copies(weights)
    for head in heads:
        for name in tensors(weights, head):
            old = _by_action(name, weights[name].detach(), actions, atoms)
            given = None if name.endswith("_sigma") else fill
            row = old.mean(0) if given is None else _given(given, name, old[0])
            grown = torch.cat([old, row.expand(actions - len(old), *row.shape)])
            new[name] = grown.flatten(0, 1)
            if given is not None:
                _make_up(new, name, head, grown.mean(0) - old.mean(0))
    return new


def _make_up(weights: dict[str, Tensor], name: str, head: str, change: Tensor) -> None:
    """Give `value` the change of a dueling head's mean advantage, which is taken from each: all values stay."""
    value = name.replace(head, "value", 1)
    if head == "advantage" and value in weights:
        weights[value] = weights[value] + change


def _by_action(name: str, tensor: Tensor, actions: int, atoms: int) -> Tensor:
    """The rows of a head as [A, atoms, …]. Raises UserError where they are not, or where A is above `actions`."""
    if tensor.shape[0] % atoms or tensor.shape[0] > actions * atoms:
        raise UserError(f"{name} has {tensor.shape[0]} rows; it cannot grow to {actions} actions of {atoms} rows each")
    return tensor.unflatten(0, (-1, atoms))


def _given(fill: Weights, name: str, like: Tensor) -> Tensor:
    if name not in fill or fill[name].numel() != like.numel():
        raise UserError(f"fill needs {name!r} of shape {list(like.shape)}, one row for each atom")
    return fill[name].detach().to(like).view(like.shape)


def add_channels(
    weights: Weights, layer: str, channels: int, position: Literal["start", "end"] = "end", beside: int = 0
) -> dict[str, Tensor]:
    """First layer `layer` for `channels` observation channels in all; the new ones have zero weights: all values stay.

    New frames of a stack belong at the start, where the oldest are. For a fully connected layer, channels are the
    elements of a vector, behind which the layer may see `beside` others, an action's; the order of a flattened image
    is not kept by this. Stacked layers [n, in, out] are widened alike.
    """
    new = copies(weights)
    for name in matrices(weights, layer):
        if name.endswith(".bias"):  # of stacked layers [n, 1, out]
            continue
        old = new[name]
        had = old.shape[1] - beside
        if channels < had:
            raise UserError(f"{name} takes {had} channels and cannot be fitted to {channels}")
        zeros = old.new_zeros(old.shape[0], channels - had, *old.shape[2:])
        parts = [old[:, :had], zeros, old[:, had:]] if position == "end" else [zeros, old]
        new[name] = torch.cat(parts, 1)
    return new


def keep_actions(weights: Weights, rows: Sequence[int | None], heads: Names, atoms: int = 1) -> dict[str, Tensor]:
    """Heads whose actions are these of the old ones, in this order; None is a new one, the mean of all old ones.

    For an agent of several tasks on one with fewer actions, or with the same ones in another order. What the mean of a
    dueling head's advantages loses, `value` is given (see `add_actions`).
    """
    new = copies(weights)
    for head in heads:
        for name in tensors(weights, head):
            old = weights[name].detach().unflatten(0, (-1, atoms))
            chosen = [old.mean(0) if row is None else old[row] for row in rows]
            kept = torch.stack(chosen)
            new[name] = kept.flatten(0, 1)
            if not name.endswith("_sigma"):
                _make_up(new, name, head, kept.mean(0) - old.mean(0))
    return new


def keep_channels(weights: Weights, layer: str, channels: int) -> dict[str, Tensor]:
    """First layer `layer` for the first `channels` of its observation channels alone: the others were zeros, or go."""
    new = copies(weights)
    for name in matrices(weights, layer):
        new[name] = new[name][:, :channels].contiguous()
    return new
