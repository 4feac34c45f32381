"""From a rule's method to a run: its settings fitted to what was measured, each by a rule of its own."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from reincarnate.advice import sources
from reincarnate.advice.facts import Measurement
from reincarnate.methods import JSRL, RLPD, WSRL, FineTune, QDagger
from reincarnate.methods.weaning import Weaning
from reincarnate.run.budget import explores_too_long, short_exploration
from reincarnate.run.settings import Run
from reincarnate.students.settings import ReplaySettings

OFFLINE = 1.6  # offline updates for each online
LEAST_OFFLINE = 1_000  # our judgement: in fewer nothing is imitated (our studies take 3,000 to 15,000)
SYNCS = 10  # of the target network, fewer are too few
SHORTEST = 50.0  # updates between two: with less there is hardly a target network
MOST_DATA = 50_000  # env steps of the teacher, unless the budget is so long that 0.4 of it are more
GUARD = 0.2  # as studied
ENOUGH_EPISODES = 50  # in an evaluation, for λ to follow it
DISTILLED = 1e-3  # learning rate of an actor that is distilled offline
WARMUP = 5_000  # env steps of a frozen policy before learning


@dataclass(frozen=True)
class Setting:
    """If `when` holds of a run, `change` it, for the reason `why`, as `source` found."""

    when: Callable[[Measurement, Run], bool]
    change: Callable[[Measurement, Run], Run]
    why: Callable[[Measurement, Run], str]
    source: str


@dataclass(frozen=True)
class Fitted:
    """A setting that was changed, and why."""

    why: str
    source: str


def of_method(run: Run, **changes: Any) -> Run:
    """The run with other settings of its method."""
    return replace(run, method=replace(run.method, **changes))


def of_student(run: Run, **changes: Any) -> Run:
    """The run with other settings of its student."""
    return replace(run, student=replace(run.student, **changes))


def _has(name: str) -> Callable[[Measurement, Run], bool]:
    return lambda m, run: hasattr(run.method, name)


def _taught(run: Run) -> bool:
    return hasattr(run.method, "teacher_temperature")


def _few_syncs(m: Measurement, run: Run) -> bool:
    every = getattr(run.student, "target_every", 0)
    return m.updates < SYNCS * every and every > SHORTEST


def _weanable(m: Measurement, run: Run) -> bool:
    by_score = isinstance(getattr(run.method, "wean", None), Weaning) and run.method.wean.by == "score"
    return by_score and run.eval_episodes < ENOUGH_EPISODES


def _slow_actor(run: Run) -> float:
    return run.student.actor_lr or run.student.lr


def _horizon(m: Measurement) -> int:
    assert m.teacher is not None
    return two_digits(max(1.0, m.teacher.episode_steps))


def _offline_words(offline: int, online: int) -> str:
    why = f"{OFFLINE} for each of {online:,} online" if offline > LEAST_OFFLINE else "the fewest that imitate"
    return f"{offline:,} offline updates: {why}"


SETTINGS = (
    Setting(
        _has("offline_updates"),
        lambda m, run: of_method(run, offline_updates=two_digits(max(float(LEAST_OFFLINE), OFFLINE * m.updates))),
        lambda m, run: _offline_words(run.method.offline_updates, m.updates),
        sources.RATIO,
    ),
    Setting(
        lambda m, run: "data" in run.method.needs and run.data is None,
        lambda m, run: replace(run, data_env_steps=two_digits(max(float(min(m.budget, MOST_DATA)), 0.4 * m.budget))),
        lambda m, run: f"{run.data_env_steps:,} env steps of the teacher's play as data",
        sources.TEACHER_DATA,
    ),
    Setting(
        lambda m, run: _taught(run) and m.teacher is not None and m.teacher.gaps_unlike_paper,
        lambda m, run: of_method(run, temperature="auto"),
        lambda m, run: f"τ from the teacher's action gaps: about {m.teacher.temperature:.2g}" if m.teacher else "",
        sources.TEMPERATURE,
    ),
    Setting(
        lambda m, run: _weanable(m, run) and (m.short_budget or m.trained is None),
        lambda m, run: of_method(run, wean=replace(run.method.wean, guard=GUARD)),
        lambda m, run: f"λ comes back where the score falls by {GUARD:.0%}: {run.eval_episodes} episodes are noisy",
        sources.GUARDED,
    ),
    Setting(
        lambda m, run: _weanable(m, run) and m.weak_teacher,
        lambda m, run: of_method(run, wean=replace(run.method.wean, sticky=False)),
        lambda m, run: "weaned by score, to let go of a weak teacher as it is outgrown, but not for ever by luck",
        sources.HASTY,
    ),
    Setting(
        lambda m, run: isinstance(getattr(run.method, "wean", None), Weaning) and m.weak_teacher,
        lambda m, run: of_method(run, wean=replace(run.method.wean, lr_final=1.0)),
        lambda m, run: "the learning rate stays when λ falls: a weak teacher is to be surpassed, not kept",
        sources.RATE_KEPT,
    ),
    Setting(
        lambda m, run: isinstance(run.method, QDagger) and m.off_policy_actor and _slow_actor(run) < DISTILLED,
        lambda m, run: of_method(run, actor_lr=round(DISTILLED / _slow_actor(run), 2)),
        lambda m, run: f"offline the actor learns at {DISTILLED:g}, {run.method.actor_lr:g} times its rate online",
        sources.ACTOR_RATE,
    ),
    Setting(
        lambda m, run: isinstance(run.method, JSRL),
        lambda m, run: of_method(run, horizon=_horizon(m)),
        lambda m, run: f"horizon {run.method.horizon:,}: the teacher's episodes are about as long",
        sources.HORIZON,
    ),
    Setting(
        lambda m, run: isinstance(run.method, FineTune) and m.weights is not None and m.weights.kept,
        lambda m, run: of_method(run, reuse="all"),
        lambda m, run: "with its optimiser and its replay, which the agent kept",
        sources.KEPT,
    ),
    Setting(
        lambda m, run: isinstance(run.method, WSRL),
        lambda m, run: of_method(run, warmup_env_steps=max(1, min(WARMUP, m.longest_warmup))),
        lambda m, run: f"{run.method.warmup_env_steps:,} env steps of the agent's own play before it learns",
        sources.WARMUP,
    ),
    Setting(
        lambda m, run: isinstance(run.method, RLPD) and hasattr(run.student, "layer_norm"),
        lambda m, run: of_student(run, layer_norm=True),
        lambda m, run: "LayerNorm in the student",
        sources.LAYER_NORM,
    ),
    Setting(
        lambda m, run: (
            isinstance(run.student, ReplaySettings) and run.student.n_step < 3 and "weights" not in run.method.needs
        ),
        lambda m, run: of_student(run, n_step=3),
        lambda m, run: f"n = 3 in place of {m.student.n_step}",
        sources.N_STEP,
    ),
    Setting(
        lambda m, run: getattr(run.student, "warmup", 0) > m.longest_warmup,
        lambda m, run: of_student(run, warmup=m.longest_warmup),
        lambda m, run: f"learning begins after {run.student.warmup:,} env steps, a tenth of the budget",
        sources.SCHEDULE,
    ),
    Setting(
        lambda m, run: explores_too_long(run),
        lambda m, run: of_student(run, epsilon_steps=short_exploration(m.budget)),
        lambda m, run: f"ε falls over {run.student.epsilon_steps:,} env steps, a fifth of the budget",
        sources.SCHEDULE,
    ),
    Setting(
        _few_syncs,
        lambda m, run: of_student(run, target_every=two_digits(max(SHORTEST, m.updates / 20))),
        lambda m, run: f"a target sync every {run.student.target_every:,} updates, not {m.student.target_every:,}",
        sources.SYNCS,
    ),
)
"""Applied in order. What a setting leaves as it was is not mentioned."""


def fit(method: Any, measured: Measurement) -> tuple[Run, tuple[Fitted, ...]]:
    """The run that a method makes of what was measured, and which settings were changed for it."""
    run, changed = _plain(method, measured), []
    for setting in SETTINGS:
        if not setting.when(measured, run):
            continue
        after = setting.change(measured, run)
        if after != run:
            changed.append(Fitted(setting.why(measured, after), setting.source))
        run = after
    return run, tuple(changed)


def _plain(method: Any, m: Measurement) -> Run:
    """The method with its defaults, and the priors it reads. A teacher that is no good is not even the scale."""
    return Run(
        env=m.task,
        method=method,
        student=m.student,
        teacher=m.teacher.uri if m.teacher and m.teacher.score.above(m.random) else None,
        data=_data_for(method, m),
        weights=m.weights.address if m.weights and "weights" in method.needs else None,
        env_steps=m.budget,
        seed=m.seed,
        reference_episodes=m.episodes,
        teacher_plays=m.plays,  # pyright: ignore[reportArgumentType]
    )


def _data_for(method: Any, m: Measurement) -> str | None:
    """The given data, if the method reads any; where a teacher must annotate it, if it can, and if it is enough."""
    if m.data is None or "data" not in method.needs:
        return None
    if "teacher" not in method.needs:
        return m.data.address
    assert m.teacher is not None
    return m.data.address if m.teacher.annotates and not m.few_data else None


def two_digits(value: float) -> int:
    """The nearest whole number with two digits other than zero."""
    size = 10 ** max(0, math.floor(math.log10(value)) - 1) if value >= 1 else 1
    return max(1, round(value / size) * size)
