"""One of a cast who learns away from the others, in a process of its own: the same updates, to the same bits.

After each rollout the main process sends the student's state and what the student prepared; the other makes the updates
that are due while the main one goes on with the rest of the cast, and sends back the state it came to. The main process
waits for it before anybody acts again, so that nothing depends on who was quicker. All that the other knows it was
told, so that one that dies is replaced by another, which is told everything again. How state and rollouts travel is the
home's: shared memory (`run.process_student`), or Ray (`run.ray_student`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from reincarnate.data.memory import Memory, memory_for, on_device
from reincarnate.errors import UserError
from reincarnate.plugins import go_to
from reincarnate.training.gossip import Vector
from reincarnate.training.population import Alone, Means
from reincarnate.training.remote_actors import REBIRTHS, Died
from reincarnate.training.training import Training
from reincarnate.types import Batch, Student, TaskSpec, Weighing
from reincarnate.types.leaves import each_tensor

Note = Callable[[str], None]


class Job(NamedTuple):
    """Updates that are due. `rollouts` are those the other has not got yet, `keep` so many are learnt from."""

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


@runtime_checkable
class Home(Protocol):
    """Where the other learns, a process here or an actor of Ray. `done` waits for what was sent last, and raises Died
    where nobody is there any more; before that nothing is raised. States are vectors (`state_of`)."""

    def start(self) -> None: ...  # in the place of one that has died, too
    def send(self, state: np.ndarray, job: Job) -> None: ...
    def done(self) -> tuple[np.ndarray, Done]: ...
    def close(self) -> None: ...


class Distant(Alone):
    """The student of one training, whose updates are made elsewhere. It acts and prepares here."""

    def __init__(self, training: Training, name: str, home: Home, note: Note):
        Alone.__init__(self, training, name)
        self.home, self._memory, self._note, self._deaths = home, training.memories[name], note, 0
        self._known: list[Batch] = []  # rollouts that it has got
        self._state = np.zeros(0)
        self._job: Job | None = None
        home.start()

    def begin(self, updates: int, batch: int, weighing: Weighing, rng: np.random.Generator) -> None:
        """Let so many updates be made of the newest rollouts, drawn with this generator."""
        self._rng, self._state = rng, state_of(self._student)
        counts = counts_of(self._student)
        self._job = Job(updates, batch, weighing, rng, counts, [], len(self._memory.kept))
        self._send()

    def _send(self) -> None:
        assert self._job is not None
        kept = self._memory.kept
        new = [one for one in kept if not any(one is known for known in self._known)]
        self.home.send(self._state, self._job._replace(rollouts=[_on_host(one) for one in new]))
        self._known = kept

    def wait(self) -> list[Means]:
        """Wait until they are made, and go on from where they led. Raises UserError where nobody could make them."""
        while self._job is not None:
            try:
                state, done = self.home.done()
            except Died as death:
                self._replace(death)
                continue
            resume(self._student, state, done.counts)
            self._rng.bit_generator.state, self._job = done.rng.bit_generator.state, None
            return done.means
        return []

    def _replace(self, death: Died) -> None:
        """Begin another in the place of one that has died, with the same job."""
        self._deaths += 1
        told = f"the process of the {self._name} died ({death})"
        if self._deaths > REBIRTHS:
            raise UserError(f"{told} {self._deaths} times: --processes one needs none")
        self._note(f"warning: {told}: another takes its place")
        self._known = []
        self.home.start()
        self._send()

    def close(self) -> None:
        """See that nothing of it is left."""
        self.home.close()


# ---- who learns elsewhere ----------------------------------------------------------------------------------


class PupilSpec(NamedTuple):
    """What whoever learns elsewhere must know to begin."""

    settings: Any
    spec: TaskSpec
    seed: int
    device: str
    copies: int
    keeps: int  # rollouts
    threads: int
    imports: tuple[str, ...]
    where: Path  # relative paths are those of the command

    def pupil(self) -> "Pupil":
        """A newborn, and a memory that is empty."""
        go_to(self.where, self.imports)
        torch.set_num_threads(self.threads)
        settings, device = self.settings, torch.device(self.device)
        storage = settings.storage(self.spec, self.copies)
        memory = memory_for(self.spec, settings.layout(), storage, self.copies, device)
        memory.keeps = self.keeps
        return Pupil(settings.newborn(self.spec, self.seed, device), memory)


class Pupil:
    """Makes updates of a student whose state comes with each job."""

    def __init__(self, student: Student, memory: Memory):
        self.student, self.memory = student, memory

    def work(self, state: np.ndarray, job: Job) -> tuple[np.ndarray, Done]:
        """Make the updates of a job, beginning with a state. Returns the one they lead to."""
        resume(self.student, state, job.counts)
        self.memory.forget(job.keep - len(job.rollouts))
        for rollout in job.rollouts:
            self.memory.keep(on_device(rollout, self.memory.device))
        means = []
        for _ in range(job.updates):
            means.append(self.student.update(self.memory.sample(job.batch, job.rng), job.weighing, job.rng).means)
        numbers: list[Means] = [{name: _number(mean) for name, mean in each.items()} for each in means]
        return state_of(self.student), Done(numbers, job.rng, counts_of(self.student))


# ---- a student's state on its way --------------------------------------------------------------------------


def state_of(student: Student) -> np.ndarray:
    """All that is a vector of a student's state."""
    return Vector(student.state().values()).gather().cpu().numpy()


def resume(student: Student, vector: np.ndarray, counts: dict[str, int]) -> None:
    """Put back what came, and the counts that belong to it; act by it."""
    state = student.state()
    Vector(state.values()).scatter(torch.from_numpy(vector))
    student.restore(state | {name: torch.tensor(count) for name, count in counts.items()})


def counts_of(student: Student) -> dict[str, int]:
    """What of a student's state is a whole number."""
    return {name: int(value) for name, value in student.state().items() if not value.is_floating_point()}


def _on_host(batch: Batch) -> Batch:
    return each_tensor(batch, lambda tensor: tensor.cpu())


def _number(mean: Any) -> Any:
    return mean.detach().cpu() if isinstance(mean, torch.Tensor) else mean
