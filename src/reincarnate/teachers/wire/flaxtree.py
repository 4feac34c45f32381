"""From a tree of flax parameters to layers in torch's form: HWIO to OIHW, dense kernels transposed.

The flattening between convolutions and dense layers keeps flax's order (H, W, C): `layers.Flat(channels_last=True)`.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from reincarnate.errors import UserError
from reincarnate.teachers.layers import MOST_LAYERS, Layer, Trunk, checked, impala, nature

KINDS = {
    "Conv": "convs",
    "Dense": "dense",
    "NoisyNetwork": "dense",
    "layers": "dense",
    "Stack": "stacks",
    "stacks": "stacks",
    "ConvSequence": "stacks",
}
"""How flax names its modules, without the number: Dopamine's, the Reincarnating RL release's, CleanRL's."""
LAST = 10**9


@dataclass
class Parts:
    """Layers in the order in which they were made: single convolutions, residual stacks of them, dense layers."""

    convs: list[Layer] = field(default_factory=list)
    stacks: list[list[Layer]] = field(default_factory=list)
    dense: list[Layer] = field(default_factory=list)

    def trunk(self, same: bool) -> Trunk | None:
        """What comes before the dense layers; None without convolutions. UserError: not a network known here."""
        if self.convs and self.stacks:
            raise UserError("not supported: plain convolutions and residual stacks in one network")
        if self.stacks:
            return impala(self.stacks, same=True, channels_last=True)
        return nature(self.convs, same, channels_last=True) if self.convs else None


def stripped(tree: Any) -> dict[str, Any]:
    """The tree below `params`, which may be there twice. UserError: no tree at all."""
    for _ in range(3):
        if isinstance(tree, dict) and set(tree) == {"params"}:
            tree = tree["params"]
    if not isinstance(tree, dict) or not tree or not all(isinstance(name, str) for name in tree):
        raise UserError("its parameters are not a tree of named layers")
    if len(tree) > MOST_LAYERS:
        raise UserError(f"not supported: {len(tree)} layers; at most {MOST_LAYERS} can be read")
    return tree


def read_parts(tree: Any) -> Parts:
    """The layers of a network's parameters. UserError: layers of a kind that is not known, or no such tree."""
    tree = dict(stripped(tree))
    parts = _read_kinds(stripped(tree.pop("encoder")), "stacks") if "encoder" in tree else Parts()
    found = _read_kinds(tree, "convs", "dense", "stacks")
    return Parts(found.convs, parts.stacks + found.stacks, found.dense)


def _read_kinds(tree: dict[str, Any], *kinds: str) -> Parts:
    """The layers of these kinds, each kind in the order of its numbers; others are refused."""
    parts, numbered = Parts(), defaultdict[str, list[tuple[int, str, Any]]](list)
    for name, node in tree.items():
        kind, number = _kind(name)
        if kind not in kinds:
            raise UserError(f"not supported: layers such as {name[:60]!r}")
        numbered[kind].append((number, name, node))
    for kind, entries in numbered.items():
        entries.sort(key=lambda entry: entry[:2])
        read = _stack if kind == "stacks" else layer_of
        getattr(parts, kind).extend(read(name, node) for _, name, node in entries)
    return parts


def _kind(name: str) -> tuple[str, int]:
    """`dense` and 1 of `Dense_1`. Before flax's linen, numbers counted all kinds together; only the order matters."""
    if name == "final_layer":
        return "dense", LAST
    found = re.fullmatch(r"_?([A-Za-z]+)_(\d{1,6})", name)
    if not found or found[1] not in KINDS:
        raise UserError(f"not supported: layers such as {name[:60]!r}")
    return KINDS[found[1]], int(found[2])


def _stack(name: str, node: Any) -> list[Layer]:
    """The five convolutions of a residual stack: side by side, or in two blocks of two."""
    node = stripped(node)
    blocks = sorted(inner for inner in node if re.fullmatch(r"ResidualBlock_\d", inner))
    convs = _read_kinds({inner: value for inner, value in node.items() if inner not in blocks}, "convs").convs
    for block in blocks:
        convs += _read_kinds(stripped(node[block]), "convs").convs
    return convs


def layer_of(name: str, node: Any) -> Layer:
    """A layer of flax in torch's form; of a noisy one the means. UserError: it is none, or not of finite numbers."""
    if not isinstance(node, dict):
        raise UserError(f"not supported: {name[:60]!r} is no layer")
    noisy = "kernel_mu" in node
    kernel, bias = (node.get(f"{part}_mu" if noisy else part) for part in ("kernel", "bias"))
    if not isinstance(kernel, np.ndarray) or not isinstance(bias, np.ndarray):
        raise UserError(f"not supported: {name[:60]!r} is no layer with a kernel and a bias")
    weight = tensor_of(kernel, name)
    order = (3, 2, 0, 1) if weight.ndim == 4 else tuple(reversed(range(weight.ndim)))
    return checked(name, weight.permute(order).contiguous(), tensor_of(bias, name))


def tensor_of(array: np.ndarray, name: str) -> torch.Tensor:
    """A float32 copy. UserError: not floating-point numbers."""
    if array.dtype.kind != "f":
        raise UserError(f"{name[:80]}: its weights are {array.dtype}, not floating-point numbers")
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        return torch.from_numpy(array.astype(np.float32))  # a copy, in this machine's byte order
