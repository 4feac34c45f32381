"""The policies of sb3-contrib's RecurrentPPO: an LSTM between the observation's features and the layers of PPO."""

import re
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.nets.memory import LSTM
from reincarnate.teachers.sb3.format import SavedAgent
from reincarnate.teachers.sb3.network import build_network, extractor, extractor_of

PREFIX = "lstm_actor."
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
MOST = 2**27  # numbers in one matrix
LAYERS = 16


class Remembering(NamedTuple):
    """What comes before the actor's LSTM, the LSTM, the network from its output to the head's; all in words."""

    features: nn.Module
    lstm: LSTM
    network: nn.Module
    words: str


def build_recurrent(tensors: dict[str, Tensor], saved: SavedAgent) -> Remembering:
    """The parts of its actor. UserError: another memory than an LSTM, or another features extractor than SB3's."""
    prefix = extractor_of(tensors, saved)
    before = extractor(tensors, prefix, saved)
    own = {name.removeprefix(PREFIX): t for name, t in tensors.items() if name.startswith(PREFIX)}
    lstm = _lstm(own, before.features)
    gone = (PREFIX, *saved.family.features)
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(gone)}
    network, words = build_network(rest, replace(saved, obs_shape=(lstm.features,), entries=()))
    layers = lstm.net.num_layers
    said = f"LSTM {lstm.features}{f' × {layers} layers' if layers > 1 else ''}, {words}"
    said = f"{before.words}, {said}" if before.words else said
    return Remembering(nn.Sequential(*before.modules), lstm, network, said)


def _lstm(tensors: dict[str, Tensor], inputs: int) -> LSTM:
    """The LSTM of these parameters. UserError: others than PyTorch's, shapes that do not fit, or not finite."""
    layers = len([name for name in tensors if re.fullmatch(r"weight_ih_l\d+", name)])
    expected = {f"{part}_l{i}" for i in range(layers) for part in PARTS}
    if not 1 <= layers <= LAYERS or tensors.keys() != expected:
        raise UserError(
            f"not supported: a memory of {', '.join(sorted(tensors))[:80] or 'no layers'}, which is no LSTM"
        )
    size = tensors["weight_hh_l0"].shape[-1] if tensors["weight_hh_l0"].ndim == 2 else 0
    for name, tensor in tensors.items():
        wide = inputs if name == "weight_ih_l0" else size
        shape = (4 * size, wide) if name.startswith("weight") else (4 * size,)
        if tuple(tensor.shape) != shape or not size or tensor.numel() > MOST:
            raise UserError(f"{PREFIX}{name}: {tuple(tensor.shape)} does not fit an LSTM over {inputs} numbers")
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise UserError(f"{PREFIX}{name}: its weights are not finite floating-point numbers")
    with torch.device("meta"):
        lstm = LSTM(inputs, size, layers)
    lstm.net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return lstm
