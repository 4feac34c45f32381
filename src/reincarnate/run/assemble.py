"""A prepared run as a loop ready to go: students, memories, environment and teams, put together."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from reincarnate import envs
from reincarnate.data.layouts import AnyLayout
from reincarnate.data.memory import Memory, memory_for
from reincarnate.data.replay import Replay
from reincarnate.data.sampling import Sampler
from reincarnate.envs.several import is_several
from reincarnate.envs.vector import Fleet, shares_seeds
from reincarnate.errors import UserError
from reincarnate.losses.logged import RETURN
from reincarnate.native import kernels
from reincarnate.priors.weights import reuse
from reincarnate.run.distant import distant_student
from reincarnate.run.outcome import evaluate_student
from reincarnate.run.prepare import Prepared, compiles, device_of, load_weights, makes_programs
from reincarnate.run.remote_actors import actors_of
from reincarnate.run.settings import Note, Run
from reincarnate.run.several import follows_features
from reincarnate.run.stopping import stopping
from reincarnate.run.suits import kind_of
from reincarnate.students import stacker
from reincarnate.teachers.features import features_of
from reincarnate.training.exchange import Exchange
from reincarnate.training.loop import Loop
from reincarnate.training.population import Alone, Apart, Stacked, Team
from reincarnate.training.remote_actors import RemoteCopies
from reincarnate.training.training import Training
from reincarnate.types import Student, VectorEnv


def assemble(
    prepared: Sequence[Prepared], note: Note, exchange: Exchange | None = None
) -> tuple[list[Training], Loop, bool]:
    """The trainings of runs that differ in their seed alone, the loop that raises them, and whether it is compiled.

    `exchange` is the part of one whose population has other processes; else its settings make it.
    """
    first, seeds = prepared[0], len(prepared)
    run, spec = first.run, first.spec
    env, overlap = _environment(first, seeds), seeds == 1 and not run.actors and _overlaps(first)
    memories, whole = _memories(first, seeds)
    data = first.data.rows() if first.data else None  # opened once: seeds that are stacked draw from one table
    trainings = [_training(p, memory, data) for p, memory in zip(prepared, memories, strict=True)]
    for p, training in zip(prepared, trainings, strict=True):
        _begin(p, training, note)
    sharing = 1 if whole is None else seeds
    compiled, programs = _compiled(first, trainings[0].student, sharing, note), makes_programs(run, sharing)
    if compiled and (quick := kernels()):
        for memory in (*memories, *([] if whole is None else [whole])):
            memory.quicken(quick)
    if whole is not None:
        stack = stacker(run.student)
        assert stack is not None
        team: Team = Stacked(trainings, stack([t.student for t in trainings], compiled, programs), whole.rows)
    else:
        for training in trainings:
            _quicken(training.student, compiled, overlap, programs)
        team = Alone(trainings[0]) if seeds == 1 else Apart(trainings)
    others = [name for name in run.method.cast if name != "student"]
    teams = {"student": team} | {name: _team(trainings, name) for name in others}
    exchange = exchange or run.exchange.exchange(seeds)
    with ExitStack() as undo:
        if "student" in run.method.distant:
            teams["student"] = distant = distant_student(run, trainings[0], note)
            undo.callback(distant.close)
        remote = actors_of(run, spec, trainings[0].student, note) if run.actors else None
        undo.pop_all()
    return trainings, Loop(trainings, teams, env, overlap, exchange, remote), compiled


def stacks(prepared: Prepared) -> bool:
    """Whether students of several seeds can be stacked into one: those whose overhead is worth it."""
    settings = prepared.run.student
    small = prepared.spec.stack == 1  # screens gain nothing: their time is arithmetic
    alone = prepared.run.method.cast == ("student",)
    if is_several(prepared.spec) or follows_features(prepared.run):
        return False  # tables in parts have no column of tasks, nor stacks maps
    alike = not prepared.run.exchange.apart
    return small and alone and alike and stacker(settings) is not None and not settings.on_rollouts


def _team(trainings: Sequence[Training], name: str) -> Team:
    return Alone(trainings[0], name) if len(trainings) == 1 else Apart(trainings, name)


def _overlaps(prepared: Prepared) -> bool:
    """Whether environments are stepped beside the learner: where screens make it pay."""
    asked = prepared.run.overlap
    return prepared.spec.stack > 1 if asked == "auto" else asked == "on"


def _environment(prepared: Prepared, seeds: int) -> VectorEnv:
    """Copies for all seeds in one environment where those can be seeded apart, else one environment each."""
    run = prepared.run
    if run.actors:
        return RemoteCopies(prepared.spec, run.copies)
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
        return [_own(memory_for(spec, layout, storage, run.copies, device), prepared) for _ in range(seeds)], None
    rows = storage.rows // run.copies * run.copies * seeds
    whole = _own(memory_for(spec, layout, replace(storage, rows=rows), seeds * run.copies, device), prepared)
    if run.asks_teacher and prepared.teacher is not None:
        whole.rows.predictions_of("teacher", kind_of(prepared.teacher, spec), spec.actions)
    parts = [whole.rows.shard(i, seeds) for i in range(seeds)]
    samplers: list[Sampler] = [whole.sampler.like(part) for part in parts]
    return [Memory(p, layout, s, device) for p, s in zip(parts, samplers, strict=True)], whole


def _own(memory: Memory, prepared: Prepared) -> Memory:
    """An empty memory of a student's own experience, with its frames where they are asked for."""
    if prepared.frames_in is not None:
        memory.keep_on_disk(prepared.frames_in)
    return _held(memory, prepared)


def _held(memory: Memory, prepared: Prepared) -> Memory:
    """A memory whose frames are on the device as well, where that is asked for."""
    if prepared.mirrored:
        memory.mirror()
    return memory


def cast_of(prepared: Prepared) -> dict[str, Student]:
    """A run's newborn students, by the part they play."""
    run = prepared.run
    own = {
        name: run.student if name == "student" else run.method.settings_of(name, run.student) for name in _parts(run)
    }
    return {name: settings.newborn(prepared.spec, run.birth_seed, prepared.device) for name, settings in own.items()}


def _parts(run: Run) -> list[str]:
    return ["student", *(name for name in run.method.cast if name != "student")]


def _training(prepared: Prepared, memory: Memory, data: Replay | None) -> Training:
    """A run's training, from newborn students."""
    run, reference = prepared.run, prepared.reference
    assert reference is not None, "a run whose priors have not been measured"
    method, cast = run.method, cast_of(prepared)
    memories = {"student": memory}
    for name, other in cast.items():
        if name != "student":
            memories[name] = Memory(memory.rows, other.settings.layout(), device=prepared.device, reader=name)
            memory.keeps = method.rollouts
    student = cast["student"]
    if prepared.teacher and follows_features(run):
        student.follow(features_of(prepared.teacher, prepared.spec).sizes)  # pyright: ignore[reportAttributeAccessIssue]
    told = {"device": prepared.device, "in_steps": memory.fresh}  # as batches of rollouts are
    prior = _held(Memory(data, _layout_of_data(run), **told), prepared) if data else None
    if prior is not None and not len(prior):
        raise UserError(f"the data holds {prior.rows.transitions:,} steps, and no lesson of {prior.layout.ahead} rows")
    _follow_returns(run, [memory] + ([prior] if prior else []))
    return Training(
        cast=cast,
        memories=memories,
        phases=run.phases(),
        prior=prior,
        teacher=prepared.teacher if "teacher" in method.needs else None,
        scale=reference.scale,
        evaluate=lambda k: evaluate_student(run, student, run.eval_episodes, k),
        seed=run.seed,
        copies=run.copies,
        plays=run.teacher_plays,
        repeats=method.repeats,
        method=method,
        unroll=run.phases,
        stop=stopping(run.stop_at),
    )


def _layout_of_data(run: Run) -> AnyLayout:
    """How prior data is cut; with the data's next action where the critics' targets ask for it."""
    layout = run.student.layout_of_data()
    return replace(layout, next_action=True) if any(phase.objective.sarsa for phase in run.phases()) else layout


def _follow_returns(run: Run, memories: Sequence[Memory]) -> None:
    """Where a term must know what followed each step: let the memories know it."""
    terms = [weighted.term for phase in run.phases() for weighted in phase.objective.terms]
    if any(RETURN in getattr(term, "columns", ()) for term in terms):
        for memory in memories:
            memory.follow_returns(RETURN)


def _compiled(first: Prepared, student: Student, seeds: int, note: Note) -> bool:
    """Whether updates are compiled; says how."""
    run, fits = first.run, getattr(student, "fits_kernels", None)
    by_kernels = fits is not None and fits(seeds)
    if not compiles(run, first.spec, seeds, by_kernels):
        return False
    if device_of(run.device).type == "cuda":
        note("updates are recorded as CUDA graphs")
    elif by_kernels and kernels() is not None:
        more = ", of what those do not know by a program; that takes 5 to 25 s" if makes_programs(run, seeds) else ""
        note(f"updates are by compiled kernels{more}")
    else:
        note("updates are compiled; the first takes 5 to 25 s")
    return True


def _quicken(student: Student, compiled: bool, overlap: bool, programs: bool) -> None:
    """Make it as quick as the run is long, where it knows how."""
    if compiled and hasattr(student, "fits_kernels"):
        student.compile(programs)  # pyright: ignore[reportAttributeAccessIssue]
    elif compiled and hasattr(student, "compile"):
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
        if len(training.memory) == 0:  # nothing to learn from at first after all
            training.phases = [replace(phase, warm=False) for phase in training.phases]
    for line in done:
        note(line)
