"""Distillation alone: DAgger (Ross et al., 2011) for values, the ablation "Dagger" of Agarwal et al. (2022)."""

from dataclasses import dataclass
from typing import ClassVar

from reincarnate.methods.checks import at_least, positive
from reincarnate.methods.schedules import Constant
from reincarnate.methods.weaning import Direction, Distils, Temperature
from reincarnate.types import LAGGING, Objective, Phase, WeightedTerm


@dataclass(frozen=True)
class Dagger(Distils):
    """KL to the teacher and nothing else, offline on its data, then online on the student's own; rewards are not used.

    The paper's other ablation, "Dagger + QL" (TD and a teacher that never leaves), is `qdagger --wean.by fixed`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teacher", "data"})

    offline_updates: int = 20_000  # on the teacher's data, before the first env step
    temperature: Temperature = "kind"  # τ of both policies, softmax(Q / τ); by the kind of teacher, or auto: measured
    teacher_temperature: float | None = None  # τ of the teacher's policy alone; None: the same
    teacher_std: float = 0.0  # σ_T in [-1, 1] of a teacher that tells means alone; 0: the error of actions is taken
    direction: Direction = "forward"  # KL(teacher ‖ student); reverse: KL(student ‖ teacher), which seeks one mode
    weight: float = 3.0  # λ; it scales the gradient, which Adam all but undoes

    def phases(self, env_steps: int) -> list[Phase]:
        """An offline and an online phase without TD."""
        term = WeightedTerm(
            self.imitation(),
            Constant(positive("--weight", self.weight)),
        )
        objective = Objective(own=0.0, terms=(term,))
        return [
            Phase("offline", updates=at_least("--offline-updates", 1, self.offline_updates), objective=objective),
            Phase("online", env_steps=env_steps, objective=objective, newborn=False, refresh=frozenset({LAGGING})),
        ]
