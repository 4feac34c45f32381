"""IQL (Kostrikov et al., 2022): values of the data's better actions, and a policy that imitates these; then online."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from reincarnate.errors import UserError
from reincarnate.losses.logged import AdvantageWeighted
from reincarnate.methods.checks import at_least, checked, positive
from reincarnate.methods.offline import offline_then_online
from reincarnate.methods.schedules import Constant
from reincarnate.types import Method, Objective, Phase, TeacherCard, WeightedTerm


@dataclass(frozen=True)
class IQL(Method):
    """V learns an expectile of Q over the data's actions, Q learns r + γV(s'), the actor −min(exp(βA), cap)·ln π(a|s).

    Nobody is asked about an action that the data has not. For off-policy students of continuous actions with critics of
    plain values, which get state values for it (`--student.expectile`). The same objective offline and online.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    offline_updates: int = 20_000  # on the data, before the first env step
    expectile: float = 0.7  # τ: towards 1, V nears the best action of the data
    beta: float = 3.0  # β: how much better actions count for more; per unit of return
    cap: float = 100.0  # the greatest weight of an action
    share: float = 0.5  # of the data among the examples of the online phase

    def phases(self, env_steps: int) -> list[Phase]:
        """An offline phase, then one on a mixture, with one objective."""
        term = AdvantageWeighted(at_least("--beta", 0.0, self.beta), positive("--cap", self.cap))
        objective = Objective(terms=(WeightedTerm(term, Constant(1.0)),), policy=0.0)
        return offline_then_online(self.offline_updates, objective, env_steps, objective, self.share)

    def equipped(self, student: Any, card: TeacherCard | None) -> Any:
        """With state values. Raises UserError where the student cannot have them."""
        if not hasattr(student, "expectile"):
            raise UserError(f"iql needs a student that can have state values: td3 or sac, not {type(student).__name__}")
        if not student.plain_values:
            raise UserError(
                f"iql needs critics of plain values; {type(student).__name__}'s are distributions: td3, sac, or "
                "modern_sac with --student.loss squared"
            )
        return replace(student, expectile=checked("--expectile", positive("--expectile", self.expectile)))
