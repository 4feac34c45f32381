"""Running: one run, or several seeds of it in one process, from the first check to `done`."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from reincarnate import envs
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_json
from reincarnate.nets.qnet import natural_torso
from reincarnate.priors.played import Tick
from reincarnate.run.assemble import assemble, stacks
from reincarnate.run.callbacks import Moment, tell
from reincarnate.run.directory import RunDirectory
from reincarnate.run.loggers import Logger, open_loggers
from reincarnate.run.outcome import conclude, finish
from reincarnate.run.prepare import Prepared, measure_priors, prepare_all, threads
from reincarnate.run.result import Result
from reincarnate.run.settings import Note, Run, from_record, record
from reincarnate.run.ticker import Ticker
from reincarnate.run.videos import keep_video
from reincarnate.seeds import check_many
from reincarnate.store.index import register
from reincarnate.store.trust import fingerprint
from reincarnate.surroundings import own_torch
from reincarnate.training.exchange import Exchange, Quiet
from reincarnate.training.training import Record, Training


@own_torch()
def execute(
    run: Run, out: Path | str, resume: bool = False, tick: Tick = lambda *_: None, note: Note = lambda _: None
) -> Result:
    """Train, and return the result (also in `out/result.json`).

    `tick(what, done, total)` reports progress, `note(text)` says what a person should know. Raises UserError for bad
    input before anything is written under `out`, where another process writes there, and where the disk is full;
    KeyboardInterrupt, as any other end, leaves a run that `resume` continues exactly.
    """
    return execute_together([run], [out], [resume], tick, note)[0]


@own_torch()
def execute_together(
    runs: Sequence[Run],
    outs: Sequence[Path | str],
    resume: Sequence[bool] = (),
    tick: Tick = lambda *_: None,
    note: Note = lambda _: None,
) -> list[Result]:
    """As `execute`, for runs that differ in their seed alone, in one process and in step (`training.population`).

    Each leaves the directory it would leave alone. Raises UserError for runs that cannot be trained together.
    """
    check_many(len(runs), "the number of runs together")
    resume, outs = resume or [False] * len(runs), [Path(out) for out in outs]
    _refuse_part(runs, outs, resume)
    prepared = prepare_all(runs)
    _tell(prepared[0], note)
    _refuse_unlike(prepared)
    if runs[0].population > 1 and runs[0].exchange.processes != "one":
        from reincarnate.run.apart import train_apart

        return [*map(Result, train_apart(prepared, outs, resume, tick, note))]
    with ExitStack() as stack:
        asked = zip(runs, outs, resume, strict=True)
        directories = [stack.enter_context(_directory(run, out, again, len(runs))) for run, out, again in asked]
        if len(runs) == 1:
            if resume[0] and (result := directories[0].concluded()):
                return [Result(conclude(result, runs[0], directories[0], note))]
            return [*map(Result, _train(prepared, directories, resume, None, tick, note))]
        barrier = _common_barrier(directories, resume, tuple(run.seed for run in runs), note)
        if barrier is not None:
            return [*map(Result, _train(prepared, directories, resume, barrier, tick, note))]
        if runs[0].population > 1 and not all(d.trained(len(runs[0].phases())) for d in directories):
            raise UserError(f"the members of the population in {outs[0].parent} did not all begin together: begin anew")
    return [execute(run, out, again, tick, note) for run, out, again in zip(runs, outs, resume, strict=True)]


def train_member(
    prepared: Prepared, seeds: tuple[int, ...], out: Path, resume: bool, exchange: Exchange, tick: Tick, note: Note
) -> dict[str, Any]:
    """Train one member of a population whose others (all `seeds`) have processes of their own."""
    _tell(prepared, note)
    with _directory(prepared.run, out, resume) as directory:
        if resume and (result := directory.concluded()):
            return conclude(result, prepared.run, directory, note)
        return _train([prepared], [directory], [resume], None, tick, note, exchange, seeds)[0]


def _refuse_part(runs: Sequence[Run], outs: Sequence[Path], resume: Sequence[bool]) -> None:
    """A population is trained as a whole. Members that are trained may be concluded alone; those with a process each
    go on where others are done."""
    run = runs[0]
    if run.population < 2 or len(runs) == run.population:
        return
    apart = all(resume) and run.exchange.processes != "one"
    trained = len(runs) == 1 and resume[0] and RunDirectory.reopen(outs[0]).trained(len(run.phases()))
    if not apart and not trained:
        raise UserError(
            f"{outs[0]} is one of a population of {run.population}, which is trained as a whole: name the folder that "
            "holds all its members (from Python: execute_together(run.members(), …))"
        )


def _train(
    prepared: Sequence[Prepared],
    directories: Sequence[RunDirectory],
    resume: Sequence[bool],
    barrier: int | None,
    tick: Tick,
    note: Note,
    exchange: Exchange | None = None,
    members: tuple[int, ...] = (),
) -> list[dict[str, Any]]:
    """Train all from the barrier that they have reached (None: each from its newest), and conclude them.

    `exchange` is the part of one whose population's other `members` have processes of their own.
    """
    first = measure_priors(prepared[0], tick, _unsaid if all(resume) else note)  # said as the run began
    _warn_of_priors(first, note)
    prepared = [first.of_seed(p.run.seed) for p in prepared]
    seeds = members or tuple(p.run.seed for p in prepared)
    if prepared[0].run.population > len(prepared) and exchange is None:
        exchange = Quiet()  # of one that is trained already
    trainings, loop, compiled = assemble(prepared, note, exchange)
    with ExitStack() as stack:
        stack.callback(loop.close)
        pairs = list(zip(prepared, trainings, directories, strict=True))
        writers = [stack.enter_context(RunWriter(training, directory, note)) for _, training, directory in pairs]
        for (p, _, _), writer, again in zip(pairs, writers, resume, strict=True):
            began = seeds if len(seeds) > 1 or not again else tuple(writer.directory.config["together"])
            writer.begin(RunIdentity.of(p, began), again, barrier)
        _warn_of_parting(prepared, directories[0], trainings[0], note)
        loop.run([w.write for w in writers], [w.save for w in writers], Ticker(trainings[0], tick, writers[0].latest))
        together = 1 if members else len(directories[0].config["together"])
        how = {"compiled": compiled, "together": together}
        if prepared[0].run.population > 1:
            how["population"] = prepared[0].run.population
        told = [how | t.company() for t in trainings]
        return [finish(*trio, own, tick, note) for trio, own in zip(pairs, told, strict=True)]


def _warn_of_parting(prepared: Sequence[Prepared], directory: RunDirectory, training: Training, note: Note) -> None:
    """One that began with other seeds and goes on alone does not go on to the same bits."""
    together = len(directory.config["together"])
    if together > len(prepared) and prepared[0].run.population == 1 and training.at.phase < len(training.phases):
        note(f"warning: {directory.path} began together with other seeds; alone it goes on to the same within rounding")


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


def gains(prepared: Prepared) -> bool:
    """Whether training seeds together is quicker than in processes: where the work is overhead (measured: MLPs)."""
    run, spec = prepared.run, prepared.spec
    if why_apart(prepared) or not stacks(prepared):
        return False
    return (natural_torso(spec) if run.student.torso == "auto" else run.student.torso) == "mlp"


def why_apart(prepared: Prepared) -> str | None:
    """Why the seeds of a run cannot be trained together, or None."""
    if prepared.agent is not None:
        return "students that start from weights are trained one seed at a time"
    if prepared.run.stop_at:
        return "each stops when it has done enough"
    if prepared.run.method.distant or prepared.run.actors:
        return "each has a process beside it"
    return None


def _unsaid(line: str) -> None:
    """Say nothing."""


def _tell(prepared: Prepared, note: Note) -> None:
    for warning in prepared.warnings:
        note(f"warning: {warning}")
    torch.set_num_threads(threads(prepared.run, prepared.spec))


def _refuse_unlike(prepared: Sequence[Prepared]) -> None:
    first = prepared[0]
    if any(replace(p.run, seed=first.run.seed) != first.run for p in prepared):
        raise UserError("only runs that differ in their seed alone can be trained together")
    if len(prepared) > 1:
        refuse_apart(first)


def refuse_apart(prepared: Prepared) -> None:
    """Raises UserError where the seeds of a run cannot be trained together."""
    reason = why_apart(prepared)
    if reason and prepared.run.population > 1:
        raise UserError(f"--population {prepared.run.population} cannot be: {reason}; leave --population out")
    if reason:
        raise UserError(f"these seeds cannot be trained together: {reason}; leave --together off")


def _warn_of_priors(prepared: Prepared, note: Note) -> None:
    data, reference = prepared.data, prepared.reference
    assert reference is not None
    for lack in data.manifest["about"].get("warnings", ()) if data else ():
        note(f"warning: data: {lack}")
    scale = reference.scale
    if scale and scale.teacher <= scale.random:
        note(
            f"warning: the teacher's score {scale.teacher:.4g} is no better than the random policy's "
            f"{scale.random:.4g}; by score it is weaned at once"
        )
    elif reference.teacher and reference.teacher.interval()[0] <= reference.random.interval()[1]:
        (low, high), (least, most) = reference.teacher.interval(), reference.random.interval()
        note(
            f"warning: the teacher's score [{low:.4g}, {high:.4g}] cannot be told from the random policy's "
            f"[{least:.4g}, {most:.4g}]: normalised scores mean little; measure longer with --reference-episodes"
        )


@dataclass(frozen=True)
class RunIdentity:
    """What a run begins with, and must go on with: its settings, its priors' hashes, its task, the seeds trained with
    it."""

    run: Run
    prior: dict[str, str | None]
    task: str  # hash of its identity
    together: tuple[int, ...]
    support: tuple[float, float] | None = None  # of a bounded critic, where it was chosen

    @classmethod
    def of(cls, prepared: Prepared, together: tuple[int, ...]) -> "RunIdentity":
        """Of a run as it was asked for, with what it needs opened."""
        teacher, data, agent = prepared.teacher, prepared.data, prepared.agent
        prior = {
            "teacher": teacher.card.sha256 if teacher else None,
            "data": data.id if data else None,
            "weights": agent.sha256 if agent else None,
        }
        if prepared.run.teacher and prepared.run.teacher.startswith("py:"):
            prior["code"] = fingerprint(prepared.run.teacher.removeprefix("py:"))
        support, task = prepared.support, sha256_json(envs.identity(prepared.spec.id))
        return cls(prepared.recorded, prior, task, together, (support.low, support.high) if support else None)

    def config(self) -> dict[str, Any]:
        """The record, as `config.json` holds it."""
        support = {"support": list(self.support)} if self.support else {}
        began = {"prior": self.prior, "task": self.task, "together": list(self.together)}
        return {**record(self.run), **began, **support}

    def check(self, directory: RunDirectory, note: Note) -> None:
        """Raises UserError where the run in a directory began as another; other versions, and another code of the
        task, are only worth a note."""
        began, here = directory.config, directory.path
        if from_record(began) != self.run:
            raise UserError(f"{here} holds a run with other settings; resume goes on with those in its config.json")
        for kind, now in self.prior.items():
            if (before := began["prior"].get(kind)) != now and kind != "code":  # that is looked at before it is run
                then = f"it was {before} then and is {now} now"
                raise UserError(f"the {kind} of {here} has changed since the run began: {then}; put it back to resume")
        if began.get("task", self.task) != self.task:  # older records have none
            told = "what was measured before is of the task as it was"
            note(f"warning: the task {self.run.env} has changed since the run began: {told}")
        if self.support and began.get("support", list(self.support)) != list(self.support):
            then = f"it was {began['support']} then and would be {list(self.support)} now"
            raise UserError(f"the support that was chosen for {here} has changed: {then}; put its store back to resume")
        then, now = began["versions"], record(self.run)["versions"]
        changed = [f"{name} was {then[name]}, is {now.get(name)}" for name in then if then[name] != now.get(name)]
        if changed:
            note(f"warning: since the run began {'; '.join(changed)}: it may not go on to the same bits")


class RunWriter:
    """What is written of one training: its directory and its events."""

    def __init__(self, training: Training, directory: RunDirectory, note: Note):
        self._training, self.directory, self._note = training, directory, note
        self._loggers: list[Logger] = []
        self._judged: Record = {}
        self._films: Run | None = None  # what is filmed, where each evaluation is
        self._saturated = False
        self.latest: Record = {}  # the newest of every number, for the progress line

    def begin(self, identity: RunIdentity, resume: bool, at_most: int | None = None) -> None:
        """Make the directory, or put its last checkpoint (of at most this number) back."""
        if not resume:
            self.directory.create(identity.config())
            if unknown := register(Path(identity.run.store), self.directory.path):
                self._note(f"warning: {unknown}")
        else:
            identity.check(self.directory, self._note)
            for warning in self.directory.restore(self._training, at_most):
                self._note(f"warning: {warning}")
        self._films = identity.run if identity.run.video == "all" else None
        self._loggers = open_loggers(identity.run.log, self.directory.path, record(identity.run))

    def write(self, line: Record) -> None:
        """Write a line of metrics down."""
        self.directory.record(line)
        for logger in self._loggers:
            logger.add(line)
        self.latest |= line
        if line["kind"] == "eval":
            self._judged = line
            if self._films:
                keep_video(self._films, self._training.student, self.directory.path, self._training.at.barrier)
        _warn_of_weaning(self._training, line, self._note)
        if not self._saturated and (warning := _saturation(self._training, line)):
            self._note(warning)
            self._saturated = True

    def save(self) -> None:
        """Write a checkpoint."""
        self.directory.checkpoint(self._training)
        tell(Moment("checkpoint", self.directory.path, self._judged))

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for logger in self._loggers:
            logger.close()


SATURATED = 0.1  # of the targets' mass on one end's atom, beyond what an even distribution has there


def _saturation(training: Training, line: Record) -> str | None:
    """What to say where returns reach an end of a bounded critic's support; None where they do not."""
    if "at_low" not in line:
        return None
    settings = training.student.settings
    share, end = max((line["at_low"], "low"), (line["at_high"], "high"))
    if share <= SATURATED + 1 / settings.atoms:
        return None
    bound = getattr(settings, end)
    return (
        f"warning: after {line['updates']:,} updates {share:.0%} of the targets' mass is on the atom at {bound:g}: "
        f"returns beyond the critic's support are not told apart; --student.{end} moves that end"
    )


def _warn_of_weaning(training: Training, line: Record, note: Note) -> None:
    """λ that falls to zero at the first look: a student as good already, a teacher too weak, or a wrong scale."""
    first = line["kind"] == "eval" and line["phase"] == "online" and len(training.at.scores) == 1
    by_score = max(training.at.scores + training.at.lows, default=0.0) >= 1
    if first and by_score and line["weight"] == 0 and training.at.phase_env_steps:
        score = f"normalised {line['normalised']:.2f} over the evaluation's few episodes"
        note(f"warning: weaned at the first online evaluation ({score}); --wean.no-sticky is slower")
