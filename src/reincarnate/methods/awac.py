"""AWAC (Nair et al., 2020): the actor imitates logged actions, the better ones more, offline and online alike."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from reincarnate.losses.logged import AdvantageWeighted
from reincarnate.methods.checks import positive
from reincarnate.methods.offline import offline_then_online
from reincarnate.methods.schedules import Constant
from reincarnate.types import Method, Objective, Phase, TeacherCard, WeightedTerm


@dataclass(frozen=True)
class AWAC(Method):
    """Critics by TD with the actor's own actions; the actor by −min(exp(A/λ), cap)·ln π(a|s), and by nothing else.

    A = Q(s, a) − Q(s, a'), a' of the policy. For off-policy students of continuous actions; the entropy of next actions
    counts nothing in targets, as in the paper.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    offline_updates: int = 20_000  # on the data, before the first env step
    temperature: float = 1.0  # λ: advantages are divided by it; in units of return
    cap: float = 100.0  # the greatest weight of an action
    share: float = 0.5  # of the data among the examples of the online phase

    def phases(self, env_steps: int) -> list[Phase]:
        """An offline phase, then one on a mixture, with one objective."""
        term = AdvantageWeighted(1 / positive("--temperature", self.temperature), positive("--cap", self.cap))
        objective = Objective(terms=(WeightedTerm(term, Constant(1.0)),), policy=0.0)
        return offline_then_online(self.offline_updates, objective, env_steps, objective, self.share)

    def equipped(self, student: Any, card: TeacherCard | None) -> Any:
        """Without entropy in targets."""
        return replace(student, backup_entropy=False) if hasattr(student, "backup_entropy") else student
