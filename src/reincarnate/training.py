"""Phases in, trained student out: the one loop that interprets what methods unroll into."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.collector import Collector
from reincarnate.data.replay import Replay
from reincarnate.evaluate import Evaluation, Scale
from reincarnate.rollout import TeacherPlayer
from reincarnate.seeds import stream
from reincarnate.types import Phase, Progress, Source, Student, Teacher, Term, VectorEnv

Record = dict[str, Any]


@dataclass
class Counters:
    """Where a run stands. Each counter counts one thing; all of it is in a checkpoint."""

    phase: int = 0  # index of the current phase
    env_steps: int = 0  # of the student's own, over all phases
    updates: int = 0  # gradient steps, over all phases
    eval_env_steps: int = 0
    phase_env_steps: int = 0
    phase_updates: int = 0
    barrier: int = 0  # evaluations so far: random streams begin anew at each
    seconds: float = 0.0
    scores: list[float] = field(default_factory=list)  # normalised, of this phase


@dataclass(frozen=True)
class Exploration:
    """ε of a newborn: 1 for `warmup` env steps, then linearly to `end` over `steps`. No updates during warm-up."""

    warmup: int
    steps: int
    end: float

    def epsilon(self, phase: Phase, env_steps: int) -> float:
        """ε at this many env steps into the phase."""
        if not phase.anneal:
            return self.end
        return max(self.end, 1.0 - (1.0 - self.end) * max(0, env_steps - self.warmup) / max(1, self.steps))


class Training:
    """One student being raised in one task. `run` takes it through the phases; `at` says how far it is.

    At each barrier (an evaluation) environments restart and every random stream begins anew from (seed, barrier),
    so that whoever restores the state of a barrier continues to the same bits as one who never stopped.
    """

    def __init__(
        self,
        student: Student,
        env: VectorEnv,
        phases: list[Phase],
        replay: Replay,
        prior: Source | None,
        teacher: Teacher | None,
        scale: Scale | None,
        exploration: Exploration,
        evaluate: Callable[[int], Evaluation],
        seed: int,
        update_every: int,
        overlap: bool = False,
    ):
        self.student, self.env, self.phases, self.replay, self.prior = student, env, phases, replay, prior
        self.teacher, self.scale, self.exploration, self.evaluate = teacher, scale, exploration, evaluate
        self.seed, self.update_every, self.overlap = seed, update_every, overlap
        self.at = Counters()
        self._watches = teacher is not None and (teacher.view != "student" or teacher.initial_state(1) is not None)
        self._sums: dict[str, Tensor] = {}
        self._learned = 0
        self._returns: list[float] = []
        self._clock = time.perf_counter()

    def run(self, record: Callable[[Record], None], barrier: Callable[[], None], tick: Callable[[Phase], None]) -> None:
        """Go on to the end. `record` is given metrics, `barrier` is called when the state may be saved.

        `tick` is called often, for progress bars.
        """
        self._clock = time.perf_counter() - self.at.seconds
        self.student.publish()
        if self.at.barrier == 0:
            self._evaluate(self.phases[0], record, counts=False)
            barrier()
        while self.at.phase < len(self.phases):
            phase = self.phases[self.at.phase]
            if self.at.phase_env_steps + self.at.phase_updates == 0 and phase.sync_target:
                self.student.sync_target()
            self._stretch(phase, self._next_stop(phase), tick)
            self.student.publish()
            self._report(phase, record)
            self._evaluate(phase, record)
            if self._done(phase) >= self._length(phase):
                self._turn_the_page()
            self.at.seconds = time.perf_counter() - self._clock
            barrier()

    # ---- a stretch between two barriers ------------------------------------------------------------

    def _stretch(self, phase: Phase, stop: int, tick: Callable[[Phase], None]) -> None:
        rng = stream(self.seed, "sample", self.at.barrier)
        if phase.offline:
            while self.at.phase_updates < stop:
                self._learn(phase, self.prior, rng)
                tick(phase)
            return
        watcher = TeacherPlayer(self.teacher, self.env) if self.teacher and self._watches and phase.terms else None
        act_rng = stream(self.seed, "act", self.at.barrier)
        collector = Collector(self.env, self.student, act_rng, watcher, self.overlap)
        try:
            while self.at.phase_env_steps < stop:
                self._cycle(phase, collector, stop, rng)
                tick(phase)
        finally:
            collector.close()
        self.replay.cut(collector.obs)
        self._returns += collector.finished

    def _cycle(self, phase: Phase, collector: Collector, stop: int, rng: np.random.Generator) -> None:
        """`update_every` env steps (at least one of each copy), and the updates they pay for on what was there."""
        at, n = self.at, self.env.n
        steps = max(1, min(self.update_every, stop - at.phase_env_steps + n - 1) // n)
        epsilons = [self.exploration.epsilon(phase, at.phase_env_steps + i * n) for i in range(steps)]

        def learn() -> None:
            for _ in range(self._updates_due(at.phase_env_steps, at.phase_env_steps + steps * n)):
                self._learn(phase, self.replay, rng)

        experience = collector.during(epsilons, learn)
        self.student.publish()
        for obs, action, step, logits in experience:
            self.replay.add(obs, action, step.reward, step.terminated, step.truncated, step.next_obs, logits)
        at.env_steps += steps * n
        at.phase_env_steps += steps * n

    def _updates_due(self, before: int, after: int) -> int:
        if before < self.exploration.warmup or len(self.replay) < self.student.batch_size:
            return 0
        return after // self.update_every - before // self.update_every

    def _learn(self, phase: Phase, source: Source | None, rng: np.random.Generator) -> None:
        assert source is not None, f"phase {phase.name!r} needs prior data"
        progress = self.progress(phase)
        terms = [(w, t.term) for t in phase.terms if (w := t.weight(progress)) > 0]
        batch = source.sample(self.student.batch_size, rng, self._asks(terms), self._annotate)
        report = self.student.update(batch, terms, phase.td_weight, _lr_scale(phase, progress))
        for name, value in report.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._learned += 1
        self.at.updates += 1
        self.at.phase_updates += 1

    @staticmethod
    def _asks(terms: list[tuple[float, Term]]) -> bool:
        return any(term.needs_teacher for _, term in terms)

    @torch.no_grad()
    def _annotate(self, obs: Tensor) -> Tensor:
        assert self.teacher is not None
        return self.teacher.logits(obs, None)[0]

    # ---- where we are ------------------------------------------------------------------------------

    def progress(self, phase: Phase) -> Progress:
        """What schedules may know now."""
        at = self.at
        fraction = self._done(phase) / self._length(phase)
        return Progress(fraction, at.phase_env_steps, at.phase_updates, tuple(at.scores))

    def _done(self, phase: Phase) -> int:
        return self.at.phase_updates if phase.offline else self.at.phase_env_steps

    @staticmethod
    def _length(phase: Phase) -> int:
        return phase.updates or phase.env_steps

    def _next_stop(self, phase: Phase) -> int:
        """The next of the phase's evenly spread evaluations."""
        length, count = self._length(phase), phase.evaluations
        stops = [math.ceil(length * k / count) for k in range(1, count + 1)]
        return next(stop for stop in stops if stop > self._done(phase))

    def _turn_the_page(self) -> None:
        at = self.at
        self.at = replace(at, phase=at.phase + 1, phase_env_steps=0, phase_updates=0, scores=[])

    # ---- what is written down ----------------------------------------------------------------------

    def _evaluate(self, phase: Phase, record: Callable[[Record], None], counts: bool = True) -> None:
        """Measure and write down; `counts`: schedules may look at it (a newborn's score says nothing of a phase)."""
        result = self.evaluate(self.at.barrier)
        normalised = self.scale.normalise(result.mean) if self.scale else None
        self.at.barrier += 1
        self.at.eval_env_steps += result.env_steps
        if normalised is not None and counts:
            self.at.scores.append(normalised)
        low, high = result.interval()
        where = self._where(phase, "eval")
        weight = self.weight(phase)
        record(
            {
                **where,
                "score": result.mean,
                "normalised": normalised,
                "low": low,
                "high": high,
                "weight": weight,
            }
        )

    def weight(self, phase: Phase) -> float | None:
        """The weight of the phase's first term now, if it has one."""
        return phase.terms[0].weight(self.progress(phase)) if phase.terms else None

    def _report(self, phase: Phase, record: Callable[[Record], None]) -> None:
        """Mean losses and training returns since the last report."""
        means = {f"loss_{name}": float(total) / self._learned for name, total in self._sums.items()}
        lr = {"lr_scale": _lr_scale(phase, self.progress(phase))}
        played = {"return": float(np.mean(self._returns)), "episodes": len(self._returns)} if self._returns else {}
        if not phase.offline:
            lr["epsilon"] = self.exploration.epsilon(phase, self.at.phase_env_steps)
        record({**self._where(phase, "train"), **means, **lr, **played})
        self._sums, self._learned, self._returns = {}, 0, []

    def _where(self, phase: Phase, kind: str) -> Record:
        seconds = round(time.perf_counter() - self._clock, 3)
        steps = {"env_steps": self.at.env_steps, "updates": self.at.updates, "seconds": seconds}
        return {"kind": kind, "phase": phase.name, **steps}

    def state(self) -> dict[str, Any]:
        """The counters, as JSON values."""
        return asdict(self.at)

    def restore(self, state: dict[str, Any]) -> None:
        """Put `state()` back."""
        self.at = Counters(**state)


def _lr_scale(phase: Phase, progress: Progress) -> float:
    return phase.lr_scale(progress) if phase.lr_scale else 1.0
