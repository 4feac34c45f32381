"""Seeds as a batch dimension: several trainings that differ in their seed alone, in step, in one process.

Each keeps its own counters, schedules, random streams, evaluations, checkpoints and directory, as if it were alone;
what they share is the work: one step of all environments, one gather of all batches, one forward and backward pass.
Results equal those of separate runs within float tolerance.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from reincarnate.data.replay import Replay
from reincarnate.envs.vector import SEED_LIMIT, Copies
from reincarnate.seeds import stream
from reincarnate.students.stacked import StackedStudent
from reincarnate.training.counting import lr_scale, steps_ahead, updates_due
from reincarnate.training.loop import Record, Training
from reincarnate.types import Batch, Phase, Step, TaskSpec, Term

Generators = list[np.random.Generator]


def cannot_share(phases: Sequence[Phase], spec: TaskSpec, on_policy: bool) -> str | None:
    """Why trainings cannot go together, or None. Screens gain nothing: their time is arithmetic, not overhead."""
    if spec.stack > 1:
        return "screens are trained one seed at a time"
    if on_policy:
        return "students without a replay are trained one seed at a time"
    if any(phase.guide for phase in phases):
        return "guided phases are trained one seed at a time"
    if any(phase.prior_share for phase in phases):
        return "phases that mix in prior data are trained one seed at a time"
    return None


class Together:
    """S trainings over one shared memory and environment. Each training's memory is its part of `memory`."""

    def __init__(self, trainings: list[Training], student: StackedStudent, env: Copies, memory: Replay):
        self.trainings, self.student, self.env, self.memory = trainings, student, env, memory
        self._copies = env.n // len(trainings)

    def run(
        self,
        records: list[Callable[[Record], None]],
        barriers: list[Callable[[], None]],
        tick: Callable[[Phase], None],
    ) -> None:
        """Take all to the end; `records` and `barriers` are those of `Training.run`, one each."""
        pairs = zip(self.trainings, records, barriers, strict=True)
        for stretches in zip(*(t.stages(record, barrier) for t, record, barrier in pairs), strict=True):
            phase, stop = stretches[0]
            self._stretch(phase, stop, tick)

    # ---- a stretch between two barriers ------------------------------------------------------------

    def _streams(self, purpose: str) -> Generators:
        return [stream(t.seed, purpose, t.at.barrier) for t in self.trainings]

    def _stretch(self, phase: Phase, stop: int, tick: Callable[[Phase], None]) -> None:
        first, rngs = self.trainings[0], self._streams("sample")
        if phase.offline:
            while first.at.phase_updates < stop:
                self._learn(phase, rngs)
                tick(phase)
            return
        actors = _Actors(self.env, self.student, self._streams("act"))
        while first.at.phase_env_steps < stop:
            self._cycle(phase, actors, stop, rngs)
            tick(phase)
        self.memory.cut(actors.obs)
        for training, finished in zip(self.trainings, actors.finished(), strict=True):
            training.played(finished)

    def _cycle(self, phase: Phase, actors: "_Actors", stop: int, rngs: Generators) -> None:
        """As `Training._cycle`, for all."""
        first, n = self.trainings[0], self._copies
        before = first.at.phase_env_steps
        steps = steps_ahead(first.pace, n, stop - before)
        experience = [actors.act(first.exploration.epsilon(phase, before + i * n)) for i in range(steps)]
        due = updates_due(first.pace, before, before + steps * n) if phase.learns else 0
        if due and before >= first.exploration.wait(phase) and self._have_enough():
            for _ in range(due):
                self._learn(phase, rngs)
        for obs, action, step in experience:
            self.memory.add(obs, action, step.reward, step.terminated, step.truncated, step.next_obs)
        self.student.publish()
        for training in self.trainings:
            training.at.env_steps += steps * n
            training.at.phase_env_steps += steps * n

    def _have_enough(self) -> bool:
        """Whether every memory holds a batch: alone, a seed whose episodes were longer might begin a little earlier."""
        return all(len(t.memory) >= t.student.batch_size for t in self.trainings)

    def _learn(self, phase: Phase, rngs: Generators) -> None:
        progress = [t.at.progress(phase) for t in self.trainings]
        terms = [(tuple(t.weight(p) for p in progress), t.term) for t in phase.terms]
        terms = [(weights, term) for weights, term in terms if max(weights) > 0]
        batch, rows = self._sample(phase, rngs, terms)
        scales = [lr_scale(phase, p) for p in progress]
        learnt = self.student.update(batch, terms, rngs, phase.td_weight, scales)
        means = {name: values.tolist() for name, values in learnt.means.items()}
        each = learnt.each.unflatten(0, (len(rngs), -1))
        for i, training in enumerate(self.trainings):
            if rows[i] is not None:
                training.memory.learnt(batch._replace(rows=rows[i]), each[i])
            training.learnt({name: values[i] for name, values in means.items() if _has(name, terms, i)})

    def _sample(
        self, phase: Phase, rngs: Generators, terms: list[tuple[tuple[float, ...], Term]]
    ) -> tuple[Batch, list[np.ndarray | None]]:
        """One batch of equal parts, each drawn as its training would alone, and the rows of each part."""
        n, drawn = self.trainings[0].student.batch_size, []
        for training, rng in zip(self.trainings, rngs, strict=True):
            source = training.prior if phase.offline else training.memory
            assert isinstance(source, Replay), f"phase {phase.name!r} needs prior data"
            drawn.append(source.sampler.draw(source, n, rng))
        whole = self.trainings[0].prior if phase.offline else self.memory
        assert isinstance(whole, Replay)
        step = 0 if phase.offline else self._copies
        stream_ = np.concatenate([np.full(n, i * step) + s for i, (s, *_) in enumerate(drawn)])
        position = np.concatenate([p for _, p, *_ in drawn])
        asks = any(term.needs_teacher for _, term in terms)
        if asks and (position >= whole.annotated[stream_]).any():
            whole.annotate(self.trainings[0].annotate)
        weight = None if drawn[0][3] is None else torch.cat([d[3] for d in drawn])  # pyright: ignore
        return whole.gather(stream_, position, asks)._replace(weight=weight), [d[2] for d in drawn]


class _Actors:
    """All students acting in their copies of one environment."""

    def __init__(self, env: Copies, student: StackedStudent, rngs: Generators):
        self.env, self.student, self._rngs = env, student, rngs
        each = env.n // len(rngs)
        self.obs = env.begin(np.concatenate([rng.integers(SEED_LIMIT, size=each) for rng in rngs]))
        self._totals = np.zeros(env.n)
        self._finished: list[list[float]] = [[] for _ in rngs]

    def act(self, epsilon: float) -> tuple[np.ndarray, np.ndarray, Step]:
        """One step of every copy: what was seen, done and said about it."""
        obs = self.obs
        action = self.student.act(obs, epsilon, self._rngs)
        step = self.env.step(action)
        self._totals += step.reward
        for i in np.flatnonzero(step.terminated | step.truncated):
            self._finished[i * len(self._rngs) // self.env.n].append(float(self._totals[i]))
            self._totals[i] = 0.0
        self.obs = step.obs
        return obs, action, step

    def finished(self) -> list[list[float]]:
        """Returns of the episodes that ended, for each student."""
        return self._finished


def _has(name: str, terms: list[tuple[tuple[float, ...], Term]], index: int) -> bool:
    """Whether a loss counts for one training: its own always, a term where its weight there is not zero."""
    return name == "td" or any(term.name == name and weights[index] > 0 for weights, term in terms)
