"""A prepared run as a loop ready to go: students, memories, environment and teams, put together."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from reincarnate import envs
from reincarnate.data.memory import Memory, memory_for
from reincarnate.data.sampling import Sampler
from reincarnate.envs.vector import Fleet, shares_seeds
from reincarnate.priors.weights import reuse
from reincarnate.run.outcome import evaluate_student
from reincarnate.run.prepare import Prepared, compiles, load_weights
from reincarnate.run.settings import Note
from reincarnate.run.stopping import stopping
from reincarnate.students import stacker
from reincarnate.training.loop import Loop, predictor_of
from reincarnate.training.population import Alone, Apart, Stacked, Team
from reincarnate.training.training import Training
from reincarnate.types import Student, VectorEnv


def assemble(prepared: Sequence[Prepared], note: Note) -> tuple[list[Training], Loop, bool]:
    """The trainings of runs that differ in their seed alone, the loop that raises them, and whether it is compiled."""
    first, seeds = prepared[0], len(prepared)
    run, spec = first.run, first.spec
    env, overlap = _environment(first, seeds), seeds == 1 and _overlaps(first)
    memories, whole = _memories(first, seeds)
    trainings = [_training(p, memory) for p, memory in zip(prepared, memories, strict=True)]
    for p, training in zip(prepared, trainings, strict=True):
        _begin(p, training, note)
    compiled = compiles(run, spec, seeds)
    if compiled:
        note("updates are compiled; the first takes 5 to 25 s")
    if whole is not None:
        stack = stacker(run.student)
        assert stack is not None
        team: Team = Stacked(trainings, stack([training.student for training in trainings], compiled), whole.rows)
    else:
        for training in trainings:
            _quicken(training.student, compiled, overlap)
        team = Alone(trainings[0]) if seeds == 1 else Apart(trainings)
    others = [name for name in run.method.cast if name != "student"]
    teams = {"student": team} | {name: _team(trainings, name) for name in others}
    return trainings, Loop(trainings, teams, env, overlap), compiled


def stacks(prepared: Prepared) -> bool:
    """Whether students of several seeds can be stacked into one: those whose overhead is worth it."""
    settings = prepared.run.student
    small = prepared.spec.stack == 1  # screens gain nothing: their time is arithmetic
    alone = prepared.run.method.cast == ("student",)
    return small and alone and stacker(settings) is not None and not settings.on_rollouts


def _team(trainings: Sequence[Training], name: str) -> Team:
    return Alone(trainings[0], name) if len(trainings) == 1 else Apart(trainings, name)


def _overlaps(prepared: Prepared) -> bool:
    """Whether environments are stepped beside the learner: where screens make it pay."""
    asked = prepared.run.overlap
    return prepared.spec.stack > 1 if asked == "auto" else asked == "on"


def _environment(prepared: Prepared, seeds: int) -> VectorEnv:
    """Copies for all seeds in one environment where those can be seeded apart, else one environment each."""
    run = prepared.run
    teaches = prepared.teacher is not None and "teacher" in run.method.needs
    view = prepared.teacher.view if prepared.teacher and teaches else "student"
    if seeds == 1:
        return envs.make(run.env, run.copies, view)
    whole = envs.make(run.env, seeds * run.copies, view)
    if shares_seeds(whole):
        return whole
    whole.close()
    return Fleet([envs.make(run.env, run.copies, view) for _ in range(seeds)])


def _memories(prepared: Prepared, seeds: int) -> tuple[list[Memory], Memory | None]:
    """A memory for each seed, and where they are stacked the one that all are parts of."""
    run, spec = prepared.run, prepared.spec
    settings, device = run.student, prepared.device
    layout, storage = settings.layout(), settings.storage(spec, run.copies)
    if seeds == 1 or not stacks(prepared):
        return [memory_for(spec, layout, storage, run.copies, device) for _ in range(seeds)], None
    rows = storage.rows // run.copies * run.copies * seeds
    whole = memory_for(spec, layout, replace(storage, rows=rows), seeds * run.copies, device)
    if run.asks_teacher and prepared.teacher is not None:
        said = predictor_of(prepared.teacher)(torch.zeros(1, *spec.obs_shape, dtype=getattr(torch, spec.obs_dtype)))
        whole.rows.predictions_of("teacher", said.kind, said.x.shape[-1])
    parts = [whole.rows.part(i, seeds) for i in range(seeds)]
    samplers: list[Sampler] = [whole.sampler.like(part) for part in parts]
    return [Memory(p, layout, s, device) for p, s in zip(parts, samplers, strict=True)], whole


def _training(prepared: Prepared, memory: Memory) -> Training:
    """A run's training, from newborn students."""
    run, spec, reference = prepared.run, prepared.spec, prepared.reference
    assert reference is not None, "a run whose priors have not been measured"
    settings, method = run.student, run.method
    cast: dict[str, Student] = {"student": settings.newborn(spec, run.seed, prepared.device)}
    memories = {"student": memory}
    for name in method.cast:
        if name != "student":
            own = method.settings_of(name, settings)
            cast[name] = own.newborn(spec, run.seed, prepared.device)
            memories[name] = Memory(memory.rows, own.layout(), device=prepared.device, reader=name)
    data = prepared.data
    student = cast["student"]
    return Training(
        cast=cast,
        memories=memories,
        phases=run.phases(),
        prior=Memory(data.rows(), settings.layout_of_data(), device=prepared.device) if data else None,
        teacher=prepared.teacher if "teacher" in method.needs else None,
        scale=reference.scale,
        evaluate=lambda k: evaluate_student(run, student, run.eval_episodes, k),
        seed=run.seed,
        copies=run.copies,
        plays=run.teacher_plays,
        stop=stopping(run.stop_at),
    )


def _quicken(student: Student, compiled: bool, overlap: bool) -> None:
    """Make it as quick as the run is long, where it knows how."""
    if compiled and hasattr(student, "compile"):
        student.compile()  # pyright: ignore[reportAttributeAccessIssue]
    elif overlap and hasattr(student, "overlap"):
        student.overlap()  # pyright: ignore[reportAttributeAccessIssue]


def _begin(prepared: Prepared, training: Training, note: Note) -> None:
    """Where the run starts from an agent: its weights, and what else the method takes of it."""
    run, agent = prepared.run, prepared.agent
    if agent is None:
        return
    done = load_weights(run, prepared.spec, agent, training.student)
    if run.method.keeps_all:
        done += reuse(training.student, training.memory, agent)
    for line in done:
        note(line)
