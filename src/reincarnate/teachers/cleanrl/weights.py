"""CleanRL's agents that go on: those of values, and of torch's files PPO, DDPG and TD3 with their critics."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reincarnate.agents.imported import Imported
from reincarnate.errors import UserError
from reincarnate.students.continuous_settings import TD3
from reincarnate.students.policy_settings import PPOCleanRL, PPOContinuous
from reincarnate.teachers.chains import Tensors, agent_of, value_agent
from reincarnate.teachers.cleanrl.torch import state_dicts
from reincarnate.teachers.frozen import FrozenTeacher
from reincarnate.types import VALUES, TaskSpec

CONVOLUTIONS = (0, 2, 4)  # places of Nature's in `network`, of which 7 is the layer behind them


def agent(path: Path, teacher: FrozenTeacher, saved: Any, spec: TaskSpec | None) -> Imported:
    """The agent of a teacher, with what torch `saved` of it (None: another format). UserError: it cannot go on."""
    card = teacher.card
    if card.tells == VALUES:
        return value_agent(path, card, teacher.network)
    try:
        if saved is None:
            raise UserError(f"a {card.algorithm} agent of flax cannot go on")
        (state, *critics), _ = state_dicts(saved)
        bounds = card.bounds or (spec.bounds if spec else None)
        if "fc1.weight" in state:
            settings, tensors = _deterministic(state, critics)
        elif "actor_mean.0.weight" in state:
            bounds = bounds or ((-1.0,) * (card.actions or 1), (1.0,) * (card.actions or 1))
            settings, tensors = _gaussian(state, bounds)
        else:
            settings, tensors = _categorical(state)
    except (KeyError, UserError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path}: {what}; it can be a --teacher") from None
    return agent_of(path, replace(card, bounds=bounds), settings, tensors, ())


def _towers(state: Mapping[str, Tensor], actor: str, head: str) -> tuple[tuple[int, ...], tuple[int, ...], Tensors]:
    """Widths of actor and critic, and both as ours."""
    hidden, tensors = _chain(state, f"{actor}.", "torso.layers", head)
    critic, values = _chain(state, "critic.", "critic_torso.layers", "value")
    if not hidden or not critic:
        raise UserError("not supported: an actor or a critic without hidden layers")
    return hidden, critic, tensors | values


def _chain(state: Mapping[str, Tensor], theirs: str, ours: str, head: str) -> tuple[tuple[int, ...], Tensors]:
    """Layers 0, 2, 4 …: their widths and tensors, the last one under the name `head`."""
    count = sum(name.startswith(theirs) and name.endswith(".weight") for name in state)
    if not count:
        raise UserError(f"it holds no {theirs.rstrip('.')}")
    names = [*(f"{ours}.{i}" for i in range(count - 1)), head]
    tensors = {
        f"{name}.{part}": state[f"{theirs}{2 * i}.{part}"]
        for i, name in enumerate(names)
        for part in ("weight", "bias")
    }
    return tuple(len(tensors[f"{name}.bias"]) for name in names[:-1]), tensors


def _categorical(state: Mapping[str, Tensor]) -> tuple[Any, Tensors]:
    """PPO of discrete actions: two towers of tanh, or on screens shared convolutions."""
    if "network.0.weight" not in state:
        hidden, critic, tensors = _towers(state, "actor", "head.logits")
        critic_hidden = critic if critic != hidden else ()
        return PPOCleanRL(hidden=hidden, critic_hidden=critic_hidden, shared="off"), tensors
    places = {f"torso.conv{i + 1}": f"network.{n}" for i, n in enumerate(CONVOLUTIONS)}
    places |= {"torso.fc.layers.0": "network.7", "head.logits": "actor", "value": "critic"}
    tensors = {
        f"{ours}.{part}": state[f"{theirs}.{part}"] for ours, theirs in places.items() for part in ("weight", "bias")
    }
    return PPOCleanRL(hidden=(len(tensors["torso.fc.layers.0.bias"]),), shared="on"), tensors


def _gaussian(state: Mapping[str, Tensor], bounds: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple[Any, Tensors]:
    """PPO of continuous actions, in the task's units: brought to [-1, 1]."""
    hidden, critic, tensors = _towers(state, "actor_mean", "head.mean")
    low, high = (torch.tensor(bound, dtype=torch.float64) for bound in bounds)
    half = (high - low) / 2
    tensors |= {
        "head.mean.weight": tensors["head.mean.weight"].double() / half[:, None],
        "head.mean.bias": (tensors["head.mean.bias"].double() - (high + low) / 2) / half,
        "head.log_std": state["actor_logstd"].double().flatten() - half.log(),
    }
    # the statistics that it was trained with are not in the file: those of a newborn would be others
    shape = {"norm_obs": False, "norm_reward": False, "shared": "off"}
    return PPOContinuous(hidden=hidden, critic_hidden=critic if critic != hidden else (), **shape), tensors


def _deterministic(state: Mapping[str, Tensor], critics: list[dict[str, Tensor]]) -> tuple[Any, Tensors]:
    """DDPG and TD3. Their critics see actions in the task's units, ours in [-1, 1]: the first layer takes that in."""
    if "fc_mu.weight" not in state:
        raise UserError("not supported: a SAC agent of CleanRL, whose log σ and critics are kept otherwise")
    online = [critic for critic in critics if "fc3.weight" in critic]
    if not online:
        raise UserError("it holds no critic")
    hidden = tuple(len(state[f"{name}.bias"]) for name in ("fc1", "fc2"))
    places = {"actor.torso.layers.0": "fc1", "actor.torso.layers.1": "fc2", "actor.head.mean": "fc_mu"}
    tensors = {
        f"{ours}.{part}": state[f"{theirs}.{part}"] for ours, theirs in places.items() for part in ("weight", "bias")
    }
    scale, bias = (
        state[f"action_{part}"].double().flatten().expand(len(state["fc_mu.bias"])) for part in ("scale", "bias")
    )
    seen = [_in_unit(critic, scale, bias) for critic in online]
    for i, name in enumerate(("critic.torso.layers.0", "critic.torso.layers.1", "critic.head"), 1):
        tensors[f"{name}.weight"] = torch.stack([critic[f"fc{i}.weight"] for critic in seen]).mT.contiguous()
        tensors[f"{name}.bias"] = torch.stack([critic[f"fc{i}.bias"] for critic in seen])[:, None]
    tensors["largest_reward"] = torch.zeros(())
    width = tuple(len(online[0][f"fc{i}.bias"]) for i in (1, 2))
    alone = {"actor_every": 1, "target_every": 1, "target_noise": 0.0, "target_clip": 0.0} if len(online) == 1 else {}
    settings = TD3(hidden=hidden, critic_hidden=width if width != hidden else (), critics=len(online), **alone)
    return settings, tensors


def _in_unit(critic: Mapping[str, Tensor], scale: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """W [s, scale·a + bias] + b as a layer of [s, a]."""
    weight, numbers = critic["fc1.weight"].double(), len(scale)
    own = weight[:, -numbers:]
    first = {
        "fc1.weight": torch.cat([weight[:, :-numbers], own * scale], 1),
        "fc1.bias": critic["fc1.bias"].double() + own @ bias,
    }
    return {name: tensor.float() for name, tensor in {**critic, **first}.items()}
