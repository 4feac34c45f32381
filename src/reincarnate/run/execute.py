"""Running: one run, or several seeds of it in one process, from the first check to `done`."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from reincarnate import envs
from reincarnate.data import Dataset
from reincarnate.data.replay import Replay
from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.nets.qnet import natural_torso
from reincarnate.priors.reference import Reference, Tick
from reincarnate.priors.weights import reuse
from reincarnate.run.directory import RunDirectory
from reincarnate.run.outcome import conclude, evaluate_student, finish
from reincarnate.run.prepare import Prepared, compiles, load_weights, prepare, prior_of, threads, with_temperature
from reincarnate.run.settings import Note, Run, from_record, record
from reincarnate.run.tensorboard import TensorBoard
from reincarnate.store.index import register
from reincarnate.students import ValueStudent
from reincarnate.students.exploration import Exploration
from reincarnate.students.settings import ReplaySettings
from reincarnate.students.stacked import StackedStudent
from reincarnate.training.loop import Record, Training
from reincarnate.training.population import Together, cannot_share
from reincarnate.types import Memory, Phase, TaskSpec, VectorEnv


def execute(
    run: Run, out: Path, resume: bool = False, tick: Tick = lambda *_: None, note: Note = lambda _: None
) -> dict[str, Any]:
    """Train, and return the result (also in `out/result.json`).

    `tick(what, done, total)` reports progress, `note(text)` says what a person should know. Raises UserError for bad
    input before anything is written under `out`, where another process writes there, and where the disk is full;
    KeyboardInterrupt, as any other end, leaves a run that `resume` continues exactly.
    """
    prepared = _prepared(run, note)
    with _directory(run, out, resume) as directory:
        if resume and (result := directory.concluded()):
            return conclude(result, run, directory, note)
        reference, data = prior_of(prepared, tick)
        _warn_of_priors(reference, data, note)
        beginning = Beginning.of(run, prepared, data)
        prepared = with_temperature(prepared, data, tick, note)
        training = training_of(prepared, reference, data, note)
        with Keeper(training, directory, note) as keeper:
            keeper.begin(beginning, resume)
            seeds = len(directory.config["together"])
            if seeds > 1 and training.at.phase < len(training.phases):
                note(f"warning: {out} began together with other seeds; alone it goes on to the same within rounding")
            training.run(keeper.take, keeper.save, _Ticker(training, tick))
            how = {"compiled": compiles(prepared.run, prepared.spec, seeds), "together": seeds}
            return finish(prepared, training, directory, reference, data, how, tick, note)


def execute_together(
    runs: Sequence[Run],
    outs: Sequence[Path],
    resume: Sequence[bool] = (),
    tick: Tick = lambda *_: None,
    note: Note = lambda _: None,
) -> list[dict[str, Any]]:
    """As `execute`, for runs that differ in their seed alone, in one process and in step (`together.py`).

    Each leaves the directory it would leave alone. Raises UserError for runs that cannot be trained together.
    """
    resume = resume or [False] * len(runs)
    prepared = [_prepared(run, note if i == 0 else lambda _: None) for i, run in enumerate(runs)]
    _refuse_unlike(prepared)
    with ExitStack() as stack:
        asked = zip(runs, outs, resume, strict=True)
        directories = [stack.enter_context(_directory(run, out, again, 2)) for run, out, again in asked]
        barrier = _common_barrier(directories, resume, tuple(run.seed for run in runs), note)
        if barrier is not None:
            return _jointly(prepared, directories, resume, barrier, tick, note)
    return [execute(run, out, again, tick, note) for run, out, again in zip(runs, outs, resume, strict=True)]


def _directory(run: Run, out: Path, resume: bool, at_least: int = 1) -> RunDirectory:
    """Where a run goes; `at_least` so many checkpoints are kept."""
    keep = max(at_least, run.keep_checkpoints)
    return RunDirectory.reopen(out, keep) if resume else RunDirectory.fresh(out, keep)


def _common_barrier(
    directories: Sequence[RunDirectory], resume: Sequence[bool], seeds: tuple[int, ...], note: Note
) -> int | None:
    """The newest checkpoint that all seeds have, 0 where they begin anew; None where they must go on apart."""
    resumed = [directory for directory, again in zip(directories, resume, strict=True) if again]
    if any(directory.concluded() for directory in resumed):
        return None  # all are trained
    if any(directory.config["together"] != list(seeds) for directory in resumed):
        note("warning: these seeds did not begin together: each goes on alone")
        return None
    at_most = None if len(resumed) == len(directories) else 0
    while True:
        found = [directory.newest(at_most) for directory in resumed]
        for _, warnings in found:
            for warning in warnings:
                note(f"warning: {warning}")
        barriers = {barrier for barrier, _ in found}
        if len(barriers) < 2:
            return barriers.pop() if barriers else 0
        at_most = min(barriers)


def _jointly(
    prepared: Sequence[Prepared],
    directories: Sequence[RunDirectory],
    resume: Sequence[bool],
    barrier: int,
    tick: Tick,
    note: Note,
) -> list[dict[str, Any]]:
    """Train seeds together from a barrier that all have reached."""
    reference, data = prior_of(prepared[0], tick)
    _warn_of_priors(reference, data, note)
    runs, seeds = [p.run for p in prepared], tuple(p.run.seed for p in prepared)
    beginnings = [Beginning.of(run, prepared[0], data, seeds) for run in runs]
    prepared = _of_each_seed(with_temperature(prepared[0], data, tick, note), runs)
    memory, env = _shared(prepared)
    parts = [memory.part(i, len(runs)) for i in range(len(runs))]
    trainings = [training_of(p, reference, data, note, (part, env)) for p, part in zip(prepared, parts, strict=True)]
    with ExitStack() as stack:
        pairs = zip(trainings, directories, strict=True)
        keepers = [stack.enter_context(Keeper(training, directory, note)) for training, directory in pairs]
        for keeper, beginning, again in zip(keepers, beginnings, resume, strict=True):
            keeper.begin(beginning, again, barrier)
        compiled = compiles(prepared[0].run, prepared[0].spec, len(runs))
        student = StackedStudent([training.student for training in trainings], compiled)  # pyright: ignore
        together = Together(trainings, student, env, memory)
        together.run([k.take for k in keepers], [k.save for k in keepers], _Ticker(trainings[0], tick))
        ends = zip(prepared, trainings, directories, strict=True)
        how = {"compiled": compiled, "together": len(runs)}
        return [finish(p, t, d, reference, data, how, tick, note) for p, t, d in ends]


def why_apart(prepared: Prepared) -> str | None:
    """Why the seeds of a run cannot be trained together, or None."""
    run = prepared.run
    if prepared.agent is not None:
        return "students that start from weights are trained one seed at a time"
    return cannot_share(run.phases(), prepared.spec, on_policy=not isinstance(run.student, ReplaySettings))


def gains(prepared: Prepared) -> bool:
    """Whether training seeds together is quicker than in processes: where the work is overhead (measured: MLPs)."""
    run, spec = prepared.run, prepared.spec
    torso = natural_torso(spec) if run.student.torso == "auto" else run.student.torso
    return torso == "mlp" and why_apart(prepared) is None


def _prepared(run: Run, note: Note) -> Prepared:
    prepared = prepare(run)
    for warning in prepared.warnings:
        note(f"warning: {warning}")
    torch.set_num_threads(threads(run, prepared.spec))
    return prepared


def _refuse_unlike(prepared: Sequence[Prepared]) -> None:
    first = prepared[0]
    if any(replace(p.run, seed=first.run.seed) != first.run for p in prepared):
        raise UserError("only runs that differ in their seed alone can be trained together")
    refuse_apart(first)


def refuse_apart(prepared: Prepared) -> None:
    """Raises UserError where the seeds of a run cannot be trained together."""
    reason = why_apart(prepared)
    if reason:
        raise UserError(f"these seeds cannot be trained together: {reason}; leave --together off")


def _of_each_seed(first: Prepared, runs: Sequence[Run]) -> list[Prepared]:
    """What the first seed found out holds for all: priors do not vary with a run's seed."""
    asked = [run if first.asked else None for run in runs]
    settled = [replace(first.run, seed=run.seed) for run in runs]
    return [replace(first, run=run, asked=before) for run, before in zip(settled, asked, strict=True)]


def _shared(prepared: Sequence[Prepared]) -> tuple[Replay, Copies]:
    """One memory and one environment for all."""
    run, spec, seeds = prepared[0].run, prepared[0].spec, len(prepared)
    student = replace(run.student, replay_size=run.student.replay_size // run.copies * run.copies * seeds)
    memory, env = student.memory(spec, seeds * run.copies), envs.make(run.env, seeds * run.copies)
    assert isinstance(memory, Replay) and isinstance(env, Copies)
    if run.asks_teacher:
        memory.teacher_column(spec.actions)
    return memory, env


def _warn_of_priors(reference: Reference, data: Dataset | None, note: Note) -> None:
    for lack in data.manifest["about"].get("warnings", ()) if data else ():
        note(f"warning: data: {lack}")
    scale = reference.scale
    if scale and scale.teacher <= scale.random:
        note(
            f"warning: the teacher's score {scale.teacher:.4g} is no better than the random policy's "
            f"{scale.random:.4g}; by score it is weaned at once"
        )


class _Ticker:
    """Progress in units of a phase, not more often than is worth drawing."""

    def __init__(self, training: Training, tick: Tick, every: float = 0.2):
        self._training, self._tick, self._every, self._last = training, tick, every, 0.0

    def __call__(self, phase: Phase) -> None:
        now = time.perf_counter()
        if now - self._last > self._every:
            self._last = now
            at = self._training.at
            done, total = (at.phase_updates, phase.updates) if phase.offline else (at.phase_env_steps, phase.env_steps)
            self._tick(f"{phase.name} {'updates' if phase.offline else 'env steps'}", done, total)


@dataclass(frozen=True)
class Beginning:
    """What a run begins with, and must go on with: its settings, its priors' hashes, the seeds trained with it."""

    run: Run
    prior: dict[str, str | None]
    together: tuple[int, ...]

    @classmethod
    def of(cls, run: Run, prepared: Prepared, data: Dataset | None, together: tuple[int, ...] = ()) -> "Beginning":
        """From a run as it was asked for, with what it needs opened; alone unless other seeds are named."""
        teacher, agent = prepared.teacher, prepared.agent
        prior = {
            "teacher": teacher.card.sha256 if teacher else None,
            "data": data.id if data else None,
            "weights": agent.sha256 if agent else None,
        }
        return cls(run, prior, together or (run.seed,))

    def config(self) -> dict[str, Any]:
        """The record, as `config.json` holds it."""
        return {**record(self.run), "prior": self.prior, "together": list(self.together)}

    def check(self, directory: RunDirectory, note: Note) -> None:
        """Raises UserError where the run in a directory began as another; other versions are only worth a note."""
        began, here = directory.config, directory.path
        if from_record(began) != self.run:
            raise UserError(f"{here} holds a run with other settings; resume goes on with those in its config.json")
        for kind, now in self.prior.items():
            if began["prior"][kind] != now:
                then = f"it was {began['prior'][kind]} then and is {now} now"
                raise UserError(f"the {kind} of {here} has changed since the run began: {then}; put it back to resume")
        then, now = began["versions"], record(self.run)["versions"]
        changed = [f"{name} was {then[name]}, is {now.get(name)}" for name in then if then[name] != now.get(name)]
        if changed:
            note(f"warning: since the run began {'; '.join(changed)}: it may not go on to the same bits")


class Keeper:
    """What is written of one training: its directory and its events."""

    def __init__(self, training: Training, directory: RunDirectory, note: Note):
        self._training, self._directory, self._note = training, directory, note
        self._board: TensorBoard | None = None

    def begin(self, beginning: Beginning, resume: bool, at_most: int | None = None) -> None:
        """Make the directory, or put its last checkpoint (of at most this number) back."""
        if not resume:
            self._directory.create(beginning.config())
            if unknown := register(Path(beginning.run.store), self._directory.path):
                self._note(f"warning: {unknown}")
        else:
            beginning.check(self._directory, self._note)
            for warning in self._directory.restore(self._training, at_most):
                self._note(f"warning: {warning}")
        self._board = TensorBoard(self._directory.path)

    def take(self, line: Record) -> None:
        """Write a line of metrics down."""
        assert self._board is not None
        self._directory.record(line)
        self._board.add(line)
        _warn_of_weaning(self._training, line, self._note)

    def save(self) -> None:
        """Write a checkpoint."""
        self._directory.checkpoint(self._training)

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(self, *_: object) -> None:
        self._training.env.close()
        if self._board:
            self._board.close()


def _warn_of_weaning(training: Training, line: Record, note: Note) -> None:
    """λ that falls to zero at the first look: a student as good already, a teacher too weak, or a wrong scale."""
    first = line["kind"] == "eval" and line["phase"] == "online" and len(training.at.scores) == 1
    if first and line["weight"] == 0 and training.at.phase_env_steps:
        score = f"normalised {line['normalised']:.2f} over the evaluation's few episodes"
        note(f"warning: weaned at the first online evaluation ({score}); --wean.no-sticky is slower")


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
