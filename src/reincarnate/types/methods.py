"""What a method is made of: schedules, terms, objectives, phases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from reincarnate.types.batches import Batch
from reincarnate.types.policies import NOTHING, VALUES, Prediction

if TYPE_CHECKING:
    from torch import Tensor

    from reincarnate.types.people import TeacherCard


@dataclass(frozen=True)
class Progress:
    """Where a run stands: all that a schedule may look at.

    `scores` are this phase's evaluations so far, oldest first, normalised: the random policy is 0, the teacher 1;
    `lows` the lower ends of their 95 % intervals on the same scale. Of `evaluations` in all, evenly spread.
    """

    fraction: float = 0.0
    phase_env_steps: int = 0
    phase_updates: int = 0
    scores: tuple[float, ...] = ()
    evaluations: int = 10
    lows: tuple[float, ...] = ()


Schedule = Callable[[Progress], float]


@runtime_checkable
class Term(Protocol):
    """A loss a method adds to the student's own: one number per example. `of`: whose prediction it reads, or None.

    It has a hash: programs and recordings are kept by their terms. It may have `suits`, the kinds of the student's
    predictions that it can read, and `instead`, what others can be taught by; `wants`, what the student's critics shall
    note of the batch for it (`students.judging`); `columns`, what must be known of stored rows ("return"); and where
    `knows_its_slope` is true `at_once`, its derivative by a value student's predictions (`students.at_once`).
    """

    @property
    def name(self) -> str: ...
    @property
    def of(self) -> str | None: ...
    def __call__(self, out: Prediction, batch: Batch) -> Tensor: ...


class WeightedTerm(NamedTuple):
    """A term and the schedule of its weight."""

    term: Term
    weight: Schedule


class Weighing(NamedTuple):
    """An objective at one moment: the weight of the student's own loss, of each term, what multiplies its rate.

    `policy` is a further weight of the part of its own loss that moves the policy and not the values: an actor's, and
    `actor_lr` a further factor of the rate of an actor that has an optimiser of its own.
    """

    own: float = 1.0
    terms: Sequence[tuple[float, Term]] = ()
    lr_scale: float = 1.0
    policy: float = 1.0
    actor_lr: float = 1.0

    @property
    def still(self) -> bool:
        """Whether it leaves an actor as it is: nothing of it moves the policy."""
        return not self.policy and not self.terms


PLAIN = Weighing()
"""A student's own loss alone, at its own rate."""


@dataclass(frozen=True)
class Objective:
    """What a student learns in a phase: the weight of its own loss, terms, and what multiplies its learning rate.

    `policy` 0 leaves an actor alone while its critic learns; where values are the policy it changes nothing.
    `values_of` names another of the cast whose state values its own learn towards, in place of returns (on-policy).
    `actor_lr` is for students whose actor has an optimiser of its own. With `sarsa` targets on prior data ask the
    action that the data took next, and not what the student would do.
    """

    own: float = 1.0
    terms: tuple[WeightedTerm, ...] = ()
    lr_scale: Schedule | None = None  # None: leaves it alone
    policy: float = 1.0
    values_of: str | None = None
    actor_lr: float = 1.0
    sarsa: bool = False

    def at(self, progress: Progress) -> Weighing:
        """What holds now; terms without weight are left out."""
        terms = [(w, t.term) for t in self.terms if (w := t.weight(progress)) > 0]
        lr_scale = self.lr_scale(progress) if self.lr_scale else 1.0
        return Weighing(self.own, terms, lr_scale, self.policy, self.actor_lr)

    @property
    def stands(self) -> bool:
        """Whether it is the same throughout a phase: nothing of it follows a schedule."""
        return not self.terms and self.lr_scale is None

    @property
    def listens(self) -> frozenset[str]:
        """Whose predictions its terms read."""
        return frozenset(t.term.of for t in self.terms if t.term.of)


@dataclass(frozen=True)
class Guide:
    """The teacher acts in the first steps of each episode, the student after it (Uchendu et al., 2023).

    In as many as `horizon` says as the episode begins, or with `drawn` in a number drawn from 1 to that. With `share`
    it acts in each of these steps with that probability alone (the β of Ross et al., 2011).
    """

    horizon: Schedule
    drawn: bool = True
    share: Schedule | None = None


BEST = "best"
"""Whose prediction a term reads that is `of` the student itself as its phase's best evaluation found it."""
START = "start"
"""Whose prediction a term reads that is `of` the student itself as its phase began."""
LAGGING, OPTIMIZER = "lagging", "optimizer"  # what a student can be asked to refresh


@dataclass(frozen=True)
class Phase:
    """What holds for a stretch of training: online for `env_steps`, or offline for `updates`; never both.

    `objective` is the student's, `others` those of the rest of the method's cast; `acts` says who plays. `newborn`:
    exploration starts as of a student that knows nothing; else it explores as little as it ever will. As the phase
    begins the student is asked to `refresh` its lagging copies or its optimiser. Online, each example is drawn from
    prior data with probability `prior_share`, a `guide` lets the teacher act, and without `learns` experience is only
    collected. A `warm` phase learns from its first env step, for experience is there already; others wait for the
    student's warm-up.
    """

    name: str
    env_steps: int = 0
    updates: int = 0
    objective: Objective = field(default_factory=Objective)
    others: Mapping[str, Objective] = field(default_factory=dict)
    acts: str = "student"
    newborn: bool = True
    refresh: frozenset[str] = frozenset()
    prior_share: float = 0.0
    guide: Guide | None = None
    learns: bool = True
    warm: bool = False
    evaluations: int = 10

    def __post_init__(self):
        if (self.env_steps > 0) == (self.updates > 0):
            raise ValueError(f"phase {self.name!r} must name env steps or updates, and not both")

    @property
    def offline(self) -> bool:
        """Learns from prior data alone, without touching the environment."""
        return self.updates > 0

    @property
    def listens(self) -> frozenset[str]:
        """Whose predictions are read in it."""
        return self.objective.listens.union(*(other.listens for other in self.others.values()))


@runtime_checkable
class Method(Protocol):
    """A way of reincarnating: a frozen dataclass that unrolls into phases. It never knows what a target network is.

    `needs` names the priors it must have, of "teacher", "data", "weights". `cast` names who learns in it; the student
    acts unless a phase says otherwise. A subclass need only say what differs from the defaults here.
    """

    cast: ClassVar[tuple[str, ...]] = ("student",)

    @property
    def needs(self) -> frozenset[str]: ...
    def phases(self, env_steps: int) -> list[Phase]: ...

    @property
    def measures(self) -> bool:
        """Whether a setting was left to what is measured of the priors: then `fitted` comes before training."""
        return False

    def fitted(self, temperature: float) -> Method:
        """The same with what was measured: the temperature that suits the teacher's action gaps."""
        return self

    def suited(self, tells: str, learns: str = VALUES) -> Method:
        """The same with settings that were left to the kind of teacher (what its card says it `tells`) and of student
        (what it predicts: `learns`)."""
        return self

    def equipped(self, student: Any, card: TeacherCard | None) -> Any:
        """A student's settings as the method needs them. Raises UserError where the student cannot follow it."""
        return student

    @property
    def keeps_all(self) -> bool:
        """Whether a student from weights also takes over the agent's optimiser and replay."""
        return False

    @property
    def repeats(self) -> Mapping[str, int]:
        """How many times the updates of its own pace one of the cast makes."""
        return NOTHING

    @property
    def rollouts(self) -> int:
        """How many of the newest rollouts those of the cast who learn on rollouts learn from."""
        return 1

    @property
    def distant(self) -> frozenset[str]:
        """Who of the cast learns in a process of its own, beside the others."""
        return frozenset()

    @property
    def operations(self) -> tuple[str, ...]:
        """Words of surgery on the weights it starts from, in order."""
        return ()
