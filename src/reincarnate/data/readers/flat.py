"""Logs that list their steps one after another: what they have in common on the way to the native format."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from reincarnate.data.dataset import Columns
from reincarnate.data.rows import Outline, outline
from reincarnate.errors import UserError
from reincarnate.types import TaskSpec

BLOCK = 1 << 24  # bytes of observations read at once
LARGEST = 1 << 22  # numbers in one observation
Read = Callable[[int, int], np.ndarray]
"""Rows [from, to) of a column."""


@dataclass(frozen=True)
class Steps:
    """Steps [N] of one stream. `ended` marks the last of every episode, `terminated` those that ended by themselves.

    `successors` are the observations that followed each step, where the log has them.
    """

    observations: Read
    actions: np.ndarray  # [N] or [N, A]
    rewards: np.ndarray  # [N]
    terminated: np.ndarray  # bool [N]
    ended: np.ndarray  # bool [N]
    successors: Read | None = None

    def __len__(self) -> int:
        return len(self.rewards)


def blocks(spec: TaskSpec, steps: Steps) -> Iterator[Columns]:
    """The steps as rows of the native format, so many at a time that little memory is needed.

    Where the log has successors, an episode is also cut wherever a step's is not the observation that comes next.
    """
    if not len(steps):
        return
    size = _at_once(spec)
    if steps.successors:
        steps = replace(steps, ended=steps.ended | _breaks(steps, size))
    ended = steps.ended.copy()
    ended[-1] = True
    plan = outline(steps.terminated, ended, np.ones(len(steps), bool), steps.successors is not None)
    for first in range(0, len(plan), size):
        rows = slice(first, min(first + size, len(plan)))
        yield plan.columns(spec, rows, _frames(steps, plan, rows), steps.actions, steps.rewards)


def _frames(steps: Steps, plan: Outline, rows: slice) -> np.ndarray:
    """What the rows show: observations, and in tails that were put in successors, or zeros where nobody knows them."""
    step, inserted = plan.step[rows], plan.inserted[rows]
    low, high = int(step[0]), int(step[-1]) + 1
    frames = steps.observations(low, high)[step - low]
    if inserted.any():
        frames[inserted] = steps.successors(low, high)[step[inserted] - low] if steps.successors else 0
    return frames


def _breaks(steps: Steps, size: int) -> np.ndarray:
    """Steps [N] whose successor is not what the log shows next."""
    assert steps.successors is not None
    broken = np.zeros(len(steps), bool)
    for first in range(0, len(steps) - 1, size):
        last = min(first + size, len(steps) - 1)
        there, here = steps.successors(first, last), steps.observations(first + 1, last + 1)
        same = (there == here) | ((there != there) & (here != here))
        broken[first:last] = ~same.reshape(len(same), -1).all(1)
    return broken


def _at_once(spec: TaskSpec) -> int:
    """How many observations make a block."""
    return max(1, min(BLOCK // (8 * math.prod(spec.obs_shape)), 1 << 16))


def native_dtype(dtype: np.dtype) -> str:
    """The dtype in which observations of this one are stored."""
    return {"b": "bool"}.get(dtype.kind, "uint8" if dtype == np.uint8 else "float32")


def told_spec(
    what: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    actions: np.ndarray,
    task: TaskSpec | None,
) -> TaskSpec:
    """The spec of a log whose files show only its columns: `actions` are all that were taken.

    Discrete actions number one more than the greatest; the bounds of continuous ones are the least and the greatest,
    of which a task given knows better. UserError: actions that are neither, or none at all.
    """
    if dtype.kind not in "fiub" or not shape or not 0 < math.prod(shape) <= LARGEST:
        raise UserError(f"{what}: observations are {dtype}{list(shape)}; arrays of numbers are needed")
    if not len(actions):
        raise UserError(f"{what}: holds no steps")
    spec = TaskSpec("", shape, native_dtype(dtype), 0, 1, None, {})
    if actions.ndim == 1 and actions.dtype.kind in "iu":
        low, high = int(actions.min()), int(actions.max())
        if low < 0 or high >= 1 << 16:
            raise UserError(f"{what}: discrete actions go from {low} to {high}; they must count from 0")
        return replace(spec, actions=high + 1)
    if actions.ndim != 2 or actions.dtype.kind != "f" or not actions.shape[1]:
        raise UserError(f"{what}: actions are {actions.dtype}{list(actions.shape[1:])}, neither numbers nor vectors")
    if task is not None and task.continuous and task.actions == actions.shape[1]:
        return replace(spec, actions=task.actions, bounds=task.bounds)
    bounds = tuple(tuple(map(float, edge(actions, axis=0))) for edge in (np.nanmin, np.nanmax))
    if not np.isfinite(bounds).all():
        raise UserError(f"{what}: actions are not all finite")
    return replace(spec, actions=actions.shape[1], bounds=(bounds[0], bounds[1]))


def listed(names: Iterable[object]) -> str:
    """The first few names that a file gives, in one line."""
    return ", ".join(" ".join(str(name)[:40].split()) for name in islice(names, 8))


def as_flags(values: np.ndarray, what: str) -> np.ndarray:
    """A column of booleans, or of numbers 0 and 1, as bool [N]. UserError: anything else."""
    flags = values.reshape(len(values), -1)
    if flags.shape[1:] != (1,) or flags.dtype.kind not in "biuf" or not np.isin(flags, (0, 1)).all():
        raise UserError(f"{what}: a column of zeros and ones was expected")
    return flags[:, 0].astype(bool)


def flat_rewards(values: np.ndarray, what: str) -> np.ndarray:
    """A column of rewards, [N]. UserError: more than one number a step."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise UserError(f"{what}: rewards are {values.dtype}{list(values.shape[1:])}; one number a step is needed")
    return values


def flat_actions(values: np.ndarray) -> np.ndarray:
    """A column of actions: whole numbers as [N], also where each is a vector of one."""
    if values.ndim == 2 and values.shape[1] == 1 and values.dtype.kind in "iu":
        return values[:, 0]
    return values[:, None] if values.ndim == 1 and values.dtype.kind == "f" else values


def check_actions(actions: np.ndarray, spec: TaskSpec, what: str) -> None:
    """UserError: actions that are not of this kind, or not among those that there are."""
    if spec.continuous:
        if actions.shape[1:] != (spec.actions,) or actions.dtype.kind != "f":
            raise UserError(f"{what}: actions are {actions.dtype}{list(actions.shape[1:])}, not {spec.actions} numbers")
    elif actions.ndim != 1 or actions.dtype.kind not in "iu":
        raise UserError(f"{what}: actions are {actions.dtype}{list(actions.shape[1:])}, not whole numbers")
    elif len(actions) and not 0 <= int(actions.min()) <= int(actions.max()) < spec.actions:
        raise UserError(f"{what}: actions go from {actions.min()} to {actions.max()}; there are {spec.actions}")


def tails_lost(terminated: np.ndarray, ended: np.ndarray) -> tuple[str, ...]:
    """A warning where episodes were cut and the log has not what followed."""
    cut = int(np.count_nonzero(ended[:-1] & ~terminated[:-1])) + int(not terminated[-1])
    if not cut:
        return ()
    return (f"{cut:,} episodes were cut, by a limit or by the file's end, without what followed: each loses one step",)


def clustered(terminated: np.ndarray) -> tuple[str, ...]:
    """A warning where steps terminate right after a termination: flags of a state, it seems, not of an end."""
    again = int(np.count_nonzero(terminated[1:] & terminated[:-1]))
    if not again or bool(terminated.all()):  # every episode may be one step long
        return ()
    return (
        f"{again:,} steps terminate right after a termination, and each becomes an episode of one step: perhaps every "
        "step at the goal is marked (as antmaze's are); returns and lengths are then of pieces, not of episodes",
    )
