"""Several tasks side by side behind one vector face: `A,B,C`. Observations and actions are padded, masks say which act.

Copy i plays task i mod T, for good. Vectors are padded with zeros at their end, grids in their channels; screens must
have one shape. The actions are those of all tasks: by name where their family names them (MinAtar, Atari), so that
"left" is one output for every game, else by number. An action that a task has not is masked there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from reincarnate import envs
from reincarnate.envs.task import settings_of
from reincarnate.envs.vector import IDLE, SEED_LIMIT, shares_seeds
from reincarnate.errors import UserError
from reincarnate.types import Step, TaskSpec, VectorEnv


@dataclass(frozen=True)
class Seat:
    """How one task sits in the face of several: what of an observation is its own, where its actions are."""

    task: TaskSpec
    axis: int | None  # of an observation that is padded behind the task's own
    places: tuple[int, ...]  # of its own actions among all
    actions: int  # of all

    @property
    def mask(self) -> np.ndarray:
        """Which of all actions it has, bool [A]."""
        mask = np.zeros(self.actions, bool)
        mask[list(self.places)] = True
        return mask

    def own(self, obs: Tensor) -> Tensor:
        """Padded observations [n, *O] as the task itself shows them."""
        return obs if self.axis is None else obs.narrow(self.axis + 1, 0, self.task.obs_shape[self.axis])

    def padded(self, obs: np.ndarray, whole: np.ndarray) -> None:
        """Write the task's own observations [n, *o] into zeros [n, *O]."""
        sizes = tuple(slice(size) for size in self.task.obs_shape)
        whole[(slice(None), *sizes)] = obs


def is_several(spec: TaskSpec) -> bool:
    """Whether a spec is that of several tasks side by side."""
    return "tasks" in spec.protocol


def names_of(spec: TaskSpec) -> list[str]:
    """The addresses of several tasks, in order; none of one task."""
    return list(spec.protocol["tasks"]) if is_several(spec) else []


def named_actions(spec: TaskSpec) -> list[str] | None:
    """What the actions of several tasks are called; None where they go by number."""
    return spec.protocol.get("actions") if is_several(spec) else None


# ---- the family's face ---------------------------------------------------------------------------------


def ids() -> tuple[str, ...]:
    """None: any tasks will do."""
    return ()


def identity(address: str) -> dict[str, Any]:
    """Each task's own."""
    return {"id": address, "tasks": [envs.identity(part) for part in settings_of(address).parts]}


def remarks(address: str) -> list[str]:
    """What a person should know of any of them."""
    said = {part.address: envs.remarks(part) for part in settings_of(address).parts}
    return [f"{task}: {line}" for task, lines in said.items() for line in lines]


def seats(address: str) -> tuple[Seat, ...]:
    """How each task sits in the face of all. Raises UserError where they cannot be padded to one."""
    parts = settings_of(address).parts
    specs = [envs.spec(part) for part in parts]
    axis = _axis(specs)
    names = [envs.action_names(part) for part in parts]
    if any(name is None for name in names):
        places, count = [tuple(range(spec.actions)) for spec in specs], max(spec.actions for spec in specs)
    else:
        every = _all_names(names)
        places, count = [tuple(every.index(name) for name in own or ()) for own in names], len(every)
    pairs = zip(specs, places, strict=True)
    return tuple(Seat(spec, axis, place, count) for spec, place in pairs)


def _all_names(names: Sequence[Sequence[str] | None]) -> list[str]:
    """The names of all tasks' actions, in the order of the longest list of them, then as they come."""
    return list(dict.fromkeys(name for own in sorted(names, key=lambda own: -len(own or ())) for name in own or ()))


def spec(address: str) -> TaskSpec:
    """The padded face; its protocol holds each task's own. Raises UserError."""
    found = seats(address)
    first, shapes = found[0].task, [seat.task.obs_shape for seat in found]
    names = [envs.action_names(part) for part in settings_of(address).parts]
    protocol = {
        "env": address,
        "tasks": {seat.task.id: seat.task.protocol for seat in found},
        "actions": None if any(name is None for name in names) else _all_names(names),
        "reward_clip": first.reward_clip,
    }
    shape = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    return TaskSpec(address, shape, first.obs_dtype, found[0].actions, first.stack, first.reward_clip, protocol)


def _axis(specs: Sequence[TaskSpec]) -> int | None:
    """The axis of observations that is padded. Raises UserError for tasks that do not go together, naming two."""
    first = specs[0]
    axis = 0 if len(first.obs_shape) == 1 else len(first.obs_shape) - 1 if first.stack == 1 else None
    for other in specs:
        for spec in (first, other):
            if spec.continuous:
                raise UserError(f"{spec.id} has continuous actions; several tasks side by side need discrete ones")
        told = [(one.id, one.obs_shape) for one in (first, other)]
        if len({(len(one.obs_shape), one.stack, one.obs_dtype) for one in (first, other)}) > 1:
            kinds = [f"{one.obs_dtype}{list(one.obs_shape)}" for one in (first, other)]
            raise _unlike(first, other, f"one shows {kinds[0]}, the other {kinds[1]}")
        rest = {tuple(size for i, size in enumerate(shape) if i != axis) for _, shape in told}
        if len(rest) > 1:
            raise _unlike(first, other, f"{list(first.obs_shape)} and {list(other.obs_shape)} differ in more than that")
        if first.reward_clip != other.reward_clip:
            raise _unlike(first, other, "their rewards are not clipped alike")
    return axis


def _unlike(one: TaskSpec, other: TaskSpec, why: str) -> UserError:
    what = "vectors are padded at their end, grids in their channels"
    return UserError(f"{one.id} and {other.id} cannot be played side by side: {why} ({what})")


def make(address: str, n: int, view: str) -> VectorEnv:
    """`n` copies in all, an equal share of each task. Raises UserError for a number that cannot be shared out."""
    found = seats(address)
    if view != "student":
        raise UserError(f"several tasks side by side offer no view {view!r} for a teacher")
    if n % len(found):
        raise UserError(f"{n} copies cannot be shared by {len(found)} tasks: it must be a multiple of {len(found)}")
    members: list[VectorEnv] = []
    try:
        for part in settings_of(address).parts:
            members.append(envs.make(part, n // len(found)))
    except UserError:
        for member in members:
            member.close()
        raise
    return Several(spec(address), found, members)


class Several:
    """The copies of several tasks as one vector environment.

    `task` (int64 [n]) says what each copy plays, `mask` (bool [n, A]) which actions it has now.
    """

    def __init__(self, spec: TaskSpec, found: Sequence[Seat], members: Sequence[VectorEnv]):
        self.spec, self.n = spec, sum(member.n for member in members)
        self._seats, self._members = found, members
        self.task = np.arange(self.n) % len(members)
        self._rows = [np.flatnonzero(self.task == i) for i in range(len(members))]
        self._own = np.full((len(members), spec.actions + 1), IDLE)  # the last one is IDLE, which is -1
        for own, seat in zip(self._own, found, strict=True):
            own[list(seat.places)] = np.arange(len(seat.places))
        self._standing = np.stack([seat.mask for seat in found])[self.task]
        self.mask = self._standing

    @property
    def seeded_apart(self) -> bool:
        """Whether each copy can begin from a seed of its own."""
        return all(map(shares_seeds, self._members))

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        """Begin anew everywhere. Returns obs [n, *O]."""
        if self.seeded_apart:
            return self.begin(rng.integers(SEED_LIMIT, size=self.n))
        return self._begun([member.reset(rng) for member in self._members])

    def begin(self, seeds: np.ndarray) -> np.ndarray:
        """Begin anew everywhere, each copy from its seed."""
        pairs = zip(self._members, self._rows, strict=True)
        return self._begun([member.begin(seeds[rows]) for member, rows in pairs])  # pyright: ignore

    def _begun(self, obs: Sequence[np.ndarray]) -> np.ndarray:
        self._obs = self._padded(obs)
        self.mask = self._masks({i: getattr(member, "mask", None) for i, member in enumerate(self._members)})
        return self._obs

    def step(self, actions: np.ndarray) -> Step:
        """One action in each copy; IDLE leaves it alone. An action that a task has not is refused."""
        own = self._own[self.task, actions]
        if (wrong := (own == IDLE) & (np.asarray(actions) != IDLE)).any():
            i = int(np.flatnonzero(wrong)[0])
            raise UserError(f"{self._seats[self.task[i]].task.id} has no action {actions[i]}: it is masked there")
        pairs = zip(self._members, self._rows, strict=True)
        steps: list[Step] = [member.step(own[rows]) for member, rows in pairs]
        next_obs = self._padded([step.next_obs for step in steps])
        same = all(step.obs is step.next_obs for step in steps)
        self._obs = next_obs if same else self._padded([step.obs for step in steps])
        self.mask = self._masks({i: step.mask for i, step in enumerate(steps)})
        told = ("reward", "terminated", "truncated")
        columns = [self._scattered([getattr(step, name) for step in steps]) for name in told]
        next_mask = self._masks({i: step.next_mask for i, step in enumerate(steps)})
        reward, terminated, truncated = columns
        return Step(self._obs, next_obs, reward, terminated, truncated, self.mask, next_mask)

    def _padded(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        whole = np.zeros((self.n, *self.spec.obs_shape), self.spec.obs_dtype)
        for seat, rows, part in zip(self._seats, self._rows, parts, strict=True):
            block = np.zeros((len(rows), *self.spec.obs_shape), self.spec.obs_dtype)
            seat.padded(part, block)
            whole[rows] = block
        return whole

    def _scattered(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        whole = np.zeros(self.n, parts[0].dtype)
        for rows, part in zip(self._rows, parts, strict=True):
            whole[rows] = part
        return whole

    def _masks(self, said: Mapping[int, np.ndarray | None]) -> np.ndarray:
        """What each task allows of what it has; tasks that say nothing allow all."""
        if all(mask is None for mask in said.values()):
            return self._standing
        whole = self._standing.copy()
        for i, mask in said.items():
            if mask is not None:
                whole[self._rows[i][:, None], np.asarray(self._seats[i].places)] = mask
        return whole

    def view(self, name: str) -> np.ndarray:
        """The padded observations to act on; there is no other view."""
        return self._obs

    def close(self) -> None:
        """Close every member."""
        for member in self._members:
            member.close()
