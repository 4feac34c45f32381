"""Episodes to scores, on random streams of their own, and scores to the scale random = 0, teacher = 1."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reincarnate import envs
from reincarnate.training.players import Stage
from reincarnate.types import Actor, VectorEnv

Z95 = 1.96
MAX_COPIES = 32  # environments stepped together: enough to batch, few enough to keep 84×84 screens in cache


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted, unclipped returns of whole episodes, and the env steps they took.

    Of several tasks `tasks` says by its number which each episode was of; the score is the mean of the tasks' scores.
    """

    returns: tuple[float, ...]
    env_steps: int
    tasks: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """The score."""
        return float(np.mean([part.mean for part in self.parts] if self.tasks else self.returns))

    @property
    def parts(self) -> "tuple[Evaluation, ...]":
        """Each task's own, of several tasks; env steps are only known of all together."""
        of = np.asarray(self.tasks)
        returns = np.asarray(self.returns)
        return tuple(Evaluation(tuple(returns[of == i].tolist()), 0) for i in range(max(self.tasks, default=-1) + 1))

    @property
    def error(self) -> float:
        """The score's standard error; of several tasks that of a mean of independent means."""
        if self.tasks:
            parts = self.parts
            return sum(part.error**2 for part in parts) ** 0.5 / len(parts)
        return float(np.std(self.returns, ddof=1)) / len(self.returns) ** 0.5 if len(self.returns) > 1 else 0.0

    def interval(self) -> tuple[float, float]:
        """The mean's 95 % interval by the normal approximation: mean ± 1.96 standard errors."""
        return self.mean - Z95 * self.error, self.mean + Z95 * self.error

    @classmethod
    def of_tasks(cls, parts: "Sequence[Evaluation]") -> "Evaluation":
        """Evaluations of several tasks as one."""
        tasks = tuple(i for i, part in enumerate(parts) for _ in part.returns)
        return cls(tuple(r for part in parts for r in part.returns), sum(part.env_steps for part in parts), tasks)


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

    def of(self, result: Evaluation) -> tuple[float, float, float]:
        """An evaluation's normalised score, and the ends of its 95 % interval."""
        low, high = result.interval()
        return self.normalise(result.mean), self.normalise(low), self.normalise(high)


@dataclass(frozen=True)
class Scales(Scale):
    """The scales of several tasks; `random` and `teacher` are the means of theirs.

    A normalised score is the mean of the tasks' normalised scores, so that tasks of large returns count no more.
    """

    tasks: tuple[Scale, ...] = ()

    @classmethod
    def of_tasks(cls, tasks: "Sequence[Scale]") -> "Scales":
        """Of each task's own scale."""
        means = [float(np.mean([getattr(scale, name) for scale in tasks])) for name in ("random", "teacher")]
        return cls(*means, tuple(tasks))

    def each(self, result: Evaluation) -> tuple[float, ...]:
        """Each task's normalised score."""
        return tuple(scale.normalise(part.mean) for scale, part in zip(self.tasks, result.parts, strict=True))

    def of(self, result: Evaluation) -> tuple[float, float, float]:
        """The mean of the tasks' normalised scores, and the ends of its 95 % interval: their errors are independent."""
        score = float(np.mean(self.each(result)))
        spans = [max(scale.teacher - scale.random, 0.0) for scale in self.tasks]  # 0: such a scale has two values alone
        errors = [p.error / span if span else 0.0 for p, span in zip(result.parts, spans, strict=True)]
        half = Z95 * sum(error**2 for error in errors) ** 0.5 / len(errors)
        return score, score - half, score + half


def play_episodes(
    env: VectorEnv,
    actor: Actor,
    episodes: int,
    rng: np.random.Generator,
    on_episode: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Play exactly `episodes` episodes. Each copy has a fixed share, so that short ones are not over-counted."""
    task = getattr(env, "task", None)
    share = np.full(env.n, episodes // env.n) + (np.arange(env.n) < episodes % env.n)
    stage = Stage(env, actor, env.reset(rng))
    returns: list[float] = []
    tasks: list[int] = []
    steps = 0
    while (share > 0).any():
        busy = share > 0
        stage.play(0.0, rng, ~busy)
        steps += int(busy.sum())
        ended = stage.ended()
        for i, total in ended:
            if busy[i]:
                returns.append(total)
                tasks += [] if task is None else [int(task[i])]
                share[i] -= 1
        if ended:
            on_episode(len(returns))
    return Evaluation(tuple(returns), steps, tuple(tasks))


def evaluate(
    env_id: str,
    actor: Actor,
    episodes: int,
    rng: np.random.Generator,
    view: str = "student",
    on_episode: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Evaluate on fresh environments; `view` is the second pair of eyes that the actor needs, if any."""
    tasks = max(1, len(envs.parse(env_id).parts))
    env = envs.make(env_id, max(1, min(episodes, MAX_COPIES) // tasks) * tasks, view)
    try:
        return play_episodes(env, actor, episodes, rng, on_episode)
    finally:
        env.close()
