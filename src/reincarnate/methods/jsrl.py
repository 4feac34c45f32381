"""JSRL (Uchendu et al., 2023): the teacher begins each episode, the student finishes it."""

from dataclasses import dataclass
from typing import ClassVar

from reincarnate.methods.checks import at_least, checked
from reincarnate.methods.schedules import Decaying, KeepingUp
from reincarnate.types import Guide, Method, Phase


@dataclass(frozen=True)
class JSRL(Method):
    """Own TD loss alone; in each episode the teacher acts for h steps, then the student.

    h ~ U{1 … α_t}, where α_t falls by `decay` with every tenth of the phase (the form and the defaults of Agarwal et
    al., 2022). With `curriculum` h = α_t, which falls by `decay` with every evaluation in which the student, alone,
    keeps up with its best. What the teacher does enters the replay and is learnt from.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})

    horizon: int = 1000  # α_0: the most steps the teacher acts in an episode
    decay: float = 0.8  # β: what is left of α after each tenth of the phase
    curriculum: bool = False  # α falls when the student keeps up, instead of with time
    tolerance: float = 0.05  # curriculum: how far below its best, on the normalised scale, still keeps up

    def phases(self, env_steps: int) -> list[Phase]:
        """One online phase, guided."""
        start = at_least("--horizon", 0, self.horizon)
        decay = checked("--decay", self.decay)
        shrinking = KeepingUp(start, decay, at_least("--tolerance", 0.0, self.tolerance))
        horizon = shrinking if self.curriculum else Decaying(start, decay)
        return [Phase("online", env_steps=env_steps, guide=Guide(horizon, drawn=not self.curriculum))]
