"""One student being raised in one task: its counters, random streams, evaluations, and what is written of it."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from reincarnate.data.memory import Memory
from reincarnate.errors import UserError
from reincarnate.seeds import stream
from reincarnate.training.counting import Counters, length
from reincarnate.training.diagnostics import diagnose, of_features
from reincarnate.training.evaluate import Evaluation, Scale, Scales
from reincarnate.training.snapshot import Snapshot
from reincarnate.types import BEST, START, Batch, Method, Pace, Phase, Policy, Source, Student, Teacher

LOOKED_AT = 100  # updates after which losses are looked at: on a GPU each look waits for it
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
    repeats: Mapping[str, int] = field(default_factory=dict)  # how many times its pace's updates one of the cast makes
    best: Snapshot | None = None  # the student as the phase's best evaluation found it, where a term listens to it
    first: Snapshot | None = None  # the student as the phase began, where a term listens to it
    at: Counters = field(default_factory=Counters)
    score: float = -math.inf  # of the newest evaluation
    method: Method | None = None  # what the phases were unrolled from, and how, where settings of it may change
    unroll: Callable[[Method], list[Phase]] | None = None
    _sums: dict[str, Tensor | float] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)  # updates that a loss was a part of
    _returns: list[float] = field(default_factory=list)
    _seen: dict[str, float] = field(default_factory=dict)  # what diagnostics found as the stretch ended
    _told: tuple[dict[str, Tensor | float], dict[str, int], int] = field(default_factory=lambda: ({}, {}, 0))
    _clock: float = 0.0
    _paces: dict[str, Pace] = field(init=False)  # asked for at every step; settings change between barriers alone
    stop: Callable[[list[float], list[float]], bool] | None = None  # whether scores so far are enough

    def __post_init__(self):
        self._paces = self._paces_now()

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
        return self._paces["student"]

    def pace_of(self, name: str) -> Pace:
        """How often one of the cast learns."""
        return self._paces[name]

    def _paces_now(self) -> dict[str, Pace]:
        paces: dict[str, Pace] = {name: who.settings.pace(self.copies) for name, who in self.cast.items()}
        return {n: pace._replace(updates=pace.updates * self.repeats.get(n, 1)) for n, pace in paces.items()}

    @property
    def kinds(self) -> dict[str, str]:
        """What each of the cast tells; of some students it depends on the task."""
        return {name: getattr(who, "kind", who.settings.predicts) for name, who in self.cast.items()}

    @property
    def live(self) -> dict[str, Policy]:
        """Policies that are asked anew for each batch, by name: the students of the cast, the student's own best."""
        own = {name: kept.policy for name, kept in self.kept.items()}
        return {name: student.policy for name, student in self.cast.items()} | own

    @property
    def kept(self) -> dict[str, Snapshot]:
        """The student as it was, by the name under which terms listen to it."""
        return {name: one for name, one in ((BEST, self.best), (START, self.first)) if one}

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
        if self.at.done(phase) == 0 and START in phase.listens:
            self.first = Snapshot(self.student, self.student.weights())

    def judge(self, phase: Phase, write: Write) -> None:
        """After a stretch: publish, report, evaluate."""
        self._publish()
        self._report(phase, write)
        self._evaluate(phase, write)

    def pass_on(self, phase: Phase, barrier: Callable[[], None]) -> None:
        """Go on to the next phase where this one is over, or past them all where enough is done, and be saved."""
        if self._has_done_enough(phase):
            self.at, self.best, self.first = replace(self.at, phase=len(self.phases)), None, None
        elif self.at.done(phase) >= length(phase):
            self.at, self.best, self.first = self.at.next_phase(), None, None
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
            self._counts[key] = self._counts.get(key, 0) + 1
        if who == "student":
            self.at.updates += 1
            self.at.phase_updates += 1
            if self.at.updates % LOOKED_AT == 0:
                self._means()

    def diagnose(self, phase: Phase, batch: Batch, rng: np.random.Generator) -> None:
        """See how the student stands on a batch, for the next report."""
        self._publish()
        weighing = phase.objective.at(self.at.progress(phase))
        self._seen = diagnose(self.student, batch, phase.objective, weighing, rng)

    def diagnose_features(self, batch: Batch) -> None:
        """See how its features stand on sequences, for the next report."""
        self._publish()
        self._seen |= of_features(self.student, batch)

    def observed(self, told: Mapping[str, float]) -> None:
        """Take in what an exchange tells of a stretch, for the next report."""
        self._seen |= told

    # ---- settings that change on the way -----------------------------------------------------------

    def mutable(self) -> dict[str, float]:
        """Settings that student and method allow to be changed while it learns, as they are now; those above 0.

        By name, `student.lr` or `method.weight`.
        """
        return mutable(self.student.settings, self.method)

    def change(self, settings: Mapping[str, float]) -> None:
        """Go on with other settings, for good."""
        self.at.changes = dict(settings)
        student = {name[8:]: value for name, value in settings.items() if name.startswith("student.")}
        method = {name[7:]: value for name, value in settings.items() if name.startswith("method.")}
        self.student.settings = replace(self.student.settings, **student)
        self._paces = self._paces_now()
        if method:
            assert self.method is not None and self.unroll is not None
            changed: Method = replace(self.method, **method)  # pyright: ignore
            self.method, self.phases = changed, self.unroll(changed)

    def copied(self, other: "Training") -> Record:
        """Note that another's students were taken over, as they were just evaluated: a line of metrics.

        What terms hold the student to, its own best and how it began, is the other's from now on too.
        """
        theirs = (other.best, other.first)
        self.best, self.first = (one and Snapshot(self.student, one.weights()) for one in theirs)
        self.at.stands_at(other.score)
        told = {"from": other.seed, "score": self.score, "its_score": other.score, "settings": dict(self.at.changes)}
        self.at.copied.append({"env_steps": self.at.env_steps, "updates": self.at.updates, **told})
        return {**self._where(self.phases[self.at.phase], "copy"), **told}

    def reborn(self, seeds: Sequence[int]) -> None:
        """Note that it died, and goes on from the mean of others' parameters."""
        self.at.copied.append({"env_steps": self.at.env_steps, "updates": self.at.updates, "mean_of": list(seeds)})

    def company(self) -> Record:
        """What a population did to it, for the result: whom it took over, and the settings that it ended with."""
        told = {"copied": self.at.copied, "changed": self.at.changes}
        return {name: value for name, value in told.items() if value}

    # ---- what is written down ----------------------------------------------------------------------

    def _evaluate(self, phase: Phase, write: Write, counts: bool = True) -> None:
        """Measure and write down; `counts`: schedules may look at it (a newborn's score says nothing of a phase)."""
        result = self.evaluate(self.at.barrier)
        normalised, lower, _ = self.scale.of(result) if self.scale else (None, None, None)
        low, high = result.interval()
        self.score = result.mean
        self.at.evaluated(result.mean, result.env_steps)
        if counts and self.stop:
            self.at.raw.append(result.mean)
        if normalised is not None and lower is not None and counts:
            self.at.scores.append(normalised)
            self.at.lows.append(lower)
            if BEST in phase.listens and normalised >= max(self.at.scores):  # the latest of equals
                self.best = Snapshot(self.student, self.student.weights())
        scores = {"score": result.mean, "normalised": normalised, "low": low, "high": high}
        if result.name:
            scores |= {f"mean_{name}": said["mean"] for name, said in result.measures().items()}
        if result.tasks:
            scores |= {f"score_{i}": part.mean for i, part in enumerate(result.parts)}
        if isinstance(self.scale, Scales):
            scores |= {f"normalised_{i}": score for i, score in enumerate(self.scale.each(result))}
        write({**self._where(phase, "eval"), **scores, "weight": self.weight(phase)})

    def weight(self, phase: Phase) -> float | None:
        """The weight of the phase's first term now, if it has one."""
        terms = phase.objective.terms
        return terms[0].weight(self.at.progress(phase)) if terms else None

    def _report(self, phase: Phase, write: Write) -> None:
        """Mean losses and training returns since the last report."""
        means = self._means()
        rates: Record = {"lr_scale": phase.objective.at(self.at.progress(phase)).lr_scale}
        played = {"return": float(np.mean(self._returns)), "episodes": len(self._returns)} if self._returns else {}
        if not phase.offline:
            rates[self.student.settings.explores] = self.exploration(phase, self.at.phase_env_steps)
        write({**self._where(phase, "train"), **means, **rates, **played, **self._seen})
        self._sums, self._counts, self._returns, self._seen = {}, {}, [], {}
        self._told = {}, {}, 0

    def point(self, phase: Phase) -> Record:
        """A line between two barriers: mean losses and returns since the last one, and what was seen."""
        sums, counts, episodes = self._told
        means = {}
        for name, total in self._sums.items():
            if count := self._counts[name] - counts.get(name, 0):
                means[f"loss_{name}"] = float(total - sums.get(name, 0.0)) / count
        ended = self._returns[episodes:]
        played = {"return": float(np.mean(ended)), "episodes": len(ended)} if ended else {}
        line = {**self._where(phase, "point"), "weight": self.weight(phase), **means, **played, **self._seen}
        self._told, self._seen = (dict(self._sums), dict(self._counts), len(self._returns)), {}
        return line

    def _means(self) -> dict[str, float]:
        """Each loss since the last report. Raises UserError where one is no number, some updates late."""
        means = {f"loss_{name}": float(total) / self._counts[name] for name, total in self._sums.items()}
        if not all(map(math.isfinite, means.values())):
            told = ", ".join(f"{name} = {value:g}" for name, value in means.items())
            raise UserError(f"training has diverged after {self.at.updates:,} updates ({told}); lower the lr")
        return means

    def _where(self, phase: Phase, kind: str) -> Record:
        seconds = round(time.perf_counter() - self._clock, 3)
        steps = {"env_steps": self.at.env_steps, "updates": self.at.updates, "seconds": seconds}
        return {"kind": kind, "phase": phase.name, **steps}

    def state(self) -> dict[str, Any]:
        """The counters, as JSON values."""
        return asdict(self.at)

    def restore(self, state: dict[str, Any]) -> None:
        """Put `state()` back. Raises UserError where it is of no training with these phases."""
        at = Counters.from_record(state)
        over = at.phase >= len(self.phases)
        if at.phase > len(self.phases) or not (over or at.done(self.phases[at.phase]) < length(self.phases[at.phase])):
            raise UserError(f"the checkpoint's counters (phase {at.phase}) are beyond the end of the run's phases")
        self.at = at
        if self.at.changes:
            self.change(self.at.changes)


def mutable(student: Any, method: Any) -> dict[str, float]:
    """What settings of a student and a method may be changed while it learns: those they declare that are above 0."""
    found = {}
    for prefix, owner in (("student", student), ("method", method)):
        for name in getattr(owner, "mutable", ()):
            value = getattr(owner, name, None)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                found[f"{prefix}.{name}"] = float(value)
    return found
