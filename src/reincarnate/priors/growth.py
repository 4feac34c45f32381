"""An agent's weights on a task that shows more, or has more actions, than its own: what it says stays as it was."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from reincarnate import envs
from reincarnate.agents.agent import Agent
from reincarnate.agents.imported import Imported
from reincarnate.envs.several import is_several, named_actions
from reincarnate.errors import UserError
from reincarnate.nets import surgery
from reincarnate.nets.names import Weights
from reincarnate.types import TaskSpec


def grown(agent: Agent, spec: TaskSpec, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """More actions and more channels, where the task has them; the old ones' values stay.

    Of an agent of several tasks those of the padded face that the task has; see `_unpadded`.
    """
    old, done = agent.spec, []
    if old.continuous != spec.continuous:
        sorts = [("discrete", "continuous")[kind] for kind in (old.continuous, spec.continuous)]
        raise UserError(f"the agent has {sorts[0]} actions, those of {spec.id} are {sorts[1]}: it cannot be fitted")
    if isinstance(agent, Imported) and old.actions == spec.actions and old.bounds != spec.bounds:
        raise UserError(f"the actions of {agent.path} lie within {old.bounds}, those of {spec.id} within {spec.bounds}")
    if isinstance(agent, Imported) and (old.obs_dtype == "uint8") != (spec.obs_dtype == "uint8"):
        raise UserError(f"{agent.path} sees {old.obs_dtype} observations, {spec.id} shows {spec.obs_dtype}")
    if is_several(old) and spec.id != old.id:
        weights, old, done = _unpadded(agent, spec, weights)
    if spec.actions != old.actions:
        if spec.actions < old.actions:
            raise UserError(f"the agent has {old.actions} actions, {spec.id} only {spec.actions}; it cannot be fitted")
        if old.continuous:
            raise UserError(
                f"the agent's actions are {old.actions} numbers, those of {spec.id} {spec.actions}: it cannot be fitted"
            )
        for layer, numbers in agent.student.action_layers().items():
            weights = surgery.add_actions(weights, spec.actions, (layer,), numbers)
        done.append(f"actions {old.actions} to {spec.actions - 1} are new: their values are the others' mean")
    if spec.obs_shape != old.obs_shape:
        weights = _more_channels(weights, old, spec)
        done.append(f"observations grow from {old.obs_shape} to {spec.obs_shape}: new channels have zero weights")
    return weights, done


def _unpadded(
    agent: Agent, spec: TaskSpec, weights: dict[str, Tensor]
) -> tuple[dict[str, Tensor], TaskSpec, list[str]]:
    """An agent of several tasks on one: actions by their names, or else by number; channels by number.

    Returns the weights, the face that they now have (what it lacks is grown as ever), and what was done.
    """
    old, done = agent.spec, []
    rows = _rows_of_actions(old, spec)
    if rows != list(range(old.actions)):
        for layer, numbers in agent.student.action_layers().items():
            if f"{layer}.weight" in weights:
                weights = surgery.keep_actions(weights, rows, (layer,), numbers)
        new = [i for i, row in enumerate(rows) if row is None]
        said = f"; {', '.join(map(str, new))} are new: their values are the others' mean" if new else ""
        done.append(f"actions 0 to {len(rows) - 1} are those of the agent's {old.actions} at {rows}{said}")
    shape, axis = list(old.obs_shape), 0 if len(old.obs_shape) == 1 else -1
    if old.stack == 1 and len(spec.obs_shape) == len(shape) and spec.obs_shape[axis] < shape[axis]:
        first, kept = _first_layer(weights), spec.obs_shape[axis]
        if weights[f"{first}.weight"].shape[1] == shape[axis]:
            weights = surgery.keep_channels(weights, first, kept)
            shape[axis] = kept
            done.append(f"observations are the first {kept} channels of the agent's {old.obs_shape[axis]}")
    return weights, replace(old, actions=len(rows), obs_shape=tuple(shape)), done


def _rows_of_actions(old: TaskSpec, spec: TaskSpec) -> list[int | None]:
    """Which of the agent's actions each of the task's is, None for one it has not."""
    had = named_actions(old)
    names = named_actions(spec) if is_several(spec) else envs.action_names(spec.id)
    if had and names:
        return [had.index(name) if name in had else None for name in names]
    return list(range(min(old.actions, spec.actions)))


def _first_layer(weights: Weights) -> str:
    return next(name.removesuffix(".weight") for name, w in weights.items() if w.ndim in (2, 4))


def _more_channels(weights: dict[str, Tensor], old: TaskSpec, spec: TaskSpec) -> dict[str, Tensor]:
    first = _first_layer(weights)
    axis = 0 if spec.leads or len(spec.obs_shape) == 1 else -1  # stacks and vectors lead, MinAtar's channels trail
    same = len(spec.obs_shape) == len(old.obs_shape) and spec.leads == old.leads
    others = [tuple(np.delete(np.array(shape), axis)) for shape in (spec.obs_shape, old.obs_shape)]
    flat_image = len(spec.obs_shape) > 1 and weights[f"{first}.weight"].ndim == 2
    if not same or others[0] != others[1] or flat_image or spec.obs_shape[axis] < old.obs_shape[axis]:
        raise UserError(f"the agent sees {old.obs_shape}, {spec.id} shows {spec.obs_shape}: it cannot be fitted")
    if len(spec.obs_shape) == 1 and (firsts := _seeing(weights, old)):
        for layer, beside in firsts:
            weights = surgery.add_channels(weights, layer, spec.obs_shape[0], beside=beside)
        return weights | _more_moments(weights, old, spec)
    position = "start" if spec.leads else "end"  # the newest frame is the last
    return surgery.add_channels(weights, first, spec.obs_shape[axis], position)


def _seeing(weights: Weights, old: TaskSpec) -> list[tuple[str, int]]:
    """The first layer of each torso, an actor's and a critic's, that sees a vector of observations, and how many
    numbers of an action it sees behind them.
    """
    firsts: dict[str, str] = {}
    for name, w in weights.items():
        torso, found, _ = name.partition("torso.")
        if found and name.endswith(".weight") and w.ndim in (2, 3):
            firsts.setdefault(torso, name)
    beside = {name: weights[name].shape[1] - old.obs_shape[0] for name in firsts.values()}
    return [(name.removesuffix(".weight"), n) for name, n in beside.items() if n in (0, old.actions)]


def _more_moments(weights: Weights, old: TaskSpec, spec: TaskSpec) -> dict[str, Tensor]:
    """Statistics of observations, where there are some: new channels have those of a newborn, mean 0 and variance 1."""
    new = spec.obs_shape[0] - old.obs_shape[0]
    fill = {"moments.mean": 0.0, "moments.var": 1.0}
    return {
        name: torch.cat([w, w.new_full((new,), number)])
        for ending, number in fill.items()
        for name, w in weights.items()
        if name.endswith(ending) and tuple(w.shape) == tuple(old.obs_shape)
    }
