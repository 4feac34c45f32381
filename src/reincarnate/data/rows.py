"""Episodes as rows of the native format: one by one, or all the steps of a log at once."""

from dataclasses import dataclass

import numpy as np

from reincarnate.data.codecs import codec_of, encoded
from reincarnate.data.dataset import Columns
from reincarnate.data.replay import ENDED, TAIL, TERMINATED
from reincarnate.types import TaskSpec


def episode(spec: TaskSpec, frames: np.ndarray, actions: np.ndarray, rewards: np.ndarray, terminated: bool) -> Columns:
    """One episode of T ≥ 1 actions as T + 1 rows: `frames` [T + 1, …] (with a stack, the newest frame of each
    observation), `actions` [T] or [T, A], `rewards` [T].

    The last frame is the tail, on which nobody acted. Not `terminated`: it was cut by a limit, or by whoever stopped
    collecting. Rewards are clipped as the task's are.
    """
    steps = len(actions)
    flags = np.zeros(steps + 1, np.uint8)
    flags[-2:] = ENDED | (TERMINATED if terminated else np.uint8(0)), TAIL
    return {
        "frame": encoded(codec_of(spec), narrowed(frames, spec.obs_dtype)),
        "action": np.concatenate([actions, np.zeros_like(actions[:1])]).astype(action_dtype(spec)),
        "reward": np.append(clipped(spec, rewards), np.float32(0)),
        "flags": flags,
        "age": np.arange(steps + 1, dtype=np.int32),
    }


@dataclass(frozen=True)
class Outline:
    """How logged steps become rows: for each row the step it shows, and whether it is the tail put after that step.

    A tail that was put there shows the step's successor. `flags` and `age` are those columns, whole.
    """

    step: np.ndarray  # int64 [rows], ascending
    inserted: np.ndarray  # bool [rows]
    flags: np.ndarray  # uint8 [rows]
    age: np.ndarray  # int32 [rows]

    def __len__(self) -> int:
        return len(self.step)

    @property
    def transitions(self) -> int:
        """How many rows an action was taken in."""
        return int(np.count_nonzero(self.flags & TAIL == 0))

    def columns(
        self, spec: TaskSpec, rows: slice, frames: np.ndarray, actions: np.ndarray, rewards: np.ndarray
    ) -> Columns:
        """These rows, whose frames are given; actions and rewards [steps] are all that there are."""
        step, tails = self.step[rows], self.flags[rows] == TAIL
        action, reward = actions[step].astype(action_dtype(spec)), clipped(spec, rewards[step])
        action[tails], reward[tails] = 0, 0
        return {
            "frame": narrowed(frames, spec.obs_dtype),
            "action": action,
            "reward": reward,
            "flags": self.flags[rows],
            "age": self.age[rows],
        }


def outline(terminated: np.ndarray, ended: np.ndarray, kept: np.ndarray, successors: bool) -> Outline:
    """Steps [N] one after another as rows. `ended` marks the last step of every episode, `terminated` some of these;
    those not `kept` are left out, and the last one kept has ended.

    With `successors` each last step is followed by a tail of its successor. Without, a termination's is never looked
    at; a step cut by a limit, whose successor nobody knows, becomes the tail itself, and its action is lost.
    """
    ended = ended | terminated
    flags = ended * ENDED + terminated * TERMINATED
    follows = ended if successors else terminated
    if not successors:
        flags, kept = _cut(flags, ended, kept & ended & ~terminated, kept)
    count = kept * (1 + follows)
    step = np.repeat(np.arange(len(kept)), count)
    inserted = np.zeros(len(step), bool)
    inserted[1:] = step[1:] == step[:-1]
    flags = np.where(inserted, TAIL, flags[step])
    return Outline(step, inserted, flags, _age(flags))


def _cut(flags: np.ndarray, ended: np.ndarray, cut: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps that are `cut` become tails, the steps before them the last; where there is none, the step is dropped."""
    goes_on = np.zeros(len(kept), bool)
    goes_on[1:] = kept[:-1] & ~ended[:-1]
    tails = cut & goes_on
    flags = np.where(tails, TAIL, flags)
    flags[:-1][tails[1:]] |= ENDED
    return flags, kept & ~(cut & ~goes_on)


def _age(flags: np.ndarray) -> np.ndarray:
    """Rows since the episode's first, which follows a tail."""
    at = np.arange(len(flags))
    starts = np.zeros(len(flags), np.int64)
    starts[1:] = np.where(flags[:-1] == TAIL, at[1:], 0)
    return (at - np.maximum.accumulate(starts)).astype(np.int32)


def action_dtype(spec: TaskSpec) -> type[np.generic]:
    """Of the column `action`."""
    return np.float32 if spec.continuous else np.uint8 if spec.actions <= 256 else np.int32


def clipped(spec: TaskSpec, rewards: np.ndarray) -> np.ndarray:
    """Rewards as the task stores them, float32."""
    if spec.reward_clip is not None:
        rewards = np.clip(rewards, -spec.reward_clip, spec.reward_clip)
    return narrowed(rewards, "float32")


def narrowed(values: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers of another dtype; what is too large for it becomes infinite, without a warning."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(dtype, copy=False)
