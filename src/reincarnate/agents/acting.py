"""From what a policy predicts to actions in the task's units: greedily or sampled, one observation or many."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from reincarnate.data.layouts import from_unit
from reincarnate.errors import UserError
from reincarnate.losses.log_probs import masked
from reincarnate.types import CONTINUOUS, LOGITS, MEANS, Policy, Prediction, TaskSpec, TimeStep


def play(
    logits: Float[Tensor, "B A"], tells: str, rng: np.random.Generator, how: str = "auto"
) -> Int64[np.ndarray, "B"] | Float32[np.ndarray, "B A"]:
    """Actions played from what a teacher tells.

    `how`: "greedy" takes the best; "sample" draws from the softmax, one uniform number of `rng` a row;
    "auto" is what the teacher itself would do: a policy of logits samples, all others are greedy. Continuous
    actions are taken as they are told.
    """
    if how not in ("auto", "greedy", "sample"):
        raise ValueError(f"how is 'auto', 'greedy' or 'sample', not {how!r}")
    if tells == MEANS:
        return logits.float().cpu().numpy()
    if how == "greedy" or (how == "auto" and tells != LOGITS):
        return logits.argmax(-1).cpu().numpy()
    ladder = torch.softmax(logits.double(), -1).cumsum(-1).cpu().numpy()
    level = rng.random(len(ladder))[:, None] * ladder[:, -1:]
    return np.asarray((ladder <= level).sum(-1), dtype=np.int64)


def acted(said: Prediction, tells: str, spec: TaskSpec, rng: np.random.Generator, how: str) -> np.ndarray:
    """Actions by a prediction: int64 [n], or float32 [n, A] in the task's units."""
    if said.kind not in CONTINUOUS:
        return play(said.x, tells, rng, how)
    return from_unit(spec, unit_actions(said, rng, how).cpu().numpy())


def unit_actions(said: Prediction, rng: np.random.Generator, how: str) -> Tensor:
    """Continuous actions in [-1, 1]: the mean, or with `how` "sample" a draw."""
    if said.kind == "means":
        return said.x.clamp(-1, 1)
    mean, log_std = said.x.chunk(2, -1)
    if how == "sample":
        noise = torch.from_numpy(rng.standard_normal(tuple(mean.shape), np.float32)).to(mean.device)
        mean = mean + log_std.exp() * noise
    return mean.tanh() if said.kind == "squashed" else mean.clamp(-1, 1)


def allowed(said: Prediction, mask: Tensor | None) -> Prediction:
    """The prediction with −∞ for actions that a mask [n, A] forbids."""
    if mask is None or said.kind in CONTINUOUS:
        return said
    return said._replace(x=masked(said.x, mask))


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
