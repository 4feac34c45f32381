"""Episodes to scores, on random streams of their own, and scores to the scale random = 0, teacher = 1."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reincarnate import envs
from reincarnate.training.players import Stage
from reincarnate.types import Actor, VectorEnv

Z95 = 1.96
MAX_COPIES = 32  # environments stepped together: enough to batch, few enough to keep 84×84 screens in cache


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted, unclipped returns of whole episodes, and the env steps they took."""

    returns: tuple[float, ...]
    env_steps: int

    @property
    def mean(self) -> float:
        """The score."""
        return float(np.mean(self.returns))

    def interval(self) -> tuple[float, float]:
        """The mean's 95 % interval by the normal approximation: mean ± 1.96 standard errors."""
        error = float(np.std(self.returns, ddof=1)) / len(self.returns) ** 0.5 if len(self.returns) > 1 else 0.0
        return self.mean - Z95 * error, self.mean + Z95 * error


@dataclass(frozen=True)
class Scale:
    """The two anchors of normalised scores."""

    random: float
    teacher: float

    def normalise(self, score: float) -> float:
        """(score − random) / (teacher − random): 0 at the random policy's score, 1 at the teacher's, for any signs.

        A teacher no better than random gives no scale: a score as good as its own counts as 1, a worse one as 0, so
        that the first evaluation as good as such a teacher's ends its teaching.
        """
        if self.teacher <= self.random:
            return 1.0 if score >= self.teacher else 0.0
        return (score - self.random) / (self.teacher - self.random)


def play_episodes(
    env: VectorEnv,
    actor: Actor,
    episodes: int,
    rng: np.random.Generator,
    on_episode: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Play exactly `episodes` episodes. Each copy has a fixed share, so that short ones are not over-counted."""
    share = np.full(env.n, episodes // env.n) + (np.arange(env.n) < episodes % env.n)
    stage = Stage(env, actor, env.reset(rng))
    returns: list[float] = []
    steps = 0
    while (share > 0).any():
        busy = share > 0
        stage.play(0.0, rng, ~busy)
        steps += int(busy.sum())
        ended = stage.ended()
        for i, total in ended:
            if busy[i]:
                returns.append(total)
                share[i] -= 1
        if ended:
            on_episode(len(returns))
    return Evaluation(tuple(returns), steps)


def evaluate(
    env_id: str,
    actor: Actor,
    episodes: int,
    rng: np.random.Generator,
    view: str = "student",
    on_episode: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Evaluate on fresh environments; `view` is the second pair of eyes that the actor needs, if any."""
    env = envs.make(env_id, min(episodes, MAX_COPIES), view)
    try:
        return play_episodes(env, actor, episodes, rng, on_episode)
    finally:
        env.close()
