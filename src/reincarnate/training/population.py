"""How the students of several trainings do their work: one alone, several stacked into one, or each for itself.

Each training keeps its own counters, schedules, random streams, evaluations, checkpoints and directory, as if it were
alone. Results of a stack equal those of separate runs within float tolerance.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.memory import Memory, joined, on_device
from reincarnate.data.replay import Replay
from reincarnate.training.players import Explore, Transition
from reincarnate.training.training import Training
from reincarnate.types import (
    BEST,
    Actor,
    ActorOutput,
    Batch,
    Prediction,
    Predictor,
    Source,
    Student,
    TimeStep,
    Weighing,
)
from reincarnate.types.leaves import each_tensor

Generators = Sequence[np.random.Generator]
Guide = Callable[[Actor], Actor] | None
Hear = Callable[[Training, Batch, Weighing], Batch]
Means = Mapping[str, Tensor | float]


@runtime_checkable
class Team(Protocol):
    """The students of all trainings that play one part in the cast."""

    def actor(self, guides: Sequence[Guide]) -> Actor: ...
    def add(self, trainings: Sequence[Training], experience: Sequence[Transition], obs: np.ndarray) -> None: ...
    def cut(self, trainings: Sequence[Training], obs: np.ndarray) -> None: ...
    def learn(
        self,
        sources: Sequence[Source],
        n: int,
        weighings: Sequence[Weighing],
        rngs: Generators,
        ask: Mapping[str, Predictor],
        hear: Hear,
    ) -> Sequence[Means]: ...
    def publish(self) -> None: ...


def _update(
    training: Training,
    student: Student,
    source: Source,
    n: int,
    weighing: Weighing,
    rng: np.random.Generator,
    ask: Mapping[str, Predictor],
    hear: Hear,
) -> Means:
    """One update of one student, on a batch of its own."""
    batch = hear(training, source.sample(n, rng, ask), weighing)
    learnt = student.update(batch, weighing, rng)
    source.learnt(batch, learnt.each)
    return learnt.means


class Alone:
    """The student of one training."""

    def __init__(self, training: Training, name: str = "student"):
        self._training, self._student, self._name = training, training.cast[name], name

    def actor(self, guides: Sequence[Guide]) -> Actor:
        """The student, led by the hand where a phase asks for it."""
        return _First(guides[0](self._student) if guides[0] else self._student)

    def add(self, trainings: Sequence[Training], experience: Sequence[Transition], obs: np.ndarray) -> None:
        """Store what was experienced, and what the copies show now."""
        rows = trainings[0].memory.rows
        for transition in experience:
            transition.store(rows)
        if trainings[0].memory.fresh:
            rows.foresee(obs)

    def cut(self, trainings: Sequence[Training], obs: np.ndarray) -> None:
        """Environments restart."""
        trainings[0].memory.rows.cut(obs)
        for memory in trainings[0].memories.values():
            memory.cut()

    def learn(
        self,
        sources: Sequence[Source],
        n: int,
        weighings: Sequence[Weighing],
        rngs: Generators,
        ask: Mapping[str, Predictor],
        hear: Hear,
    ) -> Sequence[Means]:
        """One update."""
        return (_update(self._training, self._student, sources[0], n, weighings[0], rngs[0], ask, hear),)

    def publish(self) -> None:
        """Let the acting network be what the online network is now."""
        self._student.publish()


class _First:
    """An actor that draws from the first of several generators."""

    def __init__(self, actor: Actor):
        self._actor = actor

    def initial(self, n: int) -> Tensor:
        return self._actor.initial(n)

    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: Any) -> ActorOutput:
        return self._actor.act(step, carry, explore, rng[0])


class Apart:
    """Students that share an environment and nothing else: each acts on its copies and learns for itself."""

    def __init__(self, trainings: Sequence[Training], name: str = "student"):
        self._trainings, self._students = trainings, [training.cast[name] for training in trainings]

    def actor(self, guides: Sequence[Guide]) -> Actor:
        """All students, each on its part of the copies."""
        pairs = zip(self._students, guides, strict=True)
        return _Each([guide(student) if guide else student for student, guide in pairs])

    def add(self, trainings: Sequence[Training], experience: Sequence[Transition], obs: np.ndarray) -> None:
        """Store what was experienced, each in its own table."""
        parts, copies = len(trainings), len(experience[0].obs) // len(trainings)
        for transition in experience:
            for i, training in enumerate(trainings):
                transition.of_copies(slice(i * copies, (i + 1) * copies)).store(training.memory.rows)
        for training, shown in zip(trainings, np.split(obs, parts), strict=True):
            if training.memory.fresh:
                training.memory.rows.foresee(shown)

    def cut(self, trainings: Sequence[Training], obs: np.ndarray) -> None:
        """Environments restart."""
        for training, own in zip(trainings, np.split(obs, len(trainings)), strict=True):
            training.memory.rows.cut(own)
            for memory in training.memories.values():
                memory.cut()

    def learn(
        self,
        sources: Sequence[Source],
        n: int,
        weighings: Sequence[Weighing],
        rngs: Generators,
        ask: Mapping[str, Predictor],
        hear: Hear,
    ) -> Sequence[Means]:
        """One update of each."""
        each = zip(self._trainings, self._students, sources, weighings, rngs, strict=True)
        return [_update(training, who, source, n, w, rng, ask, hear) for training, who, source, w, rng in each]

    def publish(self) -> None:
        """Let the acting networks be what the online networks are now."""
        for student in self._students:
            student.publish()


class _Each:
    """Actors side by side, each on an equal part of the copies, each with its own generator."""

    def __init__(self, actors: Sequence[Actor]):
        self._actors = actors

    def initial(self, n: int) -> Tensor:
        return torch.cat([actor.initial(n // len(self._actors)) for actor in self._actors])

    def act(self, step: TimeStep, carry: Tensor, explore: Explore, rng: Any) -> ActorOutput:
        outputs, copies = [], len(step.begins) // len(self._actors)
        explores = explore if isinstance(explore, tuple) else (explore,) * len(self._actors)
        for i, (actor, its, own_rng) in enumerate(zip(self._actors, explores, rng, strict=True)):
            own = slice(i * copies, (i + 1) * copies)
            outputs.append(actor.act(_part(step, own), carry[own], its, own_rng))
        names = outputs[0].notes
        return ActorOutput(
            np.concatenate([output.action for output in outputs]),
            torch.cat([output.carry for output in outputs]),
            {name: np.concatenate([output.notes[name] for output in outputs]) for name in names},
        )


def _part(step: TimeStep, own: slice) -> TimeStep:
    view = step.view
    return TimeStep(
        step.obs[own],
        step.begins[own],
        (lambda name: view(name)[own]) if view else None,
        None if step.mask is None else step.mask[own],
        None if step.task is None else step.task[own],
    )


@runtime_checkable
class Stack(Protocol):
    """Students of one shape that act and learn as one (`students.stacked`)."""

    students: Sequence[Student]

    def initial(self, n: int) -> Tensor: ...
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: Any) -> ActorOutput: ...
    def update(self, batch: Batch, weighings: Sequence[Weighing], rngs: Generators) -> Any: ...
    def publish(self) -> None: ...


class Stacked(Apart):
    """Students whose parameters are stacked: one forward and backward pass for all, over one table of experience."""

    def __init__(self, trainings: Sequence[Training], stack: Stack, whole: Replay):
        Apart.__init__(self, trainings)
        self._stack, self._whole = stack, whole

    def actor(self, guides: Sequence[Guide]) -> Actor:
        """All in one pass, but where teachers lead them."""
        return Apart.actor(self, guides) if any(guides) else self._stack

    def add(self, trainings: Sequence[Training], experience: Sequence[Transition], obs: np.ndarray) -> None:
        """Store what was experienced, in one table."""
        for transition in experience:
            transition.store(self._whole)

    def cut(self, trainings: Sequence[Training], obs: np.ndarray) -> None:
        """Environments restart."""
        self._whole.cut(obs)

    def learn(
        self,
        sources: Sequence[Source],
        n: int,
        weighings: Sequence[Weighing],
        rngs: Generators,
        ask: Mapping[str, Predictor],
        hear: Hear,
    ) -> Sequence[Means]:
        """One update of all, each on a batch that it would draw alone."""
        batches, rows = self._draw(sources, n, rngs, ask)
        batches = self._heard(batches, weighings, hear)
        learnt = self._stack.update(batches, weighings, rngs)
        each = learnt.each.unflatten(0, (len(rngs), -1))
        for i, source in enumerate(sources):
            if rows[i] is not None:
                source.learnt(batches._replace(rows=rows[i]), each[i])
        means = {name: values.tolist() for name, values in learnt.means.items()}
        active = [{term.name for _, term in weighing.terms} for weighing in weighings]
        others = set().union(*active)  # terms that some student has no part in now
        return [{k: v[i] for k, v in means.items() if k not in others or k in active[i]} for i in range(len(rngs))]

    def _heard(self, batches: Batch, weighings: Sequence[Weighing], hear: Hear) -> Batch:
        """With what each student's own best says of its part; zeros, which have no weight, of one that has none yet."""
        if not any(term.of == BEST for weighing in weighings for _, term in weighing.terms):
            return batches
        n = len(batches.reward) // len(weighings)
        parts = [each_tensor(batches, lambda t, i=i: t[i * n : (i + 1) * n]) for i in range(len(weighings))]
        trios = zip(self._trainings, parts, weighings, strict=True)
        said = [hear(training, part, weighing).predictions.get(BEST) for training, part, weighing in trios]
        told = next(prediction for prediction in said if prediction)
        x = torch.cat([prediction.x if prediction else torch.zeros_like(told.x) for prediction in said])
        return batches._replace(predictions={**batches.predictions, BEST: Prediction(told.kind, x)})

    def _draw(
        self, sources: Sequence[Source], n: int, rngs: Generators, ask: Mapping[str, Predictor]
    ) -> tuple[Batch, list[np.ndarray | None]]:
        """One batch of equal parts, each drawn as its training would alone, and the rows of each part."""
        if not all(isinstance(source, Memory) for source in sources):  # mixtures
            parts = [source.sample(n, rng, ask) for source, rng in zip(sources, rngs, strict=True)]
            return joined(parts), [part.rows for part in parts]
        memories: Sequence[Memory] = sources  # pyright: ignore[reportAssignmentType]
        own = memories[0] is self._trainings[0].memory  # else all draw from the same prior data, each by its own rows
        table, step = (self._whole, memories[0].rows.streams) if own else (memories[0].rows, 0)
        drawn = [memory.draw(n, rng) for memory, rng in zip(memories, rngs, strict=True)]
        stream = np.concatenate([np.full(n, i * step) + s for i, (s, *_) in enumerate(drawn)])
        position = np.concatenate([p for _, p, *_ in drawn])
        memories[0].complete(table, ask, stream, position)
        batch = memories[0].layout.gather(table, stream, position, list(ask))  # pyright: ignore
        weight = None if drawn[0][3] is None else torch.cat([d[3] for d in drawn])  # pyright: ignore
        return on_device(batch._replace(weight=weight), memories[0].device), [d[2] for d in drawn]

    def publish(self) -> None:
        """Let the acting networks be what the online networks are now."""
        self._stack.publish()
