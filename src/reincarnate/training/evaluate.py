"""Episodes to scores, on random streams of their own, and scores to the scale random = 0, teacher = 1."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reincarnate import envs
from reincarnate.errors import UserError
from reincarnate.training.players import Stage
from reincarnate.types import Actor, TaskSpec, VectorEnv

Z95 = 1.96
RETURN = "return"  # what is measured where nobody asks for a task's own score
MAX_COPIES = 32  # environments stepped together: enough to batch, few enough to keep 84×84 screens in cache


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted, unclipped returns of whole episodes, and the env steps they took.

    `own` are the episodes' scores by the task's own measure, `name`, where it has one. `metric` says which of the two
    `mean` and `interval` are of. Of several tasks `tasks` says by its number which each episode was of; the score is
    the mean of the tasks' scores. `copies` says which copy of the environment each was played in.
    """

    returns: tuple[float, ...]
    env_steps: int
    own: tuple[float, ...] = ()
    name: str | None = None
    metric: str = RETURN
    tasks: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()

    def by(self, metric: str) -> "Evaluation":
        """The same, measured by the return or by the task's own score."""
        return replace(self, metric=metric)

    @property
    def values(self) -> tuple[float, ...]:
        """What each episode scored."""
        return self.returns if self.metric == RETURN else self.own

    @property
    def mean(self) -> float:
        """The score."""
        return float(np.mean([part.mean for part in self.parts] if self.tasks else self.values))

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
        n = len(self.values)
        return float(np.std(self.values, ddof=1)) / n**0.5 if n > 1 else 0.0

    def interval(self) -> tuple[float, float]:
        """The mean's 95 % interval by the normal approximation: mean ± 1.96 standard errors."""
        return self.mean - Z95 * self.error, self.mean + Z95 * self.error

    @classmethod
    def of_tasks(cls, parts: "Sequence[Evaluation]") -> "Evaluation":
        """Evaluations of several tasks as one."""
        tasks = tuple(i for i, part in enumerate(parts) for _ in part.returns)
        steps = sum(part.env_steps for part in parts)
        return cls(tuple(r for part in parts for r in part.returns), steps, tasks=tasks)

    def summary(self) -> dict[str, Any]:
        """Mean and interval, as results record them; of a task with a score of its own both of its measures."""
        low, high = self.interval()
        told = {"mean": self.mean, "low": low, "high": high, "episodes": len(self.returns)}
        return told | ({"measures": self.measures()} if self.name else {})

    def measures(self) -> dict[str, dict[str, float]]:
        """Mean and interval by each measure, by its name."""
        found = {}
        for name in (RETURN, self.name) if self.name else (RETURN,):
            one = self.by(name)
            low, high = one.interval()
            found[name] = {"mean": one.mean, "low": low, "high": high}
        return found

    def beside(self) -> str:
        """What the measure that is not the score says, in words; "" of a task that has but one."""
        if self.name is None:
            return ""
        other = self.by(RETURN if self.metric != RETURN else self.name)
        low, high = other.interval()
        return f"{other.metric} {other.mean:.4g}  95 % [{low:.4g}, {high:.4g}]"


def check_metric(metric: str, spec: TaskSpec) -> None:
    """Raises UserError where a task is not measured by this."""
    known = (RETURN, spec.score) if spec.score else (RETURN,)
    if metric not in known:
        raise UserError(f"--metric {metric!r}: {spec.id} is measured by {' or '.join(known)}")


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

    @property
    def tells(self) -> bool:
        """Whether scores can be told on it: the teacher is better than random."""
        return self.teacher > self.random

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
        random, teacher = (float(np.mean([getattr(scale, name) for scale in tasks])) for name in ("random", "teacher"))
        return cls(random, teacher, tuple(tasks))

    @property
    def tells(self) -> bool:
        """A mean over tasks can, though it may be two values alone that some of them add."""
        return True

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
    returns, own, tasks, copies = list[float](), list[float](), list[int](), list[int]()
    name = env.spec.score
    if name and stage.scores is None:
        raise UserError(f"{env.spec.id} names the score {name!r}, but its environment has no attribute `score`")
    steps = 0
    while (share > 0).any():
        busy = share > 0
        stage.play(0.0, rng, ~busy)
        steps += int(busy.sum())
        scores, ended = stage.scores, stage.ended()
        for i, total in ended:
            if busy[i]:
                returns.append(total)
                copies.append(i)
                own += [float(scores[i])] if scores is not None else []
                tasks += [] if task is None else [int(task[i])]
                share[i] -= 1
        if ended:
            on_episode(len(returns))
    return Evaluation(tuple(returns), steps, tuple(own), name, tasks=tuple(tasks), copies=tuple(copies))


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
