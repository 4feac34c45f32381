"""One of a cast who learns in a process of its own, beside the others: the same updates, to the same bits.

After each rollout the main process leaves the student's state in shared memory and sends what the student prepared; the
other process makes the updates that are due while the main one goes on with the rest of the cast, and leaves the state
it came to there. The main process waits for it before anybody acts again, so that nothing depends on who was quicker.
All that the other knows it was told, so that one that dies is replaced by another, which is told everything again.
"""

import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import numpy as np
import torch

from reincarnate.data.memory import Memory, each_tensor, memory_for, on_device
from reincarnate.errors import UserError
from reincarnate.plugins import asked_imports, imported
from reincarnate.surroundings import end_with_parent, see_ended, spawned
from reincarnate.training.gossip import Vector
from reincarnate.training.mailbox import Mailbox
from reincarnate.training.population import Alone, Means
from reincarnate.training.training import Training
from reincarnate.types import Batch, Student, Weighing

REBIRTHS = 3  # of the other process
POLL = 0.5  # seconds between looks at a process that says nothing
GRACE = 10.0  # seconds for it to end by itself
HERE, THERE = 0, 1  # whose messages are in the shared memory
Note = Callable[[str], None]


class Job(NamedTuple):
    """Updates that are due. `rollouts` are those the other process has not got yet, `keep` so many are learnt from."""

    updates: int
    batch: int
    weighing: Weighing
    rng: np.random.Generator  # that batches are drawn with
    counts: dict[str, int]  # of the student's state, what is no vector
    rollouts: list[Batch]
    keep: int


class Done(NamedTuple):
    """What became of them: each update's losses, the generator and the counts after the last."""

    means: list[Means]
    rng: np.random.Generator
    counts: dict[str, int]


class Distant(Alone):
    """The student of one training, whose updates another process makes. It acts and prepares here."""

    def __init__(self, training: Training, name: str, seed: int, imports: tuple[str, ...], note: Note):
        Alone.__init__(self, training, name)
        self._memory, self._note, self._births = training.memories[name], note, 0
        student = self._student
        vector = Vector(student.state().values())
        self._box = Mailbox(2, vector.size, "float64" if vector.double else "float32")
        self._told = (student.settings, student.spec, seed, str(student.device), training.copies, self._memory.keeps)
        self._imports = (*asked_imports(), *imports)
        self._job: Job | None = None
        self._start()

    def _start(self) -> None:
        told = (*self._told, self._box.address, torch.get_num_threads(), self._imports)
        self.process, self._connection = spawned(_live, *told, name="distant student", daemon=True)
        self._births += 1
        self._known: list[Batch] = []  # rollouts that it has got

    # ---- a rollout -----------------------------------------------------------------------------------

    def begin(self, updates: int, batch: int, weighing: Weighing, rng: np.random.Generator) -> None:
        """Let so many updates be made of the newest rollouts, drawn with this generator."""
        post(self._box, HERE, self._student)
        self._rng = rng
        counts = counts_of(self._student)
        self._job = Job(updates, batch, weighing, rng, counts, [], len(self._memory.kept))
        self._send()

    def _send(self) -> None:
        assert self._job is not None
        kept = self._memory.kept
        new = [one for one in kept if not any(one is known for known in self._known)]
        try:
            self._connection.send_bytes(pickle.dumps(self._job._replace(rollouts=[_on_host(one) for one in new])))
            self._known = kept
        except OSError:  # it has died: `wait` will see
            pass

    def wait(self) -> list[Means]:
        """Wait until they are made, and go on from where they led. Raises UserError where nobody could make them."""
        while self._job is not None:
            if self._connection in wait([self._connection, self.process.sentinel], timeout=POLL):
                try:
                    return self._take(pickle.loads(self._connection.recv_bytes()))
                except (EOFError, OSError):
                    self._replace()
            elif not self.process.is_alive():
                self._replace()
        return []

    def _take(self, done: Done) -> list[Means]:
        take(self._box, THERE, self._student, done.counts)
        self._rng.bit_generator.state, self._job = done.rng.bit_generator.state, None
        return done.means

    def _replace(self) -> None:
        """Begin another in the place of one that has died, with the same job."""
        self.process.join()
        self._connection.close()
        told = f"the process of the {self._name} died (exit code {self.process.exitcode})"
        if self._births > REBIRTHS:
            raise UserError(f"{told} {self._births} times: --processes one needs none")
        self._note(f"warning: {told}: another takes its place")
        self._start()
        self._send()

    def close(self) -> None:
        """See that nothing of it is left."""
        self._connection.close()  # which ends it
        see_ended(self.process, GRACE)
        self._box.close(unlink=True)


# ---- in the other process --------------------------------------------------------------------------------


def _live(
    connection: Connection,
    settings: Any,
    spec: Any,
    seed: int,
    device: str,
    copies: int,
    keeps: int,
    address: tuple[int, int, str, str],
    threads: int,
    imports: tuple[str, ...],
) -> None:
    """Make updates for as long as jobs come."""
    end_with_parent()
    torch.set_num_threads(threads)
    imported(imports)
    box, there = Mailbox(*address), torch.device(device)
    student = settings.newborn(spec, seed, there)
    memory = memory_for(spec, settings.layout(), settings.storage(spec, copies), copies, there)
    memory.keeps = keeps
    try:
        while True:
            job = pickle.loads(connection.recv_bytes())
            connection.send_bytes(pickle.dumps(work(student, memory, box, job)))
    except (EOFError, OSError):  # nobody is there any more
        pass
    finally:
        box.close()


def work(student: Student, memory: Memory, box: Mailbox, job: Job) -> Done:
    """Make the updates of a job, beginning with the state that was left for them, and leave the one they lead to."""
    take(box, HERE, student, job.counts)
    memory.forget(job.keep - len(job.rollouts))
    for rollout in job.rollouts:
        memory.keep(on_device(rollout, memory.device))
    means = []
    for _ in range(job.updates):
        means.append(student.update(memory.sample(job.batch, job.rng), job.weighing, job.rng).means)
    post(box, THERE, student)
    numbers: list[Means] = [{name: _number(mean) for name, mean in each.items()} for each in means]
    return Done(numbers, job.rng, counts_of(student))


# ---- a student's state in shared memory --------------------------------------------------------------------


def post(box: Mailbox, who: int, student: Student) -> None:
    """Leave all that is a vector of a student's state."""
    box.post(who, Vector(student.state().values()).gather().cpu().numpy())


def take(box: Mailbox, who: int, student: Student, counts: dict[str, int]) -> None:
    """Put back what was left last, and the counts that belong to it; act by it."""
    message, state = box.latest(who), student.state()
    assert message is not None, "nothing was left"
    Vector(state.values()).scatter(torch.from_numpy(message.vector))
    student.restore(state | {name: torch.tensor(count) for name, count in counts.items()})


def counts_of(student: Student) -> dict[str, int]:
    """What of a student's state is a whole number."""
    return {name: int(value) for name, value in student.state().items() if not value.is_floating_point()}


def _on_host(batch: Batch) -> Batch:
    return each_tensor(batch, lambda tensor: tensor.cpu())


def _number(mean: Any) -> Any:
    return mean.detach().cpu() if isinstance(mean, torch.Tensor) else mean
