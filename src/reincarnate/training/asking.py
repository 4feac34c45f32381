"""Asking an agent for actions, one observation or many at a time, as other libraries ask theirs."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.training.players import acted, allowed
from reincarnate.types import Policy, TaskSpec, TimeStep


@torch.no_grad()
def ask(
    asked: tuple[Policy, np.random.Generator],
    spec: TaskSpec,
    obs: Any,
    state: Any,
    episode_start: Any,
    deterministic: bool,
    action_masks: Any,
) -> tuple[Any, Tensor]:
    """Actions [n] or [n, A] in the task's units (of one observation: without n), and the memory after them."""
    policy, rng = asked
    seen = np.ascontiguousarray(obs, dtype=spec.obs_dtype)
    single = seen.shape == spec.obs_shape
    seen = seen[None] if single else seen
    if seen.shape[1:] != spec.obs_shape:
        raise UserError(f"{spec.id} has observations {spec.obs_shape}; these are {np.shape(obs)}")
    n = len(seen)
    begins = np.full(n, state is None) if episode_start is None else np.asarray(episode_start, bool).reshape(n)
    mask = None if action_masks is None else torch.from_numpy(np.asarray(action_masks, bool).reshape(n, -1))
    step = TimeStep(torch.from_numpy(seen), torch.from_numpy(begins), mask=mask)
    said, state = policy.predict(step, policy.initial(n) if state is None else state)
    action = acted(allowed(said, mask), said.kind, spec, rng, "greedy" if deterministic else "sample")
    return (action[0] if single else action), state
