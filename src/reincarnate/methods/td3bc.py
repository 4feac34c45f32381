"""TD3+BC (Fujimoto & Gu, 2021) offline, then online while the cloning term falls."""

from dataclasses import dataclass
from typing import ClassVar

from reincarnate.losses.logged import Clone
from reincarnate.methods.checks import checked, positive
from reincarnate.methods.offline import offline_then_online
from reincarnate.methods.schedules import Constant, Linear, Scaled
from reincarnate.types import Method, Objective, Phase, WeightedTerm


@dataclass(frozen=True)
class TD3BC(Method):
    """Own loss + (mean|Q|/α) · the squared error to the data's action: off-policy students of continuous actions.

    The authors' −(α/mean|Q|)·Q + error, multiplied by mean|Q|/α: the student multiplies every term by mean|Q|. Online
    the term falls to nothing over `end` of the budget, also on own experience. Their normalised observations are the
    student's (`--student.normalise`).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    offline_updates: int = 20_000  # on the data, before the first env step
    alpha: float = 2.5  # α: Q against the error of actions
    end: float = 0.5  # fraction of the online phase after which nothing holds it to logged actions
    share: float = 0.5  # of the data among the examples of the online phase

    def phases(self, env_steps: int) -> list[Phase]:
        """An offline phase, then one on a mixture."""
        weight = 1 / positive("--alpha", self.alpha)
        falling = Scaled(weight, Linear(checked("--end", positive("--end", self.end))))
        offline, online = (
            Objective(terms=(WeightedTerm(Clone("error"), schedule),)) for schedule in (Constant(weight), falling)
        )
        return offline_then_online(self.offline_updates, offline, env_steps, online, self.share)
