"""Actor-Mimic (Parisotto et al., 2016): one student imitates the teachers of several tasks, to play or to transfer."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from reincarnate.losses.mimic import FeatureRegression, PolicyRegression
from reincarnate.methods.checks import at_least, positive
from reincarnate.methods.schedules import Constant
from reincarnate.methods.weaning import Imitates
from reincarnate.types import Objective, Phase, WeightedTerm


@dataclass(frozen=True)
class ActorMimic(Imitates):
    """Cross-entropy to each task's teacher where the student itself plays, and a regression on the teachers' features.

    Rewards are not used. Of several tasks (`--env A,B,C --teacher A=…,B=…,C=…`) or of one. What it has learnt goes to a
    new task by `finetune --weights`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})

    temperature: float | Literal["kind"] = "kind"  # τ of the teachers' policies alone; by what they tell: 0.1 or 1
    beta: float = 0.01  # β of the feature regression, where teachers tell features; 0: policies alone

    def phases(self, env_steps: int) -> list[Phase]:
        """One online phase without the student's own loss. It explores at its end value from the first step on."""
        tau = None if self.temperature == "kind" else positive("--temperature", self.temperature)
        terms = [WeightedTerm(PolicyRegression(tau), Constant(1.0))]
        if at_least("--beta", 0.0, self.beta):
            terms.append(WeightedTerm(FeatureRegression(), Constant(self.beta)))
        return [
            Phase("online", env_steps=env_steps, objective=Objective(own=0.0, terms=tuple(terms)), newborn=False),
        ]

    def by_policy_alone(self) -> "ActorMimic":
        """The same without the features."""
        return replace(self, beta=0.0)
