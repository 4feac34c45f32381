"""Phases in, trained student out: the one loop that interprets what methods unroll into."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.mixture import Mixture
from reincarnate.errors import UserError
from reincarnate.seeds import stream
from reincarnate.students.exploration import Exploration
from reincarnate.training.collector import Collector, Guided
from reincarnate.training.counting import Counters, length, lr_scale, steps_ahead, updates_due
from reincarnate.training.evaluate import Evaluation, Scale
from reincarnate.training.players import TeacherPlayer
from reincarnate.types import Memory, Pace, Phase, Source, Student, Teacher, VectorEnv

Record = dict[str, Any]


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
        memory: Memory,
        prior: Source | None,
        teacher: Teacher | None,
        scale: Scale | None,
        exploration: Exploration,
        evaluate: Callable[[int], Evaluation],
        seed: int,
        pace: Pace,
        plays: str = "auto",
        overlap: bool = False,
    ):
        self.student, self.env, self.phases, self.memory, self.prior = student, env, phases, memory, prior
        self.teacher, self.scale, self.exploration, self.evaluate = teacher, scale, exploration, evaluate
        self.seed, self.pace, self.plays, self.overlap = seed, pace, plays, overlap
        self.at = Counters()
        self._watches = teacher is not None and (teacher.view != "student" or teacher.initial_state(1) is not None)
        self._sums: dict[str, Tensor | float] = {}
        self._learned = 0
        self._returns: list[float] = []
        self._clock = time.perf_counter()

    def run(self, record: Callable[[Record], None], barrier: Callable[[], None], tick: Callable[[Phase], None]) -> None:
        """Go on to the end. `record` is given metrics, `barrier` is called when the state may be saved.

        `tick` is called often, for progress bars.
        """
        for phase, stop in self.stages(record, barrier):
            self._stretch(phase, stop, tick)

    def stages(self, record: Callable[[Record], None], barrier: Callable[[], None]) -> Iterator[tuple[Phase, int]]:
        """Every stretch of training between two barriers: (phase, the count it goes to), to be done by the caller."""
        self._clock = time.perf_counter() - self.at.seconds
        self.student.publish()
        if self.at.barrier == 0:
            self._evaluate(self.phases[0], record, counts=False)
            self.at.seconds = time.perf_counter() - self._clock
            barrier()
        while self.at.phase < len(self.phases):
            phase = self.phases[self.at.phase]
            begins = self.at.done(phase) == 0
            if begins and phase.sync_target:
                self.student.sync_target()
            if begins and phase.new_optimizer:
                self.student.new_optimizer()
            yield phase, self.at.next_stop(phase)
            self.student.publish()
            self._report(phase, record)
            self._evaluate(phase, record)
            if self.at.done(phase) >= length(phase):
                self.at = self.at.next_phase()
            self.at.seconds = time.perf_counter() - self._clock
            barrier()

    # ---- a stretch between two barriers ------------------------------------------------------------

    def _stretch(self, phase: Phase, stop: int, tick: Callable[[Phase], None]) -> None:
        rng, source = stream(self.seed, "sample", self.at.barrier), self._source(phase)
        if phase.offline:
            while self.at.phase_updates < stop:
                self._learn(phase, source, rng)
                tick(phase)
            return
        act_rng = stream(self.seed, "act", self.at.barrier)
        collector = Collector(self.env, self.student, act_rng, self._watcher(phase), self._guide(phase), self.overlap)
        try:
            while self.at.phase_env_steps < stop:
                self._cycle(phase, collector, source, stop, rng)
                tick(phase)
        finally:
            collector.close()
        self.memory.cut(collector.obs)
        self.played(collector.finished)

    def _watcher(self, phase: Phase) -> TeacherPlayer | None:
        """A teacher that must see every step as it happens, because the replay cannot show it later."""
        if self.teacher is None or not self._watches or not phase.terms:
            return None
        return TeacherPlayer(self.teacher, self.env, self.plays)

    def _guide(self, phase: Phase) -> Guided | None:
        if phase.guide is None:
            return None
        assert self.teacher is not None, f"phase {phase.name!r} needs a teacher to guide"
        player = TeacherPlayer(self.teacher, self.env, self.plays)
        rng = stream(self.seed, "guide", self.at.barrier)
        return Guided(player, phase.guide, lambda: self.at.progress(phase), self.env.n, rng)

    def _source(self, phase: Phase) -> Source:
        if not phase.offline and not phase.prior_share:
            return self.memory
        assert self.prior is not None, f"phase {phase.name!r} needs prior data"
        return self.prior if phase.offline else Mixture(self.prior, self.memory, phase.prior_share)

    def _cycle(self, phase: Phase, collector: Collector, source: Source, stop: int, rng: np.random.Generator) -> None:
        """`pace.env_steps` env steps (at least one of each copy), and the updates they pay for.

        A replay is learnt from as it was before them; what is on-policy is learnt from after them.
        """
        at, n = self.at, self.env.n
        steps = steps_ahead(self.pace, n, stop - at.phase_env_steps)
        epsilons = [self.exploration.epsilon(phase, at.phase_env_steps + i * n) for i in range(steps)]
        due = updates_due(self.pace, at.phase_env_steps, at.phase_env_steps + steps * n) if phase.learns else 0

        def learn() -> None:
            if at.phase_env_steps >= self.exploration.wait(phase) and len(self.memory) >= self.student.batch_size:
                for _ in range(due):
                    self._learn(phase, source, rng)

        experience = collector.during(epsilons, (lambda: None) if self.memory.on_policy else learn)
        for obs, action, step, logits in experience if phase.learns or not self.memory.on_policy else ():
            self.memory.add(obs, action, step.reward, step.terminated, step.truncated, step.next_obs, logits)
        if self.memory.on_policy and due:
            self.memory.settle(self.student.values)
            learn()
        self.student.publish()
        at.env_steps += steps * n
        at.phase_env_steps += steps * n

    def _learn(self, phase: Phase, source: Source, rng: np.random.Generator) -> None:
        progress = self.at.progress(phase)
        terms = [(w, t.term) for t in phase.terms if (w := t.weight(progress)) > 0]
        asks = any(term.needs_teacher for _, term in terms)
        batch = source.sample(self.student.batch_size, rng, asks, self.annotate)
        learnt = self.student.update(batch, terms, rng, phase.td_weight, lr_scale(phase, progress))
        source.learnt(batch, learnt.each)
        self.learnt(learnt.means)

    def played(self, returns: list[float]) -> None:
        """Note the returns of episodes that ended."""
        self._returns += returns

    def learnt(self, means: Mapping[str, Tensor | float]) -> None:
        """Count an update and its losses."""
        for name, value in means.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._learned += 1
        self.at.updates += 1
        self.at.phase_updates += 1

    @torch.no_grad()
    def annotate(self, obs: Tensor) -> Tensor:
        """The teacher's logits for observations of the task."""
        assert self.teacher is not None
        return self.teacher.logits(obs, None)[0]

    # ---- what is written down ----------------------------------------------------------------------

    def _evaluate(self, phase: Phase, record: Callable[[Record], None], counts: bool = True) -> None:
        """Measure and write down; `counts`: schedules may look at it (a newborn's score says nothing of a phase)."""
        result = self.evaluate(self.at.barrier)
        normalised = self.scale.normalise(result.mean) if self.scale else None
        self.at.evaluated(result.mean, result.env_steps)
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
        return phase.terms[0].weight(self.at.progress(phase)) if phase.terms else None

    def _report(self, phase: Phase, record: Callable[[Record], None]) -> None:
        """Mean losses and training returns since the last report."""
        means = {f"loss_{name}": float(total) / self._learned for name, total in self._sums.items()}
        if not all(map(math.isfinite, means.values())):
            told = ", ".join(f"{name} = {value:g}" for name, value in means.items())
            raise UserError(f"training has diverged after {self.at.updates:,} updates ({told}); lower the lr")
        lr = {"lr_scale": lr_scale(phase, self.at.progress(phase))}
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
