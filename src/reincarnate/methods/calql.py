"""Cal-QL (Nakamoto et al., 2023): CQL that pushes no value below what was already earned, offline and online."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from reincarnate.errors import UserError
from reincarnate.losses.logged import SampledConservative
from reincarnate.methods.checks import at_least
from reincarnate.methods.offline import offline_then_online
from reincarnate.methods.schedules import Constant
from reincarnate.types import Method, Objective, Phase, TeacherCard, WeightedTerm


@dataclass(frozen=True)
class CalQL(Method):
    """Own loss + c · CQL(H) of each critic, whose values of the policy's actions count no less than the data's return.

    For students that tell a squashed Gaussian. The term stays online, on a mixture. Without `calibrated` it is CQL
    (Kumar et al., 2020). The entropy of next actions counts nothing in targets, as in the authors' code.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    offline_updates: int = 20_000  # on the data, before the first env step
    weight: float = 5.0  # c: the conservative term against the critics' error
    calibrated: bool = True  # values of the policy's actions count at least the return that followed in the data
    actions: int = 10  # drawn uniformly, of the policy, and of the policy at the successor, for each example
    share: float = 0.5  # of the data among the examples of the online phase

    def phases(self, env_steps: int) -> list[Phase]:
        """An offline phase, then one on a mixture, with one objective."""
        term = SampledConservative(at_least("--actions", 1, self.actions), self.calibrated)
        objective = Objective(terms=(WeightedTerm(term, Constant(at_least("--weight", 0.0, self.weight))),))
        return offline_then_online(self.offline_updates, objective, env_steps, objective, self.share)

    def equipped(self, student: Any, card: TeacherCard | None) -> Any:
        """Without entropy in targets. Raises UserError where returns and values differ in unit."""
        if self.calibrated and getattr(student, "worth", 0.0):
            raise UserError("calql compares values with returns; this student scales rewards: --student.loss squared")
        return replace(student, backup_entropy=False) if hasattr(student, "backup_entropy") else student
