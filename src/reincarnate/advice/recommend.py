"""From measurements to recommendations: the run, the command line that starts it, and what it will cost."""

from dataclasses import dataclass

import torch

from reincarnate import envs
from reincarnate.advice.facts import Measurement
from reincarnate.advice.rules import Rule, choose
from reincarnate.advice.settings import Fitted, fit
from reincarnate.methods import METHODS
from reincarnate.priors.played import Tick
from reincarnate.run.plan import describe, estimate, updates
from reincarnate.run.prepare import threads
from reincarnate.run.settings import Run, record
from reincarnate.types import TaskSpec


@dataclass(frozen=True)
class Cost:
    """What a run takes. `seconds` of training on this machine, without evaluations and without collecting data."""

    seconds: float
    env_steps: int
    updates: int
    offline_updates: int
    data_env_steps: int  # of the teacher, played once for all runs with the same
    evaluation_episodes: int


@dataclass(frozen=True)
class Recommendation:
    """A run that is worth its cost, and why. `rank`: first, second or baseline."""

    rank: str
    rule: Rule
    why: str
    run: Run
    settings: tuple[Fitted, ...]
    command: str
    cost: Cost

    @property
    def plan(self) -> list[str]:
        """One line a phase: what it does, with which settings."""
        return describe(self.run.phases(), self.run.student, self.run.copies)

    @property
    def method(self) -> str:
        """The method's registered name."""
        return METHODS.name_of(type(self.rule.method)) or ""


def recommend(measured: Measurement, tick: Tick = lambda *_: None) -> list[Recommendation]:
    """The best first, the baseline last; none where there is no student for the task. Takes seconds, for the costs."""
    rules = choose(measured)
    spec, found = envs.spec(measured.task), []
    for i, rule in enumerate(rules):
        tick("what it will cost", i, len(rules))
        run, settings = fit(rule.method, measured)
        rank = "baseline" if i and i == len(rules) - 1 and rule.name == "baseline" else ("first", "second")[i]
        found.append(
            Recommendation(rank, rule, rule.why(measured), run, settings, record(run)["command"], cost(run, spec))
        )
    return found


def cost(run: Run, spec: TaskSpec) -> Cost:
    """What a run will cost, from a second's trial here and now."""
    phases = run.phases()
    torch.set_num_threads(threads(run, spec))  # as the run will have it
    online = [phase for phase in phases if not phase.offline]
    return Cost(
        seconds=round(estimate(phases, run.student, spec, run.copies), 1),
        env_steps=sum(phase.env_steps for phase in online),
        updates=sum(updates(phase, run.student, run.copies) for phase in online),
        offline_updates=sum(phase.updates for phase in phases if phase.offline),
        data_env_steps=run.data_env_steps if "data" in run.method.needs and run.data is None else 0,
        evaluation_episodes=(1 + sum(p.evaluations for p in phases)) * run.eval_episodes + run.final_episodes,
    )
