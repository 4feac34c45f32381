"""Where a run stands: its counters, and what follows from them (updates due, the next stop)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from reincarnate.files.records import Record, is_finite
from reincarnate.types import Pace, Phase, Progress


@dataclass
class Counters:
    """Each counter counts one thing; all of it is in a checkpoint."""

    phase: int = 0  # index of the current phase
    env_steps: int = 0  # of the student's own, over all phases
    updates: int = 0  # gradient steps, over all phases
    eval_env_steps: int = 0
    phase_env_steps: int = 0
    phase_updates: int = 0
    barrier: int = 0  # evaluations so far: random streams begin anew at each
    seconds: float = 0.0
    scores: list[float] = field(default_factory=list)  # normalised, of this phase
    lows: list[float] = field(default_factory=list)  # lower ends of their 95 % intervals
    best_barrier: int = 0  # the evaluation (1 is the newborn's) with the best score so far, the latest of equals
    best_score: float = 0.0  # its score, raw
    changes: dict[str, float] = field(default_factory=dict)  # settings that are not as they were asked for, by now
    copied: list[dict[str, Any]] = field(default_factory=list)  # whose students were taken over, and when
    raw: list[float] = field(default_factory=list)  # scores of this phase, where a stop looks at them

    @classmethod
    def from_record(cls, value: Any) -> "Counters":
        """From JSON values, of which older records have fewer. UserError: a field is unknown, or not of its kind."""
        told = Record(value, "the checkpoint", "training")
        if unknown := sorted(set(value) - {f.name for f in fields(cls)}):
            raise told.refuse(unknown[0], "absent", value[unknown[0]])
        read: dict[Any, Any] = {
            int: lambda name: told.integer(name, low=0),
            float: told.number,
            list[float]: told.numbers,
            dict[str, float]: lambda name: told.mapping(name, is_finite, "an object of finite numbers"),
            list[dict[str, Any]]: lambda name: [one.value for one in told.records(name)],
        }
        return cls(**{f.name: read[f.type](f.name) for f in fields(cls) if f.name in told})

    def progress(self, phase: Phase) -> Progress:
        """What schedules may know now."""
        fraction = self.done(phase) / length(phase)
        return Progress(
            fraction, self.phase_env_steps, self.phase_updates, tuple(self.scores), phase.evaluations, tuple(self.lows)
        )

    def done(self, phase: Phase) -> int:
        """How far into the phase, in its own unit."""
        return self.phase_updates if phase.offline else self.phase_env_steps

    def next_stop(self, phase: Phase, rollout: int = 1) -> int:
        """The next of the phase's evenly spread evaluations.

        Where rollouts (env steps) are at least as many as evaluations, each comes after a whole one: episodes begin
        anew behind it, so that it cuts what it falls into.
        """
        whole = length(phase)
        stops = [math.ceil(whole * k / phase.evaluations) for k in range(1, phase.evaluations + 1)]
        if whole // rollout >= phase.evaluations:
            stops = [stop // rollout * rollout for stop in stops[:-1]] + [whole]
        return next(stop for stop in stops if stop > self.done(phase))

    def offline_updates(self, phases: Sequence[Phase]) -> int:
        """How many of the updates were made in offline phases."""
        now = self.phase_updates if self.phase < len(phases) and phases[self.phase].offline else 0
        return sum(phase.updates for phase in phases[: self.phase]) + now

    def evaluated(self, score: float, env_steps: int) -> None:
        """Count an evaluation."""
        self.barrier += 1
        self.eval_env_steps += env_steps
        self.stands_at(score)

    def stands_at(self, score: float) -> None:
        """Note what the weights scored that the checkpoint of this evaluation is to hold."""
        if self.best_barrier == 0 or score >= self.best_score:
            self.best_barrier, self.best_score = self.barrier, score

    def is_last(self, phases: Sequence[Phase]) -> bool:
        """Whether nothing is left to be done."""
        return self.phase == len(phases) - 1 and self.done(phases[-1]) >= length(phases[-1])

    def next_phase(self) -> "Counters":
        """The counters as the next phase begins."""
        return replace(self, phase=self.phase + 1, phase_env_steps=0, phase_updates=0, scores=[], lows=[], raw=[])


def length(phase: Phase) -> int:
    """Of a phase, in its own unit: updates or env steps."""
    return phase.updates or phase.env_steps


def steps_ahead(pace: Pace, copies: int, left: int) -> int:
    """Steps of each copy in the next cycle, with `left` env steps to go."""
    return max(1, min(pace.env_steps, left + copies - 1) // copies)


def updates_due(pace: Pace, before: int, after: int) -> int:
    """Updates that env steps `before` to `after` of a phase pay for."""
    return (after // pace.env_steps - before // pace.env_steps) * pace.updates
