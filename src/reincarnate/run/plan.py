"""What a method will do, in words and numbers, before it does it."""

import math
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from reincarnate import envs
from reincarnate.data.memory import memory_for
from reincarnate.losses.terms import Decorrelation
from reincarnate.training.players import RandomPlayer, Stage
from reincarnate.types import LAGGING, OPTIMIZER, Phase, Progress, Settings, TaskSpec, TimeStep, Weighing

NONE = torch.zeros(0, 0)
TRIALS = 3  # of a cost
UPDATING, ACTING = 0.25, 0.15  # seconds of each


def describe(phases: list[Phase], student: Settings, copies: int) -> list[str]:
    """One line per phase: how long, on which data, with which terms, weights and couplings."""
    return [_phase(phase, student, copies) for phase in phases]


def _phase(phase: Phase, student: Settings, copies: int) -> str:
    name = f"{phase.name}: "
    if not phase.learns:
        return "; ".join([f"{name}{phase.env_steps:,} env steps without learning", *_behaviour(phase, student)])
    if phase.offline:
        parts = [f"{name}{phase.updates:,} updates on prior data"]
    else:
        parts = [f"{name}{phase.env_steps:,} env steps, {updates(phase, student, copies):,} updates on own replay"]
    if phase.prior_share:
        parts.append(f"each example from prior data with probability {phase.prior_share:g}")
    objective = phase.objective
    own = f"values towards the {objective.values_of}'s" if objective.values_of else student.own_loss()
    parts.append(f"loss = {objective.own:g} · {own}")
    parts += [f"+ {t.weight} × {t.term}" for t in objective.terms]
    if weight := getattr(student, "decorrelate", 0.0):
        parts.append(f"+ {weight:g} × {Decorrelation(student.decorrelate_by)}")  # pyright: ignore
    parts.append(f"learning rate = {student.lr:g}" + (f" × ({objective.lr_scale})" if objective.lr_scale else ""))
    if not phase.offline:
        parts += _behaviour(phase, student)
    for name, other in phase.others.items():
        parts.append(f"{name}: " + " ".join(["its own loss", *(f"+ {t.weight} × {t.term}" for t in other.terms)]))
    if OPTIMIZER in phase.refresh:
        parts.append("a new optimiser at the start")
    if phase.warm:
        parts.append("no warm-up")
    if LAGGING in phase.refresh:
        parts.append("target network synchronised at the start")
    return "; ".join(parts)


def _behaviour(phase: Phase, student: Settings) -> list[str]:
    words = student.behaviour(phase.newborn)
    if phase.guide is None:
        return [words]
    if phase.guide.share is not None:
        return [words, f"the teacher acts in a step with probability {phase.guide.share}"]
    if phase.guide.horizon(Progress()) == math.inf:
        return ["the teacher acts throughout"]
    drawn = "a number of steps drawn from 1 to" if phase.guide.drawn else "steps up to"
    return [words, f"the teacher acts in each episode for {drawn} {phase.guide.horizon}"]


def updates(phase: Phase, student: Settings, copies: int) -> int:
    """Gradient steps a phase pays for."""
    if phase.offline or not phase.learns:
        return phase.updates
    pace = student.pace(copies)
    wait = 0 if phase.warm else pace.warmup
    return max(0, phase.env_steps - wait) // pace.env_steps * pace.updates


def estimate(phases: list[Phase], student: Settings, spec: TaskSpec, copies: int) -> float:
    """Seconds the phases will take, from trials of updates and env steps here and now; no evaluations."""
    return median(estimates(phases, student, spec, copies))


def estimates(phases: list[Phase], student: Settings, spec: TaskSpec, copies: int) -> list[float]:
    """The same by each of `TRIALS` trials, in turn, so that a moment when the machine is busy shows."""
    update, step, close = _an_update(student, spec, copies), *_a_step(student, spec, copies)
    due, env_steps = sum(updates(p, student, copies) for p in phases), sum(p.env_steps for p in phases)
    try:
        return [
            due * _seconds_each(update, UPDATING) + env_steps / copies * _seconds_each(step, ACTING)
            for _ in range(TRIALS)
        ]
    finally:
        close()


def _an_update(config: Settings, spec: TaskSpec, copies: int) -> Callable[[], object]:
    """Makes an update on experience that is made up."""
    student, pace, rng = config.newborn(spec, 0), config.pace(copies), np.random.default_rng(0)
    memory = memory_for(spec, config.layout(), config.storage(spec, copies), copies)
    nobody, zeros = RandomPlayer(spec), np.zeros((copies, *spec.obs_shape), spec.obs_dtype)
    never, nothing = np.zeros(copies, bool), np.zeros(copies, np.float32)
    step = TimeStep(torch.from_numpy(zeros), torch.from_numpy(never))
    for _ in range(2 * pace.batch // copies + memory.layout.ahead + 1):
        acted = (
            student.act(step, student.initial(copies), 1.0, rng) if memory.fresh else nobody.act(step, NONE, 0.0, rng)
        )
        memory.rows.add(zeros, acted.action, nothing, never, never, zeros, notes=acted.notes)
    if memory.fresh:
        memory.begin(student)
    return lambda: student.update(memory.sample(pace.batch, rng), Weighing(), rng)


def _a_step(config: Settings, spec: TaskSpec, copies: int) -> tuple[Callable[[], object], Callable[[], None]]:
    """Makes a step of all copies; and what closes them."""
    env, student, rng = envs.make(spec.id, copies), config.newborn(spec, 0), np.random.default_rng(0)
    stage = Stage(env, student, env.reset(rng))
    return lambda: stage.play(0.0, rng), env.close


def _seconds_each(work: Callable[[], object], trial: float) -> float:
    work()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < trial:
        work()
        count += 1
    return (time.perf_counter() - start) / count
