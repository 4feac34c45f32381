"""Defaults that do not fit so few env steps: what is chosen in their place, and what is said of settings that stay.

The defaults of students are made for some ten thousand env steps and more. With fewer, exploration would never end
and the warm-up take most of them. `train` chooses then; what a person set stays as it is. The target network is left
alone: moved oftener in so few updates it did harm (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from reincarnate.data.layouts import Rollout
from reincarnate.errors import UserError
from reincarnate.students import check_student

if TYPE_CHECKING:
    from reincarnate.run.settings import Run

WARMUP = 10  # the longest warm-up is a tenth of the env steps,
EXPLORATION = 5  # exploration that lasts longer than half of them falls over a fifth (`advise` has the same)
APART = 500  # env steps between evaluations,
LEAST = 2  # of which there are so many at least


@dataclass(frozen=True)
class Rule:
    """A setting, "student.NAME" or one of the run, and what so few env steps make of it; None leaves it."""

    setting: str
    value: Callable[[Run], int | None]
    words: str  # with {0} for what was chosen, {1} for the usual value

    @property
    def name(self) -> str:
        """The setting's own name."""
        return self.setting.rpartition(".")[2]

    @property
    def of_student(self) -> bool:
        """Whether it is the student's."""
        return self.setting.startswith("student.")

    def of(self, run: Run) -> Any:
        """What it is in a run; None where there is no such setting."""
        return getattr(run.student if self.of_student else run, self.name, None)

    def put(self, run: Run, value: Any) -> Run:
        """The run with another value of it."""
        change: dict[str, Any] = {self.name: value}
        return replace(run, student=replace(run.student, **change)) if self.of_student else replace(run, **change)

    def owner(self, record: dict[str, Any]) -> dict[str, Any]:
        """Where in a run's record it stands."""
        return record["student"] if self.of_student else record


def longest_warmup(env_steps: int) -> int:
    """Env steps that a student may wait before it learns."""
    return env_steps // WARMUP


def short_exploration(env_steps: int) -> int:
    """Env steps that exploration falls over, where it would not end in time."""
    return env_steps // EXPLORATION


def explores_too_long(run: Run) -> bool:
    """Whether a newborn's exploration takes more than half of the env steps."""
    return _anneals(run) and getattr(run.student, "epsilon_steps", 0) > run.env_steps // 2


def _anneals(run: Run) -> bool:
    return any(p.newborn and p.acts == "student" and p.learns and not p.offline for p in run.phases())


def _waits(run: Run) -> bool:
    return any(p.acts == "student" and p.learns and not (p.offline or p.warm) for p in run.phases())


def _rollout(run: Run) -> int:
    """Env steps of a rollout; 1 of students that learn from a replay."""
    return run.student.pace(run.copies).env_steps if isinstance(run.student.layout(), Rollout) else 1


def _warmup(run: Run) -> int | None:
    if run.weights is not None:
        return None  # an agent that goes on keeps its own
    least = max(longest_warmup(run.env_steps), getattr(run.student, "batch_size", 0))
    return least if _waits(run) and run.student.warmup > least else None


def _exploration(run: Run) -> int | None:
    return max(1, short_exploration(run.env_steps)) if explores_too_long(run) else None


def _evaluations(run: Run) -> int | None:
    fit = max(LEAST, run.env_steps // max(APART, _rollout(run)))
    return fit if fit < run.evaluations else None


RULES = (
    Rule("student.warmup", _warmup, "learning begins after {0:,} (usually {1:,})"),
    Rule("student.epsilon_steps", _exploration, "ε falls over {0:,} ({1:,})"),
    Rule("evaluations", _evaluations, "{0} evaluations a phase ({1})"),
)


def fitted(run: Run, said: Collection[str] = ()) -> tuple[Run, str]:
    """The run with settings that fit its env steps, and what was chosen in words, "" for nothing.

    `said` names the settings that somebody has set, which stay: "student.warmup", "evaluations".
    """
    if not _can_be(run):
        return run, ""  # it is refused later, as it was asked for
    chosen = []
    for rule in RULES:
        usual = rule.of(run)
        value = None if usual is None or rule.setting in said else rule.value(run)
        if value is not None:
            run = rule.put(run, value)
            chosen.append(rule.words.format(value, usual))
    if not chosen:
        return run, ""
    return run, f"chosen for {run.env_steps:,} env steps: {', '.join(chosen)}"


def _can_be(run: Run) -> bool:
    try:
        check_student(run.student, run.copies)
        return run.env_steps > 0 and bool(run.phases())
    except UserError:
        return False


def to_be_said(run: Run, usual: Run) -> list[Rule]:
    """Settings that the command which repeats a run must name: left to `fitted`, they would not be the usual ones."""
    found = []
    for rule in RULES:
        value = rule.of(usual)
        if value is not None and rule.of(run) is not None and rule.value(rule.put(run, value)) is not None:
            found.append(rule)
    return found


def budget_remarks(run: Run) -> list[str]:
    """What does not fit so few env steps: exploration that does not end, a warm-up that takes much of them."""
    settings, steps, said = run.student, run.env_steps, []
    if explores_too_long(run):
        said.append(
            f"exploration ends after {settings.epsilon_steps:,} env steps of {steps:,}: --student.epsilon-steps "
            f"{max(1, short_exploration(steps))} leaves time to learn from what was found"
        )
    wait = settings.pace(run.copies).warmup
    if wait > steps // 4 and _waits(run):
        fit = max(longest_warmup(steps), getattr(settings, "batch_size", 0))
        if fit < wait:
            said.append(f"nothing is learnt in the first {wait:,} of {steps:,} env steps: --student.warmup {fit}")
    return said + _lost(run)


def _lost(run: Run) -> list[str]:
    """Of rollouts that evaluations cut: what is left of one is not learnt from, for episodes begin anew behind them."""
    rollout, apart = _rollout(run), run.env_steps // max(1, run.evaluations)
    if rollout <= max(1, apart) or not any(p.learns and not p.offline for p in run.phases()):
        return []
    steps = 1 << max(0, (apart // run.copies // 2).bit_length() - 1)  # a power of two, for two rollouts in between
    what = "nothing is learnt" if rollout > run.env_steps else "much is not learnt from"
    return [
        f"{what}: a rollout is {rollout:,} env steps, and evaluations are {apart:,} apart: --student.rollout {steps}, "
        "or fewer --evaluations"
    ]
