"""What is kept of one training while it goes on, and the refusal to go on as something else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reincarnate.data import Dataset
from reincarnate.errors import UserError
from reincarnate.run import Note, Prepared, Run, from_record, record
from reincarnate.rundir import RunDirectory
from reincarnate.store.index import register
from reincarnate.tensorboard import TensorBoard
from reincarnate.training import Record, Training


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
