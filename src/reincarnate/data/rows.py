"""Episodes as rows of the native format."""

import numpy as np

from reincarnate.data.dataset import Columns
from reincarnate.data.sampling import ENDED, TAIL, TERMINATED
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
    clip = np.inf if spec.reward_clip is None else spec.reward_clip
    kind = np.float32 if spec.continuous else np.uint8 if spec.actions <= 256 else np.int32
    return {
        "frame": np.asarray(frames).astype(spec.obs_dtype, copy=False),
        "action": np.concatenate([actions, np.zeros_like(actions[:1])]).astype(kind),
        "reward": np.append(np.clip(rewards, -clip, clip), 0).astype(np.float32),
        "flags": flags,
        "age": np.arange(steps + 1, dtype=np.int32),
    }
