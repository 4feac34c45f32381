"""How a teacher is taken away: settings that three methods share, and the online phase they describe."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol

from reincarnate.errors import UserError
from reincarnate.losses.terms import Distil
from reincarnate.methods.checks import at_least, checked, positive
from reincarnate.methods.schedules import Between, ByScore, Constant, Guarded, Linear, Rest, Scaled
from reincarnate.types import (
    ACTIONS,
    LAGGING,
    LOGITS,
    VALUES,
    Guide,
    Method,
    Objective,
    Phase,
    Schedule,
    Term,
    WeightedTerm,
)

Temperature = float | Literal["kind", "auto"]
"""τ; "kind": what suits what the teacher tells (`temperature_for`); "auto": measured from the teacher's action gaps as
a run begins (`priors.temperature`)."""
Anchor = float | Literal["kind"]
"""Weight of the pull to the student's own best; "kind": what suits what the teacher tells and the student learns
(`anchor_for`)."""
Direction = Literal["forward", "reverse"]
"""Of a KL: from who teaches to who learns, or back. An error of actions has none."""
TEMPERATURES = {VALUES: 0.1, LOGITS: 1.0, ACTIONS: 1.0}
"""τ by kind of teacher. 0.1 is the paper's (Agarwal et al., 2022), for teachers of action values. A policy's logits are
told at the temperature that it acts at, and one that only names actions gives the chosen one 0.99 there
(docs/findings.md)."""


LEAST_ANCHOR = 0.5
"""What holds a PQN that was taught with λ0 = 0.5 (docs/findings.md), and whoever no study has asked for more."""
ANCHORED = 0.5
"""A student of values whom a policy taught: its anchor by the λ0 that it was taught with (docs/findings.md)."""


def temperature_for(tells: str) -> float:
    """τ of both policies, for a teacher that tells this."""
    return TEMPERATURES.get(tells, 1.0)


def anchor_for(tells: str, learns: str, weight: float) -> float:
    """The anchor of a student that predicts `learns`, taught with λ0 = `weight` by a teacher that tells this.

    None under a teacher of action values, the paper's kind: what it taught are values, and a student that is held by
    its own best does not pass a weak one.
    """
    if tells == VALUES:
        return 0.0
    return max(LEAST_ANCHOR, ANCHORED * weight) if (tells, learns) == (LOGITS, VALUES) else LEAST_ANCHOR


class Imitates(Method):
    """A method with the setting `temperature`, which may be left to the kind of teacher, or to its action gaps."""

    temperature: Temperature
    mutable: ClassVar[tuple[str, ...]] = ("weight", "temperature")  # what may change on the way (`training.pbt`)

    @property
    def measures(self) -> bool:
        """Whether the temperature is left to the teacher's action gaps."""
        return self.temperature == "auto"

    def fitted(self, temperature: float) -> Method:
        """With the temperature that was measured."""
        return replace(self, temperature=temperature)  # pyright: ignore[reportArgumentType]

    def suited(self, tells: str, learns: str = VALUES) -> Method:
        """With the temperature that suits what the teacher tells, where it was left to that."""
        return self.fitted(temperature_for(tells)) if self.temperature == "kind" else self


class Distils(Imitates):
    """One whose teacher's term is a divergence, with the settings that shape it."""

    teacher_temperature: float | None
    teacher_std: float
    direction: Direction

    def imitation(self) -> Distil:
        """The term; what is not a number yet is None: a plan can be printed, but nothing trained."""
        own = None if isinstance(self.temperature, str) else positive("--temperature", self.temperature)
        told = self.teacher_temperature
        tau = own if told is None else positive("--teacher-temperature", told)
        spread = at_least("--teacher-std", 0.0, self.teacher_std) or None
        return Distil(own, tau, std=spread, reverse=self.direction == "reverse")


class Weans(Distils):
    """One whose teacher leaves, and the student's own best takes its place."""

    weight: float
    wean: "Weaning"

    def suited(self, tells: str, learns: str = VALUES) -> Method:
        """With the temperature and the anchor that suit who teaches and who learns, where they were left to that."""
        method = super().suited(tells, learns)
        if self.wean.anchor != "kind":
            return method
        wean = replace(self.wean, anchor=anchor_for(tells, learns, self.weight))
        return replace(method, wean=wean)  # pyright: ignore[reportArgumentType, reportCallIssue]


@dataclass(frozen=True)
class Weaning:
    """The teacher's weight λ0·λ(progress) while the student plays for itself.

    `by`: "score" is the paper's max(1 − normalised score, 0), renewed at each evaluation; "linear" falls with env
    steps; "fixed" never falls. `score`, ours: an evaluation's score is the lower end of its interval, or as in the
    paper its mean. `end` is the fraction of the phase after which λ is 0 (the paper's t0: 0.6), save for "fixed".
    `anchor`, ours: as the teacher leaves, the student's own best takes its place, in a term of the same form with
    weight anchor · (1 − λ). The best is the phase's best evaluation by its mean, the latest of equals. `lr_final`
    couples the learning rate to λ, as the authors' code does: student.lr · (λ + (1 − λ) · lr_final). `guard` is ours:
    see `schedules.Guarded`.
    """

    by: Literal["score", "linear", "fixed"] = "score"  # what λ falls with
    score: Literal["lower", "mean"] = "lower"  # by score: an evaluation's lower bound, or its mean (the paper's)
    anchor: Anchor = "kind"  # weight of the pull to the own best once the teacher is gone; 0: none (the paper's)
    end: float = 0.6  # fraction of the online phase after which the teacher is gone
    sticky: bool = True  # by score: once 0, always 0
    lr_final: float = 0.1  # what remains of the learning rate at λ = 0
    guard: float = 0.0  # λ steps back up when the score falls by more than this fraction below its best; 0: never
    guard_step: float = 0.25  # by at least so much

    def schedule(self) -> Schedule:
        """λ, between 0 and 1."""
        if not 0 <= self.guard < 1 or not 0 < self.guard_step <= 1:
            raise UserError("--wean.guard must lie in [0, 1) and --wean.guard-step in (0, 1]")
        end = checked("--wean.end", positive("--wean.end", self.end))
        plain = {
            "score": ByScore(end, self.sticky, self.score == "lower"),
            "linear": Linear(end),
            "fixed": Constant(1.0),
        }[self.by]
        return Guarded(plain, self.guard, self.guard_step) if self.guard else plain


class Weanable(Term, Protocol):
    """A term that a student can be weaned off: it has a like towards the student's own best."""

    def own_best(self) -> Term:
        """That like."""
        ...


def taught(
    env_steps: int,
    term: Weanable,
    weight: float,
    wean: Weaning,
    newborn: bool,
    prior_share: float = 0.0,
    teacher_acts: float = 0.0,
) -> Phase:
    """The online phase of a student that is being weaned. `newborn`: it has learnt nothing before.

    In a step the teacher acts with probability `teacher_acts` · λ.
    """
    schedule, weight = wean.schedule(), at_least("--weight", 0.0, weight)
    acts = checked("--teacher-acts", teacher_acts)
    coupled = Between(checked("--wean.lr-final", wean.lr_final), 1.0, schedule)
    anchor = LEAST_ANCHOR if wean.anchor == "kind" else at_least("--wean.anchor", 0.0, wean.anchor)
    terms = [WeightedTerm(term, Scaled(weight, schedule))]
    if anchor and weight and wean.by != "fixed":  # else nobody has taught it, or nobody ever leaves
        terms.append(WeightedTerm(term.own_best(), Scaled(anchor, Rest(schedule))))
    return Phase(
        "online",
        env_steps=env_steps,
        objective=Objective(
            terms=tuple(terms) if weight else (),  # a teacher without weight is not asked
            lr_scale=coupled if weight else None,  # without a teacher's term there is no λ to couple it to
        ),
        newborn=newborn,
        refresh=frozenset() if newborn else frozenset({LAGGING}),
        prior_share=prior_share,
        guide=Guide(Constant(math.inf), drawn=False, share=Scaled(acts, schedule)) if acts else None,
    )
