"""Assembly: a prepared run's priors, its newborn student and its `Training`, put together."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from reincarnate import envs
from reincarnate.agents.agent import Agent
from reincarnate.data import Dataset
from reincarnate.errors import UserError
from reincarnate.methods import METHODS
from reincarnate.nets.qnet import natural_torso
from reincarnate.priors import reference as prior
from reincarnate.priors import weights
from reincarnate.priors.reference import Reference, Tick
from reincarnate.priors.temperature import Measured, measure
from reincarnate.run.plan import updates
from reincarnate.run.settings import Note, Run, check_settings, method_name
from reincarnate.seeds import stream
from reincarnate.students import ValueStudent
from reincarnate.students.gradient import PAYS_AFTER, can_compile
from reincarnate.teachers import check_fit, open_teacher
from reincarnate.types import TaskSpec, Teacher


@dataclass(frozen=True)
class Prepared:
    """Everything a run needs, opened and checked; nothing written yet but the store."""

    run: Run
    spec: TaskSpec
    teacher: Teacher | None
    warnings: tuple[str, ...]
    agent: Agent | None = None  # whose weights the student starts from
    temperature: Measured | None = None  # where the method asked for "auto": then `run` has it, and `asked` has not
    asked: Run | None = None


def prepare(run: Run) -> Prepared:
    """Check a run against its task and teacher. Raises UserError for what does not fit; writes nothing."""
    check_settings(run)
    spec = envs.spec(run.env)
    _check_priors(run)
    teacher = open_teacher(run.teacher, spec.actions) if run.teacher else None
    warnings = tuple(check_fit(teacher.card, spec)) + teacher.card.warnings if teacher else ()
    student = run.student.newborn(spec, run.seed)  # raises where torso and task clash
    agent = weights.open_weights(run.weights) if run.weights else None
    if agent:
        load_weights(run, spec, agent, student)
        warnings += tuple(weights.differences(agent, spec))
    return Prepared(run, spec, teacher, warnings, agent)


def _check_priors(run: Run) -> None:
    """Refuse a run that lacks what its method needs, or names weights that nothing reads."""
    needs, name = run.method.needs, method_name(run)
    if "teacher" in needs and run.teacher is None:
        free = ", ".join(name for name, kind in METHODS.items() if "teacher" not in kind().needs)
        raise UserError(f"{name} needs a --teacher; methods that need none: {free}")
    if "data" in needs and run.teacher is None and run.data is None:
        raise UserError(f"{name} needs --data, or a --teacher that plays it")
    if "weights" in needs and run.weights is None:
        raise UserError(f"{name} needs --weights: store:DIR, where DIR is an agent's folder or a finished run's")
    if "weights" not in needs and run.weights is not None:
        hint = "--start weights" if hasattr(run.method, "start") else "finetune does"
        raise UserError(f"{name} does not start from --weights; {hint}")


def load_weights(run: Run, spec: TaskSpec, agent: Agent, student: ValueStudent) -> list[str]:
    """Let a newborn start from an agent. Returns what was done."""
    fitted = weights.fit(agent, run.method.surgery, spec, student.weights(), stream(run.seed, "surgery"))
    return weights.begin(student, fitted)


def threads(run: Run, spec: TaskSpec) -> int:
    """How many torch threads: a small network gains nothing from a second one and loses much on a busy machine.

    For screens half the cores: the other half pass the target network and step environments.
    """
    if run.threads:
        return run.threads
    return max(1, min(8, os.cpu_count() or 1) // 2) if natural_torso(spec) == "nature" else 1


def compiles(run: Run, spec: TaskSpec, seeds: int = 1) -> bool:
    """Whether updates are compiled: a function of the settings and of there being a compiler, never of timing."""
    if run.compile != "auto":
        return run.compile == "on"
    total = seeds * sum(updates(phase, run.student, run.copies) for phase in run.phases())
    return natural_torso(spec) != "nature" and total >= PAYS_AFTER and can_compile()


def prior_of(prepared: Prepared, tick: Tick) -> tuple[Reference, Dataset | None]:
    """The scale, and the data where the method needs it; from the store where they have been made before."""
    run, spec, teacher = prepared.run, prepared.spec, prepared.teacher
    store = Path(run.store)
    reference = prior.reference(spec, teacher, run.teacher_plays, run.reference_episodes, store, tick)
    if "data" not in run.method.needs:
        return reference, None
    if run.data:
        return reference, prior.given_data(run.data, spec, teacher if run.asks_teacher else None, store, tick)
    assert teacher is not None
    steps, epsilon = run.data_env_steps, run.data_epsilon
    return reference, prior.teacher_data(spec, teacher, run.teacher_plays, steps, epsilon, store, tick)


def with_temperature(prepared: Prepared, data: Dataset | None, tick: Tick, note: Note) -> Prepared:
    """The same, with the temperature measured where the method leaves it to the teacher's action gaps."""
    run, teacher = prepared.run, prepared.teacher
    if getattr(run.method, "temperature", None) != "auto":
        return prepared
    assert teacher is not None, "a method with a temperature to measure needs a teacher"
    of_teacher = run.method.teacher_temperature
    found = measure(prepared.spec, teacher, run.teacher_plays, data, of_teacher, tick)
    note(
        f"temperature {found.temperature:.3g}: the teacher's median action gap is {found.median_gap:.3g}; its policy's "
        f"entropy is {found.entropy:.2g} nats, its best action's mean probability {found.top_probability:.0%}"
    )
    method = replace(run.method, temperature=found.temperature)
    return replace(prepared, run=replace(run, method=method), temperature=found, asked=run)
