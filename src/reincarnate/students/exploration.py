"""How a student explores: ε over a newborn's life, and actions by it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reincarnate.types import Phase


@dataclass(frozen=True)
class Exploration:
    """ε of a newborn: 1 for `warmup` env steps, then linearly to `end` over `steps`. No updates during warm-up.

    A warm phase has no warm-up.
    """

    warmup: int
    steps: int
    end: float

    def wait(self, phase: Phase) -> int:
        """Env steps of the phase before its first update."""
        return 0 if phase.warm else self.warmup

    def epsilon(self, phase: Phase, env_steps: int) -> float:
        """ε at this many env steps into the phase."""
        if not phase.anneal:
            return self.end
        return max(self.end, 1.0 - (1.0 - self.end) * max(0, env_steps - self.wait(phase)) / max(1, self.steps))


def epsilon_greedy(
    values: Callable[[np.ndarray], np.ndarray], obs: np.ndarray, actions: int, epsilon: float, rng: np.random.Generator
) -> np.ndarray:
    """Actions [n]: the best by `values` [n, A], or with probability ε any. Values are asked for only where needed."""
    chosen = rng.integers(actions, size=len(obs))
    greedy = rng.random(len(obs)) >= epsilon
    if greedy.all():
        return values(obs).argmax(-1)
    if greedy.any():
        chosen[greedy] = values(obs[greedy]).argmax(-1)
    return chosen
