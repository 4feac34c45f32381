"""One student being raised in one task: its counters, random streams, evaluations, and what is written of it."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from reincarnate.data.memory import Memory
from reincarnate.errors import UserError
from reincarnate.seeds import stream
from reincarnate.training.counting import Counters, length
from reincarnate.training.diagnostics import diagnose
from reincarnate.training.evaluate import Evaluation, Scale
from reincarnate.training.snapshot import Snapshot
from reincarnate.types import BEST, Batch, Pace, Phase, Policy, Source, Student, Teacher

Record = dict[str, Any]
Write = Callable[[Record], None]


@dataclass
class Training:
    """What belongs to one seed alone. The loop (`loop.py`) does the work, of one or of several together.

    `cast` are the students of the method by name; "student" is the one that is evaluated and kept. Each has a memory
    of its own kind over the same experience. At each barrier (an evaluation) every random stream begins anew from
    (seed, barrier), so that whoever restores the state of a barrier continues to the same bits as one that never
    stopped.
    """

    cast: dict[str, Student]
    memories: dict[str, Memory]
    phases: list[Phase]
    prior: Source | None
    teacher: Teacher | None
    scale: Scale | None
    evaluate: Callable[[int], Evaluation]
    seed: int
    copies: int
    plays: str = "auto"
    best: Snapshot | None = None  # the student as the phase's best evaluation found it, where a term listens to it
    at: Counters = field(default_factory=Counters)
    _sums: dict[str, Tensor | float] = field(default_factory=dict)
    _learned: dict[str, int] = field(default_factory=dict)
    _returns: list[float] = field(default_factory=list)
    _seen: dict[str, float] = field(default_factory=dict)  # what diagnostics found as the stretch ended
    _told: tuple[dict[str, Tensor | float], dict[str, int], int] = field(default_factory=lambda: ({}, {}, 0))
    _clock: float = 0.0
    stop: Callable[[list[float], list[float]], bool] | None = None  # whether scores so far are enough

    @property
    def student(self) -> Student:
        """The one that is evaluated and kept."""
        return self.cast["student"]

    @property
    def memory(self) -> Memory:
        """The student's."""
        return self.memories["student"]

    @property
    def pace(self) -> Pace:
        """How often the student learns."""
        return self.student.settings.pace(self.copies)

    @property
    def live(self) -> dict[str, Policy]:
        """Policies that are asked anew for each batch, by name: the students of the cast, the student's own best."""
        own = {BEST: self.best.policy} if self.best else {}
        return {name: student.policy for name, student in self.cast.items()} | own

    def stream(self, purpose: str) -> np.random.Generator:
        """The generator for a purpose until the next barrier."""
        return stream(self.seed, purpose, self.at.barrier)

    @property
    def watches(self) -> bool:
        """Whether the teacher must see every step as it happens, because stored rows cannot show it later."""
        return self.teacher is not None and (self.teacher.view != "student" or self.teacher.initial(1).shape[-1] > 0)

    def wait(self, phase: Phase) -> int:
        """Env steps of a phase before its first update."""
        return 0 if phase.warm else self.pace.warmup

    def exploration(self, phase: Phase, env_steps: int) -> float:
        """How much whoever acts explores, in its own unit, this many env steps into a phase."""
        return self.cast[phase.acts].settings.exploration(env_steps, phase.newborn, self.wait(phase))

    # ---- between two stretches -----------------------------------------------------------------------

    def start(self, write: Write, barrier: Callable[[], None]) -> None:
        """Publish; a newborn is evaluated, and that is the first barrier."""
        self._clock = time.perf_counter() - self.at.seconds
        self._publish()
        if self.at.barrier == 0:
            self._evaluate(self.phases[0], write, counts=False)
            self._pass_barrier(barrier)

    def refresh(self, phase: Phase) -> None:
        """As a phase begins: what it asks of the student."""
        if self.at.done(phase) == 0 and phase.refresh:
            self.student.refresh(phase.refresh)

    def conclude(self, phase: Phase, write: Write, barrier: Callable[[], None]) -> None:
        """After a stretch: publish, report, evaluate, and go on to the next phase where this one is over."""
        self._publish()
        self._report(phase, write)
        self._evaluate(phase, write)
        if self._has_done_enough(phase):
            self.at, self.best = replace(self.at, phase=len(self.phases)), None
        elif self.at.done(phase) >= length(phase):
            self.at, self.best = self.at.next_phase(), None
        self._pass_barrier(barrier)

    def _has_done_enough(self, phase: Phase) -> bool:
        later = self.phases[self.at.phase :]
        return bool(self.stop) and not any(p.offline for p in later) and self.stop(self.at.raw, self.at.scores)

    def _publish(self) -> None:
        for student in self.cast.values():
            student.publish()

    def _pass_barrier(self, barrier: Callable[[], None]) -> None:
        self.at.seconds = time.perf_counter() - self._clock
        barrier()

    # ---- what happened -------------------------------------------------------------------------------

    def played(self, steps: int, returns: list[float]) -> None:
        """Count env steps, and note the returns of episodes that ended."""
        self.at.env_steps += steps
        self.at.phase_env_steps += steps
        self._returns += returns

    def learnt(self, who: str, means: Mapping[str, Tensor | float]) -> None:
        """Count an update and its losses; those of others than the student carry their name."""
        for name, value in means.items():
            key = name if who == "student" else f"{who}_{name}"
            self._sums[key] = self._sums[key] + value if key in self._sums else value
        self._learned[who] = self._learned.get(who, 0) + 1
        if who == "student":
            self.at.updates += 1
            self.at.phase_updates += 1

    def diagnose(self, phase: Phase, batch: Batch, rng: np.random.Generator) -> None:
        """See how the student stands on a batch, for the next report."""
        self._publish()
        weighing = phase.objective.at(self.at.progress(phase))
        self._seen = diagnose(self.student, batch, phase.objective, weighing, rng)

    # ---- what is written down ----------------------------------------------------------------------

    def _evaluate(self, phase: Phase, write: Write, counts: bool = True) -> None:
        """Measure and write down; `counts`: schedules may look at it (a newborn's score says nothing of a phase)."""
        result = self.evaluate(self.at.barrier)
        normalised = self.scale.normalise(result.mean) if self.scale else None
        low, high = result.interval()
        self.at.evaluated(result.mean, result.env_steps)
        if counts and self.stop:
            self.at.raw.append(result.mean)
        if self.scale and normalised is not None and counts:
            self.at.scores.append(normalised)
            self.at.lows.append(self.scale.normalise(low))
            if BEST in phase.listens and normalised >= max(self.at.scores):  # the latest of equals
                self.best = Snapshot(self.student, self.student.weights())
        scores = {"score": result.mean, "normalised": normalised, "low": low, "high": high}
        write({**self._where(phase, "eval"), **scores, "weight": self.weight(phase)})

    def weight(self, phase: Phase) -> float | None:
        """The weight of the phase's first term now, if it has one."""
        terms = phase.objective.terms
        return terms[0].weight(self.at.progress(phase)) if terms else None

    def _report(self, phase: Phase, write: Write) -> None:
        """Mean losses and training returns since the last report."""
        means = {f"loss_{name}": float(total) / self._count(name) for name, total in self._sums.items()}
        if not all(map(math.isfinite, means.values())):
            told = ", ".join(f"{name} = {value:g}" for name, value in means.items())
            raise UserError(f"training has diverged after {self.at.updates:,} updates ({told}); lower the lr")
        rates: Record = {"lr_scale": phase.objective.at(self.at.progress(phase)).lr_scale}
        played = {"return": float(np.mean(self._returns)), "episodes": len(self._returns)} if self._returns else {}
        if not phase.offline:
            rates[self.student.settings.explores] = self.exploration(phase, self.at.phase_env_steps)
        write({**self._where(phase, "train"), **means, **rates, **played, **self._seen})
        self._sums, self._learned, self._returns, self._seen = {}, {}, [], {}
        self._told = {}, {}, 0

    def point(self, phase: Phase) -> Record:
        """A line between two barriers: mean losses and returns since the last one, and what was seen."""
        sums, learned, episodes = self._told
        means = {}
        for name, total in self._sums.items():
            who = self._who(name)
            if count := self._learned.get(who, 0) - learned.get(who, 0):
                means[f"loss_{name}"] = float(total - sums.get(name, 0.0)) / count
        ended = self._returns[episodes:]
        played = {"return": float(np.mean(ended)), "episodes": len(ended)} if ended else {}
        line = {**self._where(phase, "point"), "weight": self.weight(phase), **means, **played, **self._seen}
        self._told, self._seen = (dict(self._sums), dict(self._learned), len(self._returns)), {}
        return line

    def _count(self, name: str) -> int:
        return self._learned.get(self._who(name), 1)

    def _who(self, name: str) -> str:
        """Whose loss it is."""
        return next((who for who in self.cast if name.startswith(f"{who}_")), "student")

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
