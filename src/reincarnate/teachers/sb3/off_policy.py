"""SAC, TQC, CrossQ, TD3 and DDPG agents that go on, by SAC, TQC and TD3 students."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from reincarnate.agents.imported import Moments
from reincarnate.errors import UserError
from reincarnate.files.safe import read_tensors
from reincarnate.students.continuous_settings import SAC, TD3, TQC
from reincarnate.teachers.sb3 import hyper, pairs
from reincarnate.teachers.sb3.format import SavedAgent
from reincarnate.teachers.sb3.moments import read_memory
from reincarnate.teachers.sb3.pairs import Pair
from reincarnate.teachers.sb3.renorm import folded
from reincarnate.teachers.sb3.start import (
    BESIDE,
    VARIABLES,
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
from reincarnate.teachers.wire.torch_legacy import is_legacy, read_legacy

PARTS = ("actor", "critic")
SOFT = ("SAC", "TQC", "CrossQ")
GAUSSIAN_LIMIT = 2.0  # where gSDE's means are cut, unless told


def continuous(source: Source) -> Start:
    """A SAC, TQC or TD3 student; DDPG's agents become TD3's of one critic, CrossQ's SAC's without renormalisation.

    UserError: a network that no student has.
    """
    saved, data, tensors = source.saved, source.data, source.tensors
    soft, stats = saved.algorithm in SOFT, source.statistics
    if renorm := saved.algorithm == "CrossQ":
        tensors = folded(tensors, saved.renorm_epsilon)
        source = source._replace(tensors=tensors, members=_without_optimisers(source.members))
    members = _members(source)
    *hidden, _ = widths(tensors, "actor.latent_pi." if soft else "actor.mu.") + ((0,) if soft else ())
    *critic, outputs = widths(tensors, "critic.qf0.")
    if not hidden or not critic:
        raise UserError("not supported: an actor or critics without hidden layers")
    sde = "actor.mu.0.weight" in tensors and soft
    _refuse_noise(saved, tensors, sde)
    kind = "sde" if sde else "squashed" if soft else "means"
    wanted = pairs.actor(kind, len(hidden)) + pairs.critics(members, len(critic))
    memories = {
        part: read_memory(source.members.get(f"{part}.optimizer.pth"), tensors, [names(tensors, f"{part}.")])
        for part in PARTS
    }
    told = hyper.numbers(data, hyper.CONTINUOUS)
    told = {name: value for name, value in told.items() if not (renorm and name == "tau")}  # it has no targets
    settings = {"SAC": SAC, "TQC": TQC, "CrossQ": SAC}.get(saved.algorithm, TD3)(
        hidden=tuple(hidden),
        critic_hidden=tuple(critic) if critic != hidden else (),
        critics=members,
        normalise=stats is not None,
        freeze_norm=stats is not None,
        **{"n_step": 1, **told, **hyper.rhythm(data)},
        **activation(saved, 0, False),  # pyright: ignore[reportArgumentType]
        **_only(saved, data, sde, outputs),  # pyright: ignore[reportArgumentType]
    )
    weights = take(wanted, tensors) | {"largest_reward": torch.zeros(())}
    kept: dict[str, Moments] = {}
    for part in PARTS:
        kept |= moments(memories[part], [p for p in wanted if p.ours.startswith(f"{part}.")], part)
    if soft:
        more, settings = _entropy(source, settings)
        weights |= more.tensors
        kept |= more.moments
    kept = kept if set(kept) == {*PARTS, *(("entropy",) if soft else ())} else {}
    last = memories["actor"].lr if memories["actor"] else None
    said = (*hyper.schedule_note(data, told, settings.lr, last), *((FOLDED,) if renorm else lost(kept)))
    targets = _targets(tensors, wanted, ("critic",) if soft else PARTS)
    return Start(settings, finite(weights) | statistics(stats, "norm"), finite(targets), kept, said)


FOLDED = (
    "CrossQ's batch renormalisation became part of its layers: it acts the same and goes on as SAC, with target "
    "networks, which it had none of, and new optimisers"
)


def _without_optimisers(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of layers remember what other parameters did; Adam's β₁ was another too."""
    return {name: payload for name, payload in members.items() if name not in BESIDE[:3]}


def _members(source: Source) -> int:
    """How many critics there are. Raises UserError for an agent that no student here can go on from."""
    if any("features_extractor." in name for name in source.tensors):
        raise UserError("not supported: students of continuous actions see vectors alone, it sees images")
    if source.statistics and source.statistics.returns:
        raise UserError(
            "not supported: its rewards were normalised, and off-policy students learn from them as they are"
        )
    members = 0
    while f"critic.qf{members}.0.weight" in source.tensors:
        members += 1
    if not members:
        raise UserError("it holds no critic; it can be a --teacher")
    return members


def _targets(tensors: Tensors, wanted: Sequence[Pair], parts: Sequence[str]) -> Tensors:
    """The lagging networks of these parts, where the file has them."""
    targets: Tensors = {}
    if all(f"critic_target.qf0.0.{end}" in tensors for end in ("weight", "bias")):
        for part in parts:
            some = [pair for pair in wanted if pair.ours.startswith(f"{part}.")]
            targets |= take(some, tensors, f"{part}.", f"{part}_target.")
    return targets


def _only(saved: SavedAgent, data: Mapping[str, Any], sde: bool, outputs: int) -> dict[str, Any]:
    """Settings that only this kind has."""
    if saved.algorithm in SOFT:
        intervals = {"target_every": hyper.Field("target_update_interval", True, 1, 10**6)}
        delay = {"actor_every": hyper.Field("policy_delay", True, 1, 1000)}
        every = hyper.numbers(data, delay if saved.algorithm == "CrossQ" else intervals)
        only = {"sde": sde, **every, **hyper.entropy_weight(data, saved.actions)}
        drop = hyper.numbers(data, {"drop": hyper.Field("top_quantiles_to_drop_per_net", True, 0, outputs - 1)})
        return {**only, "quantiles": outputs, **drop} if saved.algorithm == "TQC" else only
    noise = {
        "actor_every": hyper.Field("policy_delay", True, 1, 1000),
        "target_noise": hyper.Field("target_policy_noise", False, 0, 2),
        "target_clip": hyper.Field("target_noise_clip", False, 0, 2),
    }
    told = hyper.numbers(data, noise)
    return {**told, "target_every": told.get("actor_every", 2)}


def _refuse_noise(saved: SavedAgent, tensors: Tensors, sde: bool) -> None:
    assert saved.continuous is not None
    if not sde:
        return
    if saved.expln or saved.continuous.mean_limit != GAUSSIAN_LIMIT:
        raise UserError(f"not supported: gSDE with expln, or with means cut elsewhere than at ±{GAUSSIAN_LIMIT:g}")
    if any(name.startswith("actor.sde_features_extractor.") for name in tensors):
        raise UserError("not supported: gSDE with features of its own")
    if tensors["actor.log_std"].shape[1] != saved.actions:
        tensors["actor.log_std"] = tensors["actor.log_std"].expand(-1, saved.actions).contiguous()


class _Alpha(NamedTuple):
    tensors: Tensors
    moments: dict[str, Moments]


def _entropy(source: Source, settings: Any) -> tuple[_Alpha, Any]:
    """ln α and its optimiser's memory, and the settings with this α. UserError: it is nowhere."""
    log_alpha = None
    for name in VARIABLES:
        if payload := source.members.get(name):
            held = (read_legacy if is_legacy(payload) else read_tensors)(payload, name)
            if (tensor := held.get("log_ent_coef")) is not None and tensor.numel() == 1:
                log_alpha = tensor.detach().float().reshape(())
            elif (tensor := held.get("ent_coef_tensor")) is not None and tensor.numel() == 1:
                log_alpha = tensor.detach().float().reshape(()).log()
    if log_alpha is None:
        log_alpha = torch.tensor(math.log(settings.alpha))
    if not log_alpha.isfinite() or not 0 < float(log_alpha.exp()) < math.inf:
        raise UserError("its entropy coefficient is 0 or no number; students of SAC need one above 0")
    memory = read_memory(source.members.get(BESIDE[3]), {"log_alpha": log_alpha.reshape(1)}, [["log_alpha"]])
    moments: dict[str, Moments] = {}
    if memory and memory.slots:
        slots = {slot: {"log_alpha": t["log_alpha"].reshape(())} for slot, t in memory.slots.items()}
        moments = {"entropy": Moments(slots, memory.steps)}
    elif not settings.learn_alpha:  # it never moves, and has no optimiser there
        zero = torch.zeros(())
        moments = {"entropy": Moments({slot: {"log_alpha": zero} for slot in ("mean", "square")}, 0)}
    return _Alpha({"entropy.log_alpha": log_alpha}, moments), replace(settings, alpha=float(log_alpha.exp()))
