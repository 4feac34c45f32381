"""What an environment says: a task, its steps, what an actor sees of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


SIDES = 3  # of a picture: rows, columns, channels


def channels_first(shape: tuple[int, ...], dtype: str) -> bool:
    """Whether a picture of bytes is channels × rows × columns: where its first side is the smallest (SB3's rule)."""
    return dtype == "uint8" and len(shape) == SIDES and shape[0] < min(shape[1:])


@dataclass(frozen=True)
class TaskSpec:
    """What a task looks like to an agent, and the protocol under which it is played.

    `obs_shape` and `obs_dtype` describe one observation. With `stack` > 1 its leading axis holds that many frames,
    oldest first, zeros before the episode's start. `protocol` is everything a fair comparison must hold equal
    (sticky actions, frame skip, time limit, reward clipping ...), as JSON values. Where actions are continuous,
    `actions` counts the numbers in one and `bounds` holds their least and greatest values. `codec` names how
    observations are stored, where not as they are (`data.codecs`).
    """

    id: str
    obs_shape: tuple[int, ...]
    obs_dtype: str
    actions: int
    stack: int
    reward_clip: float | None
    protocol: dict[str, Any]
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    codec: str | None = None

    @property
    def continuous(self) -> bool:
        """Whether an action is a vector of numbers."""
        return self.bounds is not None

    @property
    def leads(self) -> bool:
        """Whether the leading axis of its pictures holds frames or channels, before rows and columns."""
        return self.stack > 1 or channels_first(self.obs_shape, self.obs_dtype)

    @property
    def score(self) -> str | None:
        """What it is measured by beside the return, by name: `protocol["score"]`, of a task that has such a score."""
        name = self.protocol.get("score")
        return name if isinstance(name, str) else None

    @property
    def entries(self) -> list[tuple[str, int, tuple[int, ...], str]]:
        """What a row of a Dict's shows side by side: name, numbers, shape, dtype; of dm_control vectors. [] else."""
        found = []
        for name, size, *kind in self.protocol.get("observation", ()):
            shape, dtype = kind or ((size,), "float32")
            found.append((name, size, tuple(shape), dtype))
        return found


@runtime_checkable
class Codec(Protocol):
    """How a task's observations are stored where they as they are would be too large; not of stacks of frames.

    `form` is shape and dtype of one stored row; what `decode` brings back need only be nearly what `encode` was given.
    """

    def form(self, spec: TaskSpec) -> tuple[tuple[int, ...], str]: ...
    def encode(self, obs: np.ndarray) -> np.ndarray: ...  # [n, *O] -> [n, *S]
    def decode(self, stored: np.ndarray) -> np.ndarray: ...  # [n, *S] -> [n, *O]


class Step(NamedTuple):
    """What a vector environment of n copies says after one action in each.

    `next_obs` is the true successor of the action everywhere; `obs` is what to act on next, which differs from it
    only where an episode ended. Rewards are unclipped. `mask` says which actions are legal in `obs`, `next_mask` in
    `next_obs`; None where the task says nothing of that.
    """

    obs: np.ndarray  # [n, *O]
    next_obs: np.ndarray  # [n, *O]
    reward: np.ndarray  # float32 [n]
    terminated: np.ndarray  # bool [n]
    truncated: np.ndarray  # bool [n]
    mask: np.ndarray | None = None  # bool [n, A]
    next_mask: np.ndarray | None = None  # bool [n, A]


@runtime_checkable
class VectorEnv(Protocol):
    """n copies of a task, each starting a new episode by itself the moment one ends.

    One whose task names a score of its own (`TaskSpec.score`) also has `score` [n]: the last step's share of it, which
    is summed over the episode; 0 of a copy that was left alone.
    """

    spec: TaskSpec
    n: int

    def reset(self, rng: np.random.Generator) -> np.ndarray: ...
    def step(self, actions: np.ndarray) -> Step: ...
    def view(self, name: str) -> np.ndarray: ...
    def close(self) -> None: ...


class TimeStep(NamedTuple):
    """What n copies show now, to whoever is asked what to do.

    `begins` marks copies where an episode starts: whoever remembers, forgets. `view` gives another look at the same
    moment by its name, `mask` the actions that are allowed, `task` which of several tasks each copy plays.
    """

    obs: Tensor  # [n, *O]
    begins: Tensor  # bool [n]
    view: Callable[[str], Tensor] | None = None
    mask: Tensor | None = None  # bool [n, A]
    task: Tensor | None = None  # int64 [n]

    def seen(self, view: str) -> Tensor:
        """The observation by a view's name; "student" is the task's own."""
        if view == "student":
            return self.obs
        assert self.view is not None, f"nobody shows the view {view!r} here"
        return self.view(view)
