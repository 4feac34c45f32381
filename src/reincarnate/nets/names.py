"""Weights by name (as of `state_dict`): what `nets/surgery.py` and `nets/plasticity.py` share."""

from collections.abc import Mapping

from torch import Tensor

from reincarnate.errors import UserError

Weights = Mapping[str, Tensor]
Names = tuple[str, ...] | list[str]


def copies(weights: Weights) -> dict[str, Tensor]:
    """New tensors, apart from any graph."""
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def under(name: str, prefix: str) -> bool:
    """Whether a dotted name is `prefix` or below it: "torso.conv1" is above "torso.conv1.bias", not "torso.conv12"."""
    return not prefix or f"{name}.".startswith(prefix.rstrip(".") + ".")


def tensors(weights: Weights, layer: str) -> list[str]:
    """The names of a plain or noisy layer's tensors. Raises UserError where it is no such layer."""
    names = [name for name in weights if name.rpartition(".")[0] == layer]
    parts = {name.rpartition(".")[2] for name in names}
    if "weight" not in parts or parts - {"weight", "bias", "weight_sigma", "bias_sigma"}:
        layers = sorted(n.removesuffix(".weight") for n, t in weights.items() if n.endswith(".weight") and t.ndim > 1)
        raise UserError(f"{layer!r} is not a layer with a weight and a bias here; there are: {', '.join(layers)}")
    return names


def matrices(weights: Weights, layer: str) -> list[str]:
    """Those of a layer's tensors that have an input dimension."""
    return [name for name in tensors(weights, layer) if weights[name].ndim > 1]


def refuse_norms(weights: Weights, what: str, sizes: set[int] | None = None) -> None:
    """Raise UserError where there is a normalisation (of one of these sizes): its statistics would change."""
    for name, tensor in weights.items():
        normed = name.endswith(".weight") and tensor.ndim in (1, 3)  # [F] or [C, H, W]
        if normed and (sizes is None or tensor.shape[0] in sizes):
            norm = name.removesuffix(".weight")
            raise UserError(f"{what} would change what the network computes, because {norm!r} normalises it")
