"""What a method will do, in words and numbers, before it does it."""

import math
import time

import numpy as np
import torch

from reincarnate import envs
from reincarnate.students import ValueSettings
from reincarnate.types import Batch, Phase, Progress, TaskSpec


def describe(phases: list[Phase], student: ValueSettings, copies: int) -> list[str]:
    """One line per phase: how long, on which data, with which terms, weights and couplings."""
    return [_phase(phase, student, copies) for phase in phases]


def _phase(phase: Phase, student: ValueSettings, copies: int) -> str:
    name = f"{phase.name}: "
    if not phase.learns:
        return "; ".join([f"{name}{phase.env_steps:,} env steps without learning", *_behaviour(phase, student)])
    if phase.offline:
        parts = [f"{name}{phase.updates:,} updates on prior data"]
    else:
        parts = [f"{name}{phase.env_steps:,} env steps, {updates(phase, student, copies):,} updates on own replay"]
    if phase.prior_share:
        parts.append(f"each example from prior data with probability {phase.prior_share:g}")
    parts.append(f"loss = {phase.td_weight:g} · TD({student.n_step}-step)")
    parts += [f"+ {t.weight} × {t.term}" for t in phase.terms]
    parts.append(f"learning rate = {student.lr:g}" + (f" × ({phase.lr_scale})" if phase.lr_scale else ""))
    if not phase.offline:
        parts += _behaviour(phase, student)
    if phase.new_optimizer:
        parts.append("a new optimiser at the start")
    if phase.warm:
        parts.append("no warm-up")
    if phase.sync_target:
        parts.append("target network synchronised at the start")
    return "; ".join(parts)


def _behaviour(phase: Phase, student: ValueSettings) -> list[str]:
    start = f"1 → {student.epsilon:g} over {student.epsilon_steps:,}" if phase.anneal else f"{student.epsilon:g}"
    if phase.guide is None:
        return [f"ε = {start}"]
    if phase.guide.horizon(Progress()) == math.inf:
        return ["the teacher acts throughout"]
    drawn = "a number of steps drawn from 1 to" if phase.guide.drawn else "steps up to"
    return [f"ε = {start}", f"the teacher acts in each episode for {drawn} {phase.guide.horizon}"]


def updates(phase: Phase, student: ValueSettings, copies: int) -> int:
    """Gradient steps a phase pays for."""
    if phase.offline or not phase.learns:
        return phase.updates
    pace = student.pace(copies)
    wait = 0 if phase.warm else student.warmup
    return max(0, phase.env_steps - wait) // pace.env_steps * pace.updates


def estimate(phases: list[Phase], student: ValueSettings, spec: TaskSpec, copies: int) -> float:
    """Seconds the phases will take, from a second's trial of updates and env steps here and now; no evaluations."""
    per_update, per_step = _time_update(student, spec), _time_step(student, spec, copies)
    return sum(updates(p, student, copies) * per_update + p.env_steps * per_step for p in phases)


def _time_update(config: ValueSettings, spec: TaskSpec) -> float:
    student, size, rng = config.newborn(spec, 0), config.batch_size, np.random.default_rng(0)
    obs = torch.zeros(size, *spec.obs_shape, dtype=getattr(torch, spec.obs_dtype))
    batch = Batch(obs, torch.zeros(size, dtype=torch.int64), torch.zeros(size), torch.zeros(size), obs)
    return _seconds_each(lambda: student.update(batch, [], rng), trial=0.5)


def _time_step(config: ValueSettings, spec: TaskSpec, copies: int) -> float:
    env, student, rng = envs.make(spec.id, copies), config.newborn(spec, 0), np.random.default_rng(0)
    obs = env.reset(rng)
    each = _seconds_each(lambda: env.step(student.act(obs, 0.0, rng)), trial=0.3)
    env.close()
    return each / copies


def _seconds_each(work, trial: float) -> float:
    work()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < trial:
        work()
        count += 1
    return (time.perf_counter() - start) / count
