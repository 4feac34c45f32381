"""PPO, A2C and TRPO agents that go on, by PPO or A2C students."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from reincarnate.agents.imported import Moments
from reincarnate.errors import UserError
from reincarnate.students.policy_settings import A2C, PPO
from reincarnate.teachers.sb3 import hyper, pairs
from reincarnate.teachers.sb3.format import SavedAgent
from reincarnate.teachers.sb3.moments import read_memory
from reincarnate.teachers.sb3.start import (
    BESIDE,
    Source,
    Start,
    Tensors,
    activation,
    finite,
    lost,
    moments,
    names,
    statistics,
    take,
    widths,
)


def policy(source: Source) -> Start:
    """A PPO student from PPO or TRPO, an A2C student from A2C. UserError: a network that no student has."""
    saved, data, tensors = source.saved, source.data, source.tensors
    images = any(".cnn." in name or name.startswith("features_extractor.cnn") for name in tensors)
    own, other, together = (widths(tensors, f"mlp_extractor.{net}_net.") for net in ("policy", "value", "shared"))
    shared = _shares(tensors, images, own, other, together)
    first = (len(tensors[_first_image_layer(tensors)]),) if images else ()
    hidden, critic = (*first, *(together or own)), (*first, *(together or other))
    if not hidden or not critic:
        raise UserError("not supported: an actor or a critic without hidden layers")
    if saved.continuous and "log_std" not in tensors:
        raise UserError("it holds no spread of its actions")
    sde = saved.continuous is not None and tensors["log_std"].ndim == 2
    _refuse_sde(saved, tensors, sde)
    counts = (len(hidden) - len(first), len(critic) - len(first))
    spread = saved.continuous is not None
    wanted = pairs.policy(counts, shared, images, "mean" if spread else "logits", spread)
    order = [name for name in tensors if not (shared and name.startswith(("pi_features", "vf_features")))]
    memory = read_memory(source.members.get(BESIDE[0]), tensors, [order, list(tensors)])
    kind = {"A2C": A2C}.get(saved.algorithm, PPO)
    told, stats = hyper.numbers(data, hyper.POLICY), source.statistics
    read: dict[str, Any] = {**({"adam_eps": memory.eps} if memory and memory.eps else {}), **told}
    read |= hyper.rollout(data, kind) | activation(saved, counts[0], images)
    read |= {"optimizer": memory.kind} if memory and memory.kind else {}
    settings = kind(
        hidden=hidden,
        critic_hidden=critic if critic != hidden else (),
        shared="on" if shared else "off",
        sde=sde,
        norm_obs=stats is not None,
        norm_reward=bool(stats and stats.returns),
        freeze_norm=stats is not None,
        **read,
    )
    settings = _batch(settings)
    kept = moments(memory, wanted, "")
    if spread:
        half = _half(saved)
        kept = {part: Moments(_slots_in_unit(m.slots, half), m.steps) for part, m in kept.items()}
    weights = finite(in_unit(take(wanted, tensors), saved) if spread else take(wanted, tensors))
    trpo = ("TRPO's policy goes on by PPO",) if saved.algorithm == "TRPO" else ()
    said = (*trpo, *hyper.schedule_note(data, told, settings.lr, memory.lr if memory else None), *lost(kept))
    return Start(settings, weights | statistics(stats), {}, kept, said)


def _shares(tensors: Tensors, images: bool, own: tuple, other: tuple, together: tuple) -> bool:
    """Whether actor and critic have one torso. UserError: they share some of it."""
    if together and (own or other):
        raise UserError("not supported: layers of their own behind layers that actor and critic share")
    if not images:
        return bool(together)
    pairs_of = [(name, name.replace("pi_", "vf_", 1)) for name in names(tensors, "pi_features_extractor.")]
    shared = all(b in tensors and torch.equal(tensors[a], tensors[b]) for a, b in pairs_of)
    if shared and (own or other or together):
        raise UserError("not supported: layers of their own behind convolutions that actor and critic share")
    return shared


def _first_image_layer(tensors: Tensors) -> str:
    return next(name for name in tensors if name.endswith("features_extractor.linear.0.weight"))


def _refuse_sde(saved: SavedAgent, tensors: Tensors, sde: bool) -> None:
    if saved.continuous is None:
        return
    if saved.continuous.squashed:
        raise UserError("not supported: a PPO or A2C agent whose actions are squashed by tanh; students clip them")
    if not sde:
        return
    if saved.expln or any(name.startswith("sde_features_extractor.") for name in tensors):
        raise UserError("not supported: gSDE with expln, or with features of its own")
    if tensors["log_std"].shape[1] != saved.actions:
        tensors["log_std"] = tensors["log_std"].expand(-1, saved.actions).contiguous()


def _half(saved: SavedAgent) -> Tensor:
    assert saved.continuous is not None
    low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (saved.continuous.low, saved.continuous.high))
    return (high - low) / 2


def in_unit(weights: Tensors, saved: SavedAgent) -> Tensors:
    """A Gaussian's mean and spread in [-1, 1] in place of the task's units: means are moved and scaled, ln σ is moved.

    Densities change by a constant factor, the product of half the bounds' distances.
    """
    assert saved.continuous is not None
    half, low = _half(saved), torch.tensor(saved.continuous.low, dtype=torch.float64)
    weight, bias, log_std = (weights[f"head.{name}"].double() for name in ("mean.weight", "mean.bias", "log_std"))
    scaled = {
        "head.mean.weight": weight / half[:, None],
        "head.mean.bias": (bias - (low + half)) / half,
        "head.log_std": log_std - half.log(),
    }
    return {**weights, **{name: tensor.float() for name, tensor in scaled.items()}}


def _slots_in_unit(slots: Mapping[str, Mapping[str, Tensor]], half: Tensor) -> dict[str, dict[str, Tensor]]:
    """Moments of the gradients with respect to what `in_unit` makes of the mean's layer."""
    found = {slot: dict(tensors) for slot, tensors in slots.items()}
    for slot, tensors in found.items():
        scale = (half if slot == "mean" else half.square()).float()
        tensors["head.mean.weight"] = tensors["head.mean.weight"] * scale[:, None]
        tensors["head.mean.bias"] = tensors["head.mean.bias"] * scale
    return found


def _batch(settings: Any) -> Any:
    """A batch may not be larger than a rollout."""
    most = settings.rollout * settings.copies
    return replace(settings, batch_size=min(settings.batch_size, most))
