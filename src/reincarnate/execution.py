"""Running: one run, or several seeds of it in one process, from the first check to `done`."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from reincarnate import envs
from reincarnate.assembly import compiles, prior_of, threads, training_of, with_temperature
from reincarnate.data.replay import Replay
from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.nets.qnet import natural_torso
from reincarnate.outcome import finish
from reincarnate.prior import Reference, Tick
from reincarnate.run import Note, Prepared, Run, prepare, record
from reincarnate.rundir import RunDirectory
from reincarnate.students.settings import ReplaySettings
from reincarnate.students.stacked import StackedStudent
from reincarnate.tensorboard import TensorBoard
from reincarnate.together import Together, cannot_share
from reincarnate.training import Record, Training
from reincarnate.types import Phase


def execute(
    run: Run, out: Path, resume: bool = False, tick: Tick = lambda *_: None, note: Note = lambda _: None
) -> dict[str, Any]:
    """Train, and return the result (also in `out/result.json`).

    `tick(what, done, total)` reports progress, `note(text)` says what a person should know. Raises UserError for bad
    input before anything is written under `out`; KeyboardInterrupt leaves a run that `resume` continues exactly.
    """
    prepared = _prepared(run, note)
    directory = RunDirectory.reopen(out) if resume else RunDirectory.fresh(out)
    reference, data = prior_of(prepared, tick)
    _warn_of_weak_teacher(reference, note)
    prepared = with_temperature(prepared, data, tick, note)
    training = training_of(prepared, reference, data, note)
    with _Keeper(training, directory, note) as keeper:
        keeper.begin(run, resume)
        training.run(keeper.take, keeper.save, _Ticker(training, tick))
        how = {"compiled": compiles(run, prepared.spec), "together": 1}
        return finish(prepared, training, directory, reference, data, how, tick)


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
    directories = [RunDirectory.reopen(o) if r else RunDirectory.fresh(o) for o, r in zip(outs, resume, strict=True)]
    reference, data = prior_of(prepared[0], tick)
    _warn_of_weak_teacher(reference, note)
    prepared = _of_each_seed(with_temperature(prepared[0], data, tick, note), runs)
    memory, env = _shared(prepared)
    parts = [memory.part(i, len(runs)) for i in range(len(runs))]
    trainings = [training_of(p, reference, data, note, (part, env)) for p, part in zip(prepared, parts, strict=True)]
    keepers = [_Keeper(t, d, note) for t, d in zip(trainings, directories, strict=True)]
    try:
        for keeper, run, again in zip(keepers, runs, resume, strict=True):
            keeper.begin(run, again)
        if len({training.at.barrier for training in trainings}) > 1:  # killed between two checkpoints
            for keeper in keepers:
                keeper.close()
            return [execute(run, out, True, tick, note) for run, out in zip(runs, outs, strict=True)]
        compiled = compiles(prepared[0].run, prepared[0].spec, len(runs))
        student = StackedStudent([training.student for training in trainings], compiled)  # pyright: ignore
        together = Together(trainings, student, env, memory)
        together.run([k.take for k in keepers], [k.save for k in keepers], _Ticker(trainings[0], tick))
        ends = zip(prepared, trainings, directories, strict=True)
        how = {"compiled": compiled, "together": len(runs)}
        return [finish(p, t, d, reference, data, how, tick) for p, t, d in ends]
    finally:
        for keeper in keepers:
            keeper.close()


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


class _Keeper:
    """What is written of one training: its directory and its events."""

    def __init__(self, training: Training, directory: RunDirectory, note: Note):
        self._training, self._directory, self._note = training, directory, note
        self._board: TensorBoard | None = None

    def begin(self, run: Run, resume: bool) -> None:
        """Make the directory, or put its last checkpoint back."""
        if not resume:
            self._directory.create(record(run))
        else:
            for warning in self._directory.restore(self._training):
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

    def close(self) -> None:
        """Let everything go; what is being written is written to its end."""
        self._training.env.close()
        if self._board:
            self._board.close()
        self._directory.settle()

    def __enter__(self) -> "_Keeper":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _warn_of_weak_teacher(reference: Reference, note: Note) -> None:
    scale = reference.scale
    if scale and scale.teacher <= scale.random:
        note(
            f"warning: the teacher's score {scale.teacher:.4g} is no better than the random policy's "
            f"{scale.random:.4g}; by score it is weaned at once"
        )


def _warn_of_weaning(training: Training, line: dict[str, Any], note: Note) -> None:
    """λ that falls to zero at the first look: a student as good already, a teacher too weak, or a wrong scale."""
    first = line["kind"] == "eval" and line["phase"] == "online" and len(training.at.scores) == 1
    if first and line["weight"] == 0 and training.at.phase_env_steps:
        score = f"normalised {line['normalised']:.2f} over the evaluation's few episodes"
        note(f"warning: weaned at the first online evaluation ({score}); --wean.no-sticky is slower")


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
