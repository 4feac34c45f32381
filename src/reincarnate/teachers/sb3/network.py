"""The network of an SB3 agent, built from its tensors' names and shapes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.teachers.heads import FixedSpread, Gaussian, LinearSpread, NoiseSpread
from reincarnate.teachers.layers import Flat, Layer, Trunk, checked, linear, mlp, nature, widths
from reincarnate.teachers.sb3.actions import head
from reincarnate.teachers.sb3.format import ACTIVATIONS, SavedAgent
from reincarnate.teachers.sb3.renorm import renormed
from reincarnate.teachers.sb3.spaces import Entry, Joint

CONVOLUTIONS = ("cnn.0", "cnn.2", "cnn.4")
DENSE = "linear.0"
LOG_STD = (-20.0, 2.0)  # where SAC and TQC cut log σ


def build_network(tensors: dict[str, Tensor], saved: SavedAgent) -> tuple[nn.Module, str]:
    """The network from observations to the head's outputs, and it in words; a `Gaussian` if actions are continuous."""
    family = saved.family
    prefix = extractor_of(tensors, saved)
    modules, width, told = extractor(tensors, prefix, saved)
    words = [told] if told else []
    known = (*family.layers, *family.unused, *([prefix] if prefix else []))
    if left := [name for name in tensors if not name.startswith(known)]:
        raise UserError(f"not supported: {saved.algorithm} with layers such as {left[0][:60]!r}")
    hidden, layers, told = _body(tensors, saved, width)
    outputs = saved.chosen.outputs if saved.chosen else saved.actions * saved.quantiles
    if not layers or layers[-1].outputs != outputs:
        raise UserError(f"its {saved.algorithm} weights do not end in {saved.actions} actions: {told}")
    words.append(f"{told}, {saved.activation.lower()}")
    features = nn.Sequential(*modules, *hidden)
    last = linear(layers[-1], layers[-2].outputs if len(layers) > 1 else width)
    if saved.chosen:
        words.append(f"{len(saved.chosen.choices)} choices as one of {saved.actions}")
        return nn.Sequential(*features, last, Joint(saved.chosen)), ", ".join(words)
    if not saved.continuous:
        return nn.Sequential(*features, last), ", ".join(words)
    network, told = _gaussian(tensors, saved, features, last)
    return network, ", ".join([*words, *told])


def extractor_of(tensors: dict[str, Tensor], saved: SavedAgent) -> str | None:
    """The prefix of the tensors of what comes before the fully connected layers; None where nothing does."""
    return next((p for p in saved.family.features if any(name.startswith(p) for name in tensors)), None)


def extractor(tensors: dict[str, Tensor], prefix: str | None, saved: SavedAgent) -> Trunk:
    """From observations to the first fully connected layer: flat, NatureCNN, or each entry of a Dict in its own way."""
    if saved.entries:
        return combined(tensors, prefix, saved.entries)
    if prefix is None:
        return Trunk([Flat()], math.prod(saved.obs_shape), "")
    return _nature_cnn(tensors, prefix, saved.obs_shape)


class Combined(nn.Module):
    """SB3's CombinedExtractor: a Dict's entries side by side in a row, each flat or through its convolutions."""

    def __init__(self, entries: tuple[Entry, ...], through: Sequence[nn.Module | None]):
        nn.Module.__init__(self)
        self._entries = entries
        self.through = nn.ModuleList(nn.Identity() if one is None else one for one in through)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N] to [B, F]."""
        parts = []
        for entry, part, through in zip(
            self._entries, x.float().split([entry.size for entry in self._entries], 1), self.through, strict=True
        ):
            part = part / 255 if entry.image else part
            parts.append(part if isinstance(through, nn.Identity) else through(part.unflatten(1, entry.shape)))
        return torch.cat(parts, 1)


def combined(tensors: dict[str, Tensor], prefix: str | None, entries: tuple[Entry, ...]) -> Trunk:
    """A Dict's entries: those with convolutions of their own through these, others as they are.

    UserError: layers of another extractor, or an image without convolutions.
    """
    through, width, words, used = list[nn.Module | None](), 0, list[str](), set[str]()
    for entry in entries:
        own = f"{prefix}extractors.{entry.key}."
        if not prefix or not any(name.startswith(own) for name in tensors):
            if entry.image:
                raise UserError(f"not supported: images in a Dict ({entry.key!r}) without convolutions of their own")
            through.append(None)
            width += entry.size
            continue
        trunk = _nature_cnn(tensors, own, entry.shape)
        used |= {name for name in tensors if name.startswith(own)}
        through.append(nn.Sequential(*trunk.modules))
        width += trunk.features
        words.append(f"{entry.key}: {trunk.words}")
    if left := [name for name in tensors if prefix and name.startswith(prefix) and name not in used]:
        raise UserError(f"not supported: a features extractor with layers such as {left[0][:80]!r}")
    return Trunk([Combined(entries, through)] if words else [Flat()], width, ", ".join(words))


def _body(tensors: dict[str, Tensor], saved: SavedAgent, width: int) -> tuple[list[nn.Module], list[Layer], str]:
    """The hidden modules, all fully connected layers with the last, and these in words."""
    activation = ACTIVATIONS[saved.activation]
    if any(name.endswith(".ra_mean") and name.startswith(saved.family.layers) for name in tensors):
        inner, last = saved.family.layers
        hidden, layers = renormed(tensors, inner, width, activation, saved.renorm_epsilon)
        layers += _linears(tensors, last)
        return hidden, layers, f"MLP {widths(width, layers)} with batch renormalisation"
    layers = [layer for prefix in saved.family.layers for layer in _linears(tensors, prefix)]
    return mlp(layers, width, activation)[:-1] if layers else [], layers, f"MLP {widths(width, layers)}"


def _gaussian(
    tensors: dict[str, Tensor], saved: SavedAgent, features: nn.Module, last: nn.Linear
) -> tuple[Gaussian, list[str]]:
    """The policy of continuous actions; it in words: what becomes of the means, and what is told of their spread."""
    assert saved.continuous is not None
    limit, mean = saved.continuous.mean_limit, last
    if saved.family.limited in tensors and limit:  # gSDE cuts the means before the tanh
        mean = nn.Sequential(last, nn.Hardtanh(-limit, limit))
    spread, words = _spread(tensors, saved, last.in_features)
    action, told = head(saved.continuous)
    return Gaussian(features, mean, spread, action), [told, words]


def _spread(tensors: dict[str, Tensor], saved: SavedAgent, width: int) -> tuple[nn.Module | None, str]:
    """log σ, and it in words. UserError: of another shape than the actions."""
    name, actions = saved.family.spread, saved.actions
    if not name:
        return None, "no spread: it tells means"
    if any(key.startswith(("sde_features_extractor.", "actor.sde_features_extractor.")) for key in tensors):
        return None, "its spread has features of its own, which are not read: it tells means"
    if f"{name}.weight" in tensors:
        layer = _layer(tensors, name)
        if layer.outputs != actions:
            raise UserError(f"{name}: {layer.outputs} spreads for {actions} numbers in an action")
        return LinearSpread(linear(layer, width), *LOG_STD, squashed=False), "spread by observation"
    log_std = tensors.get(name)
    if log_std is None:
        return None, "no spread: it tells means"
    if not log_std.is_floating_point() or not log_std.isfinite().all():
        raise UserError(f"{name}: its spread holds NaN or infinity")
    if tuple(log_std.shape) == (actions,):
        return FixedSpread(log_std), "one spread for all observations"
    if tuple(log_std.shape) in ((width, actions), (width, 1)):
        whole = log_std.float().expand(width, actions)
        return NoiseSpread(torch.clone(whole), saved.expln), "spread by observation (gSDE)"
    raise UserError(f"{name}: a spread of shape {tuple(log_std.shape)} fits neither {actions} actions nor gSDE")


def _linears(tensors: dict[str, Tensor], prefix: str) -> list[Layer]:
    """The layer of `prefix` itself, or its members 0, 2, 4 ... (activations lie between); biases may be left out."""
    names = {name.removeprefix(prefix) for name in tensors if name.startswith(prefix)}
    if names and names <= {"bias", "weight"}:
        return [_layer(tensors, prefix.removesuffix("."))]
    count = sum(name.endswith("weight") for name in names)
    expected = [f"{2 * i}" for i in range(count)]
    if (
        not {f"{i}.weight" for i in expected}
        <= names
        <= {f"{i}.{part}" for i in expected for part in ("weight", "bias")}
    ):
        raise UserError(f"not supported: layers under {prefix!r} other than a plain MLP")
    return [_layer(tensors, f"{prefix}{i}") for i in expected]


def _nature_cnn(tensors: dict[str, Tensor], prefix: str, shape: tuple[int, ...]) -> Trunk:
    names = [f"{prefix}{layer}" for layer in (*CONVOLUTIONS, DENSE)]
    used = {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    if used != {name for name in tensors if name.startswith(prefix)} or len(shape) != 3:
        raise UserError(f"not supported: a features extractor other than NatureCNN on images ({prefix}*)")
    *convolutions, dense = (_layer(tensors, name) for name in names)
    channels, rows, columns = shape
    trunk = nature(convolutions, False, False, (channels, rows, columns))
    words = f"NatureCNN {channels}x{rows}x{columns}-{dense.outputs}"
    return Trunk([*trunk.modules, linear(dense, trunk.features), nn.ReLU()], dense.outputs, words)


def _layer(tensors: dict[str, Tensor], name: str) -> Layer:
    weight = tensors.get(f"{name}.weight")
    if weight is None:
        raise UserError(f"not supported: {name[:60]!r} is no layer with weights")
    bias = tensors.get(f"{name}.bias")
    return checked(name, weight, weight.new_zeros(weight.shape[:1]) if bias is None else bias)
