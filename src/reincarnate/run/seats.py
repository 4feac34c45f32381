"""Where those act who act for a learner (`--actors`): processes on this machine, which share memory with it."""

import multiprocessing
import os
import pickle
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from reincarnate import envs
from reincarnate.envs.checks import Unsound
from reincarnate.errors import UserError
from reincarnate.plugins import asked_imports, imported
from reincarnate.run.hosts import GRACE
from reincarnate.run.settings import Run
from reincarnate.surroundings import end_with_parent, see_ended
from reincarnate.training.crew import Died
from reincarnate.training.mailbox import Mailbox
from reincarnate.training.performer import Answer, Mind, Order, Performer, Shapes, shapes_of, weights_of
from reincarnate.types import TaskSpec


class Part(NamedTuple):
    """What one who acts must know to begin."""

    run: Run
    spec: TaskSpec
    copies: int
    imports: tuple[str, ...]
    where: Path  # relative paths are those of the command

    def performer(self) -> Performer:
        """Copies and student."""
        os.chdir(self.where)
        imported(self.imports)
        torch.set_num_threads(1)
        student = self.run.student.newborn(self.spec, self.run.birth_seed)
        return Performer(envs.make(self.run.env, self.copies, "student"), student)


def parts(run: Run, spec: TaskSpec, copies: Sequence[int]) -> list[Part]:
    """One for each number of copies."""
    imports = (*asked_imports(), *run.imports)
    return [Part(run, spec, n, imports, Path.cwd()) for n in copies]


class ProcessSeats:
    """Seats in processes (`training.crew.Seats`), which read weights from shared memory."""

    def __init__(self, run: Run, spec: TaskSpec):
        newborn = run.student.newborn(spec, run.birth_seed)
        vector = weights_of(newborn)
        self.shapes: Shapes = shapes_of(newborn)
        self._run, self._spec = run, spec
        self._box = Mailbox(1, vector.size, vector.dtype.name)

    def seats(self, copies: Sequence[int]) -> "list[ProcessSeat]":
        """One for each number of copies."""
        told = enumerate(parts(self._run, self._spec, copies))
        return [ProcessSeat(part, self._box.address, f"actor {i}") for i, part in told]

    def publish(self, weights: np.ndarray) -> None:
        """Leave them where all look."""
        self._box.post(0, weights)

    def close(self) -> None:
        """Take the shared memory away."""
        self._box.close(unlink=True)


class ProcessSeat:
    """A process and the pipe to it (`training.crew.Seat`)."""

    def __init__(self, part: Part, address: tuple[int, int, str, str], name: str):
        self._told, self._name = (part, address), name
        self.process: Any = None

    def take(self) -> None:
        """Start a process; of one that was there before nothing is left."""
        self._bury()
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=_live, args=(theirs, *self._told), name=self._name, daemon=True)
        self.process.start()
        theirs.close()

    def begin(self, rng: np.random.Generator) -> None:
        """Let a stretch begin."""
        self._send("begin", rng)

    def catch_up(self, actions: Sequence[np.ndarray], mind: Mind) -> None:
        """Let it repeat what was done."""
        self._send("catch_up", list(actions), mind)

    def act(self, order: Order) -> None:
        """Let it play."""
        self._send("act", order)

    def _send(self, *what: Any) -> None:
        with suppress(OSError):  # it has died: whoever asks for the answer will see
            self._connection.send_bytes(pickle.dumps(what, pickle.HIGHEST_PROTOCOL))

    def obs(self) -> np.ndarray:
        """What its copies show as the stretch begins."""
        return self._receive()

    def answer(self) -> Answer:
        """What it experienced."""
        return self._receive()

    def _receive(self) -> Any:
        try:
            kind, value = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            raise Died(f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}") from None
        if kind is not None:
            raise kind(value)
        return value

    def _bury(self) -> None:
        if self.process is not None:
            self._connection.close()  # which ends it
            see_ended(self.process, GRACE)

    def close(self) -> None:
        """See that nothing of it is left."""
        self._bury()


# ---- in the process ----------------------------------------------------------------------------------------


def _live(connection: Connection, part: Part, address: tuple[int, int, str, str]) -> None:
    """Act for as long as orders come."""
    end_with_parent()
    box, answer = Mailbox(*address), _Answering(connection)
    try:
        performer = answer.of(part.performer)
        while performer is not None:
            what, *told = pickle.loads(connection.recv_bytes())
            if what == "begin":
                answer(performer.begin, *told)
            elif what == "catch_up":
                performer.catch_up(*told)
            else:
                answer(performer.act, *told, _newest(box))
    except (EOFError, OSError):  # nobody is there any more
        pass
    finally:
        box.close()


def _newest(box: Mailbox) -> np.ndarray:
    message = box.latest(0)
    assert message is not None, "no weights were left"
    return message.vector


class _Answering:
    """Sends what came of something, or what its task says against it."""

    def __init__(self, connection: Connection):
        self._connection = connection

    def of(self, made: Any) -> Any:
        """Make it, and say nothing; None where that is refused, which is said."""
        try:
            return made()
        except UserError as error:
            self._refuse(error)
            return None

    def __call__(self, do: Any, *told: Any) -> None:
        try:
            self._send((None, do(*told)))
        except UserError as error:
            self._refuse(error)

    def _refuse(self, error: UserError) -> None:
        self._send((Unsound if isinstance(error, Unsound) else UserError, str(error)))

    def _send(self, what: Any) -> None:
        self._connection.send_bytes(pickle.dumps(what, pickle.HIGHEST_PROTOCOL))
