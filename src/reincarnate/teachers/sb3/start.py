"""What the readers of SB3's networks share: a zip opened, what a student starts from, how tensors are taken over."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reincarnate.agents.imported import Moments, inside
from reincarnate.errors import UserError
from reincarnate.nets.normalise import CLIP, EPSILON
from reincarnate.teachers.sb3 import hyper
from reincarnate.teachers.sb3.format import SavedAgent
from reincarnate.teachers.sb3.moments import Memory
from reincarnate.teachers.sb3.pairs import Pair, ours_of
from reincarnate.teachers.sb3.vecnormalize import Statistics
from reincarnate.types import TeacherCard

Tensors = dict[str, Tensor]
BESIDE = ("policy.optimizer.pth", "actor.optimizer.pth", "critic.optimizer.pth", "ent_coef_optimizer.pth")
VARIABLES = ("pytorch_variables.pth", "tensors.pth")


class Source(NamedTuple):
    """An SB3 zip, opened and checked."""

    path: Path
    card: TeacherCard
    data: Mapping[str, Any]
    saved: SavedAgent
    tensors: Tensors
    statistics: Statistics | None
    members: Mapping[str, bytes]


class Start(NamedTuple):
    """What a student starts from: its settings, tensors by its names, target networks, optimisers' memories, words."""

    settings: Any
    tensors: Tensors
    lagging: Tensors
    moments: dict[str, Moments]
    said: tuple[str, ...]


def widths(tensors: Mapping[str, Tensor], prefix: str) -> tuple[int, ...]:
    """Of the layers 0, 2, 4 … below a prefix."""
    found = []
    while (weight := tensors.get(f"{prefix}{2 * len(found)}.weight")) is not None:
        found.append(int(weight.shape[0]))
    return tuple(found)


def activation(saved: SavedAgent, layers: int, images: bool) -> dict[str, str]:
    """The setting; with images, layers behind them are the students' own ReLUs."""
    name = hyper.ACTIVATIONS[saved.activation]
    if not images:
        return {"activation": name}
    if layers and name != "relu":
        raise UserError(f"not supported: layers with {saved.activation} behind convolutions; students have ReLU there")
    return {}


def take(wanted: Sequence[Pair], tensors: Tensors, prefix: str = "", other: str = "") -> Tensors:
    """Our tensors, made of SB3's. UserError: one is missing."""
    try:
        return ours_of(wanted, tensors, prefix, other)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"its network lacks {str(error)[:80]}, which a student's has") from None


def finite(tensors: Tensors) -> Tensors:
    """Float32 throughout but for statistics. UserError: NaN or infinity."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise UserError(f"{name}: its weights hold NaN or infinity, or are no numbers")
    return {name: tensor if "moments" in name else tensor.float() for name, tensor in tensors.items()}


def moments(memory: Memory | None, wanted: Sequence[Pair], part: str) -> dict[str, Moments]:
    """An optimiser's memory by our names; {} where it does not cover all parameters of ours."""
    if memory is None or not memory.slots:
        return {}
    try:
        slots = {slot: inside(ours_of(wanted, tensors), part) for slot, tensors in memory.slots.items()}
    except (KeyError, RuntimeError):
        return {}
    return {part: Moments(slots, memory.steps)}


def lost(moments: Mapping[str, Moments]) -> tuple[str, ...]:
    """A word where no optimiser's memory was taken."""
    return () if moments else ("it holds no optimiser's state that fits",)


def names(tensors: Mapping[str, Tensor], *prefixes: str) -> list[str]:
    """Those that begin so, in order."""
    return [name for name in tensors if name.startswith(prefixes)]


def statistics(stats: Statistics | None, norm: str = "obs_norm") -> Tensors:
    """Observations' and returns' moments as our buffers. UserError: cut elsewhere than ours."""
    if stats is None:
        return {}
    if isinstance(stats.clip, np.ndarray):
        raise UserError("not supported: a Dict of which some keys are normalised and some are not; it can be a teacher")
    if stats.clip != CLIP:
        raise UserError(
            f"not supported: observations clipped at ±{stats.clip:g} after normalisation; ours at ±{CLIP:g}"
        )
    moments = f"{norm}.moments"
    found = {
        f"{moments}.mean": torch.as_tensor(stats.mean, dtype=torch.float64),
        f"{moments}.var": torch.as_tensor(stats.scale, dtype=torch.float64).square() - EPSILON,
        f"{moments}.count": torch.tensor(stats.count if math.isfinite(stats.count) else 1.0, dtype=torch.float64),
    }
    if stats.returns and norm == "obs_norm":
        values = zip(("mean", "var", "count"), stats.returns, strict=True)
        found |= {f"reward_norm.moments.{key}": torch.tensor(v, dtype=torch.float64) for key, v in values}
    return found
