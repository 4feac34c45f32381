"""Where those act who act for a learner (`--actors`): processes on this machine, which share memory with it."""

import pickle
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from reincarnate import envs
from reincarnate.envs.checks import Unsound
from reincarnate.errors import UserError
from reincarnate.plugins import asked_imports, go_to
from reincarnate.run.child import Child
from reincarnate.run.settings import Run
from reincarnate.surroundings import end_with_parent
from reincarnate.training.mailbox import Mailbox
from reincarnate.training.rollout_worker import (
    Reply,
    Request,
    RolloutWorker,
    WorkerState,
    weights_of,
)
from reincarnate.types import TaskSpec


class WorkerSpec(NamedTuple):
    """What one who acts must know to begin."""

    run: Run
    spec: TaskSpec
    copies: int
    imports: tuple[str, ...]
    where: Path  # relative paths are those of the command

    def worker(self) -> RolloutWorker:
        """Copies and student."""
        go_to(self.where, self.imports)
        torch.set_num_threads(1)
        student = self.run.student.newborn(self.spec, self.run.birth_seed)
        return RolloutWorker(envs.make(self.run.env, self.copies, "student"), student)


def worker_specs(run: Run, spec: TaskSpec, copies: Sequence[int]) -> list[WorkerSpec]:
    """One for each number of copies."""
    imports = (*asked_imports(), *run.imports)
    return [WorkerSpec(run, spec, n, imports, Path.cwd()) for n in copies]


class ProcessBackend:
    """Actors in processes (`training.remote_actors.ActorBackend`), which read weights from shared memory."""

    def __init__(self, run: Run, spec: TaskSpec):
        vector = weights_of(run.student.newborn(spec, run.birth_seed))
        self._run, self._spec = run, spec
        self._box = Mailbox(1, vector.size, vector.dtype.name)

    def handles(self, copies: Sequence[int]) -> "list[ProcessHandle]":
        """One for each number of copies."""
        told = enumerate(worker_specs(self._run, self._spec, copies))
        return [ProcessHandle(part, self._box.address, f"actor {i}") for i, part in told]

    def publish(self, weights: np.ndarray) -> None:
        """Leave them where all look."""
        self._box.post(0, weights)

    def close(self) -> None:
        """Take the shared memory away."""
        self._box.close(unlink=True)


class ProcessHandle(Child):
    """A process and the pipe to it (`training.remote_actors.ActorHandle`)."""

    def __init__(self, part: WorkerSpec, address: tuple[int, int, str, str], name: str):
        super().__init__(_live, part, address, name=name)

    def begin(self, rng: np.random.Generator) -> None:
        """Let a stretch begin."""
        self.tell(("begin", rng))

    def catch_up(self, actions: Sequence[np.ndarray], state: WorkerState) -> None:
        """Let it repeat what was done."""
        self.tell(("catch_up", list(actions), state))

    def act(self, request: Request) -> None:
        """Let it play."""
        self.tell(("act", request))

    def obs(self) -> np.ndarray:
        """What its copies show as the stretch begins."""
        return self._receive()

    def reply(self) -> Reply:
        """What it experienced."""
        return self._receive()

    def _receive(self) -> Any:
        kind, value = self.heard()
        if kind is not None:
            raise kind(value)
        return value

    def close(self) -> None:
        """See that nothing of it is left."""
        self.end()


# ---- in the process ----------------------------------------------------------------------------------------


def _live(connection: Connection, part: WorkerSpec, address: tuple[int, int, str, str]) -> None:
    """Act for as long as requests come."""
    end_with_parent()
    box, reply = Mailbox(*address), _Replying(connection)
    try:
        worker = reply.of(part.worker)
        while worker is not None:
            what, *told = pickle.loads(connection.recv_bytes())
            if what == "begin":
                reply(worker.begin, *told)
            elif what == "catch_up":
                worker.catch_up(*told)
            else:
                reply(worker.act, *told, box.left_by(0))
    except (EOFError, OSError):  # nobody is there any more
        pass
    finally:
        box.close()


class _Replying:
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
