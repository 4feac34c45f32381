"""Which tensors of an SB3 agent are which of ours, and how one becomes the other; both ways.

SB3 keeps layers under even numbers, for activations lie between; each of n critics by itself, where ours are stacked;
and of QR-DQN all actions of a quantile together, where ours are all quantiles of an action.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

How = Literal["same", "stacked", "quantiles"]


class Pair(NamedTuple):
    """One tensor of ours and those of SB3 that it is made of. `groups`: the quantiles of each action."""

    ours: str
    theirs: tuple[str, ...]
    how: How = "same"
    groups: int = 1


def layer(ours: str, theirs: str) -> list[Pair]:
    """A layer's weight and bias."""
    return [Pair(f"{ours}.{part}", (f"{theirs}.{part}",)) for part in ("weight", "bias")]


def layers(ours: str, theirs: str, count: int, first: int = 0) -> list[Pair]:
    """So many hidden layers; ours are numbered from `first`."""
    return [pair for i in range(count) for pair in layer(f"{ours}.{first + i}", f"{theirs}{2 * i}")]


def convolutions(torso: str, features: str) -> list[Pair]:
    """NatureCNN and its fully connected layer."""
    pairs = [pair for i in range(3) for pair in layer(f"{torso}.conv{i + 1}", f"{features}cnn.{2 * i}")]
    return pairs + layer(f"{torso}.fc.layers.0", f"{features}linear.0")


def value(count: int, quantiles: int, images: bool) -> list[Pair]:
    """DQN's network of `count` hidden layers besides those of images; QR-DQN's where there are quantiles."""
    net = "q_net" if quantiles == 1 else "quantile_net"
    inner, head = f"{net}.{net}.", f"{net}.{net}.{2 * count}"
    if images:
        pairs = convolutions("torso", f"{net}.features_extractor.") + layers("torso.fc.layers", inner, count, 1)
    else:
        pairs = layers("torso.layers", inner, count)
    if quantiles == 1:
        return pairs + layer("advantage", head)
    return pairs + [
        Pair(f"advantage.{part}", (f"{head}.{part}",), "quantiles", quantiles) for part in ("weight", "bias")
    ]


def policy(counts: tuple[int, int], shared: bool, images: bool, head: str, spread: bool) -> list[Pair]:
    """The networks of PPO and A2C with so many hidden layers of actor and critic besides those of images.

    `shared`: one torso for both, under the name `mlp_extractor.shared_net.` where there are no images.
    """
    inside = ("mlp_extractor.policy_net.", "mlp_extractor.value_net.")
    torsos = ("torso",) if shared else ("torso", "critic_torso")
    pairs = []
    for torso, theirs, features, count in zip(torsos, inside, ("pi_", "vf_"), counts, strict=False):
        if images:
            name = "features_extractor." if shared else f"{features}features_extractor."
            pairs += convolutions(torso, name) + layers(f"{torso}.fc.layers", theirs, count, 1)
        else:
            pairs += layers(f"{torso}.layers", "mlp_extractor.shared_net." if shared else theirs, count)
    pairs += layer(f"head.{head}", "action_net") + layer("value", "value_net")
    return pairs + ([Pair("head.log_std", ("log_std",))] if spread else [])


def actor(kind: Literal["means", "squashed", "sde"], count: int) -> list[Pair]:
    """The actor of TD3 and DDPG, of SAC and TQC, or of these with state-dependent exploration."""
    if kind == "means":
        return layers("actor.torso.layers", "actor.mu.", count) + layer("actor.head.mean", f"actor.mu.{2 * count}")
    pairs = layers("actor.torso.layers", "actor.latent_pi.", count)
    if kind == "sde":
        return [*pairs, *layer("actor.head.mean", "actor.mu.0"), Pair("actor.head.log_std", ("actor.log_std",))]
    return [*pairs, *layer("actor.head.mean", "actor.mu"), *layer("actor.head.log_std", "actor.log_std")]


def critics(members: int, count: int) -> list[Pair]:
    """State-action critics, each with so many hidden layers."""
    ours = [f"critic.torso.layers.{i}" for i in range(count)] + ["critic.head"]
    return [
        Pair(f"{name}.{part}", tuple(f"critic.qf{k}.{2 * i}.{part}" for k in range(members)), "stacked")
        for i, name in enumerate(ours)
        for part in ("weight", "bias")
    ]


def ours_of(
    pairs: Sequence[Pair], theirs: Mapping[str, Tensor], prefix: str = "", other: str = ""
) -> dict[str, Tensor]:
    """Our tensors, made of SB3's. Names that begin with `prefix` are looked for under `other` in its place."""

    def find(name: str) -> Tensor:
        return theirs[other + name.removeprefix(prefix) if prefix and name.startswith(prefix) else name]

    return {pair.ours: _ours(pair, [find(name) for name in pair.theirs]) for pair in pairs}


def _ours(pair: Pair, parts: list[Tensor]) -> Tensor:
    if pair.how == "stacked":
        whole = torch.stack(parts)
        return whole.mT.contiguous() if whole.ndim == 3 else whole[:, None]
    if pair.how == "quantiles":
        return parts[0].unflatten(0, (pair.groups, -1)).transpose(0, 1).flatten(0, 1).contiguous()
    return parts[0].clone()


def theirs_of(pairs: Sequence[Pair], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SB3's tensors, made of ours."""
    found: dict[str, Tensor] = {}
    for pair in pairs:
        tensor = ours[pair.ours].detach().cpu()
        if pair.how == "stacked":
            parts = tensor.mT if pair.ours.endswith(".weight") else tensor[:, 0]
        elif pair.how == "quantiles":
            parts = tensor.unflatten(0, (-1, pair.groups)).transpose(0, 1).flatten(0, 1)[None]
        else:
            parts = tensor[None]
        found |= {name: part.clone().contiguous() for name, part in zip(pair.theirs, parts, strict=True)}
    return found
