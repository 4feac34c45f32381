"""A network as others can run it: noisy layers at rest, and no half precision."""

import copy

from torch import nn

from reincarnate.nets.noisy import NoisyLinear


def plain(network: nn.Module) -> nn.Module:
    """A copy without noise and half precision."""
    network = copy.deepcopy(network)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, NoisyLinear):
            quiet = nn.Linear(layer.inputs, layer.outputs)
            quiet.load_state_dict({"weight": layer.weight, "bias": layer.bias})
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, quiet)
    for part in network.modules():
        if hasattr(part, "in_bfloat16"):
            setattr(part, "in_bfloat16", False)  # noqa: B010
    return network
