"""How a teacher is taken away: the settings that kickstarting and QDagger share, and the online phase they describe."""

from dataclasses import dataclass
from typing import Literal

from reincarnate.schedules import Between, ByScore, Constant, Linear, Scaled
from reincarnate.terms import Distil
from reincarnate.types import Phase, Schedule, WeightedTerm


@dataclass(frozen=True)
class Weaning:
    """The teacher's weight λ0·λ(progress) while the student plays for itself.

    `by`: "score" is the paper's max(1 − normalised score, 0), renewed at each evaluation; "linear" falls with env
    steps; "fixed" never falls. `end` is the fraction of the phase after which λ is 0 (the paper's t0: 0.6), save
    for "fixed". `lr_final` couples the learning rate to λ, as the authors' code does:
    student.lr · (λ + (1 − λ) · lr_final).
    """

    by: Literal["score", "linear", "fixed"] = "score"  # what λ falls with
    end: float = 0.6  # fraction of the online phase after which the teacher is gone
    sticky: bool = True  # by score: once 0, always 0
    lr_final: float = 0.1  # what remains of the learning rate at λ = 0

    def schedule(self) -> Schedule:
        """λ, between 0 and 1."""
        return {
            "score": ByScore(self.end, self.sticky),
            "linear": Linear(self.end),
            "fixed": Constant(1.0),
        }[self.by]


def taught(env_steps: int, term: Distil, weight: float, wean: Weaning, newborn: bool) -> Phase:
    """The online phase of a student that is being weaned. `newborn`: it has learnt nothing before."""
    schedule = wean.schedule()
    return Phase(
        "online",
        env_steps=env_steps,
        terms=(WeightedTerm(term, Scaled(weight, schedule)),),
        lr_scale=Between(wean.lr_final, 1.0, schedule),
        anneal=newborn,
        sync_target=not newborn,
    )
