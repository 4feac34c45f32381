"""How a value student explores: ε over a newborn's life, and actions by it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reincarnate.envs.checks import Unsound
from reincarnate.types import ActorOutput, Policy, TimeStep


@dataclass(frozen=True)
class Exploration:
    """ε of a newborn: 1 while it waits, then linearly to `end` over `steps` env steps."""

    steps: int
    end: float

    def epsilon(self, env_steps: int, newborn: bool, wait: int) -> float:
        """ε at this many env steps into a phase that learns nothing for `wait` of them."""
        if not newborn:
            return self.end
        return max(self.end, 1.0 - (1.0 - self.end) * max(0, env_steps - wait) / max(1, self.steps))


def epsilon_greedy(
    policy: Policy, step: TimeStep, carry: Tensor, actions: int, epsilon: float, rng: np.random.Generator
) -> ActorOutput:
    """The best actions [n] by what a policy says of them, or with probability ε any that is allowed.

    A policy without memory is only asked where its word is needed. Callers are without gradient.
    """
    n, remembers = step.begins.shape[0], carry.shape[-1] > 0
    chosen = rng.integers(actions, size=n)
    greedy = rng.random(n) >= epsilon
    everywhere = greedy.all()
    if step.mask is not None:
        chosen = (rng.random((n, actions)) * step.mask.numpy()).argmax(-1)
    if everywhere or remembers:
        said, carry = policy.predict(step, carry)
        best = best_of(said.x, step.mask)
        return ActorOutput(best if everywhere else np.where(greedy, best, chosen), carry)
    if greedy.any():
        some = torch.from_numpy(greedy)
        mask = None if step.mask is None else step.mask[some]
        said, _ = policy.predict(TimeStep(step.obs[some], step.begins[some], mask=mask), carry[some])
        chosen[greedy] = best_of(said.x, mask)
    return ActorOutput(chosen, carry)


def best_of(x: Tensor, mask: Tensor | None) -> np.ndarray:
    """The best action of each row, of those that are allowed. The one place where acting comes back to the host."""
    if mask is not None:
        x = x.masked_fill(~mask.to(x.device), -torch.inf)
    sound(x.amax(-1))  # a NaN is the greatest of its row
    return to_host(x.argmax(-1))


def sound(x: Tensor) -> None:
    """Raises Unsound where what a student says is NaN or infinite: it must not act by it, nor be scored."""
    if not math.isfinite(total := float(to_host(x.sum()))) and not bool(torch.isfinite(x).all()):
        raise Unsound(f"the student predicts {total:g}")


def to_host(tensor: Tensor) -> np.ndarray:
    """A tensor's numbers for an environment."""
    return tensor.cpu().numpy()
