"""DQfD (Hester et al., 2018): the expert's action leads by a margin; as in the comparison of Agarwal et al. (2022)."""

from dataclasses import dataclass, field
from typing import Literal

from reincarnate.losses.terms import LargeMargin
from reincarnate.methods.checks import at_least, checked
from reincarnate.methods.schedules import Constant
from reincarnate.methods.weaning import Weaning, taught
from reincarnate.types import Method, Objective, Phase, WeightedTerm


@dataclass(frozen=True)
class DQfD(Method):
    """Own TD loss + λ · large margin, offline on prior data, then online while being weaned.

    QDagger's phases with another term. `form`: "all" is the default of the code of Agarwal et al. (2022), the mean over
    all actions; "max" is Hester et al.'s. `expert`: the teacher's best action, or the "logged" one of the data; the
    latter has no say online, where it would be the student's own. `share` draws online examples from prior data too.
    """

    offline_updates: int = 20_000  # on prior data, before the first env step
    weight: float = 1.0  # λ0: the margin's term against the student's own loss
    margin: float = 1.0  # m: how far the expert's action is to lead
    form: Literal["all", "max"] = "all"  # every action within the margin is pushed down, or the best one alone
    expert: Literal["teacher", "logged"] = "teacher"  # whose action leads
    share: float = 0.0  # of prior data among the examples of the online phase
    wean: Weaning = field(default_factory=Weaning)

    @property
    def needs(self) -> frozenset[str]:
        """Data, and a teacher where that is the expert."""
        return frozenset({"data", "teacher"} if self.expert == "teacher" else {"data"})

    def phases(self, env_steps: int) -> list[Phase]:
        """An offline phase, then a weaned online one."""
        term = LargeMargin(
            at_least("--margin", 0.0, self.margin), self.form == "all", "teacher" if self.expert == "teacher" else None
        )
        offline = WeightedTerm(term, Constant(at_least("--weight", 0.0, self.weight)))
        weight = self.weight if term.of else 0.0
        return [
            Phase(
                "offline",
                updates=at_least("--offline-updates", 1, self.offline_updates),
                objective=Objective(terms=(offline,)),
            ),
            taught(env_steps, term, weight, self.wean, newborn=False, prior_share=checked("--share", self.share)),
        ]
