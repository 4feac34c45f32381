"""Assembly: a prepared run's priors, its newborn student and its `Training`, put together."""

import os
from dataclasses import replace
from pathlib import Path

from reincarnate import envs, prior
from reincarnate.data import Dataset
from reincarnate.exploration import Exploration
from reincarnate.nets.qnet import natural_torso
from reincarnate.outcome import evaluate_student
from reincarnate.plan import updates
from reincarnate.prior import Reference, Tick
from reincarnate.reuse import reuse
from reincarnate.run import Note, Prepared, Run, load_weights
from reincarnate.students import ValueStudent
from reincarnate.students.functional import PAYS_AFTER, can_compile
from reincarnate.temperature import measure
from reincarnate.training import Training
from reincarnate.types import Memory, TaskSpec, VectorEnv


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


def training_of(
    prepared: Prepared,
    reference: Reference,
    data: Dataset | None,
    note: Note,
    shared: tuple[Memory, VectorEnv] | None = None,
) -> Training:
    """The run's training, from a newborn. `shared`: the memory and environment of seeds that train together."""
    run, spec, config = prepared.run, prepared.spec, prepared.run.student
    teaches = "teacher" in run.method.needs
    overlap = shared is None and (natural_torso(spec) == "nature" if run.overlap == "auto" else run.overlap == "on")
    student = run.student.newborn(spec, run.seed)
    if shared is None:
        _quicken(student, run, spec, overlap, note)
    view = prepared.teacher.view if prepared.teacher and teaches else "student"
    memory, env = shared or (config.memory(spec, run.copies), envs.make(run.env, run.copies, view))
    _begin(prepared, student, memory, note)
    return Training(
        student=student,
        env=env,
        phases=run.phases(),
        memory=memory,
        prior=data.source(config.n_step, config.gamma) if data else None,
        teacher=prepared.teacher if teaches else None,
        scale=reference.scale,
        exploration=Exploration(config.warmup, config.epsilon_steps, config.epsilon),
        evaluate=lambda k: evaluate_student(run, student, run.eval_episodes, k),
        seed=run.seed,
        pace=config.pace(run.copies),
        plays=run.teacher_plays,
        overlap=overlap,
    )


def _quicken(student: ValueStudent, run: Run, spec: TaskSpec, overlap: bool, note: Note) -> None:
    """Make it as quick as the run is long."""
    if compiles(run, spec):
        note("updates are compiled; the first takes 5 to 25 s")
        student.compile()
    elif overlap:
        student.overlap()


def _begin(prepared: Prepared, student: ValueStudent, memory: Memory, note: Note) -> None:
    """Where the run starts from an agent: its weights, and what else the method takes of it."""
    run, agent = prepared.run, prepared.agent
    if agent is None:
        return
    done = load_weights(run, prepared.spec, agent, student)
    if getattr(run.method, "reuse", "weights") == "all":
        done += reuse(student, memory, agent)
    for line in done:
        note(line)
