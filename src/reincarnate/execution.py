"""Running: one run, or several seeds of it in one process, from the first check to `done`."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from reincarnate import envs
from reincarnate.assembly import compiles, prior_of, threads, training_of, with_temperature
from reincarnate.data import Dataset
from reincarnate.data.replay import Replay
from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.keeper import Beginning, Keeper
from reincarnate.nets.qnet import natural_torso
from reincarnate.outcome import conclude, finish
from reincarnate.prior import Reference, Tick
from reincarnate.run import Note, Prepared, Run, prepare
from reincarnate.rundir import RunDirectory
from reincarnate.students.settings import ReplaySettings
from reincarnate.students.stacked import StackedStudent
from reincarnate.together import Together, cannot_share
from reincarnate.training import Training
from reincarnate.types import Phase


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
