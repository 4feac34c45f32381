"""Kickstarting (Schmitt et al., 2018), as in the comparison of Agarwal et al. (2022)."""

from dataclasses import dataclass, field
from typing import ClassVar

from reincarnate.methods.weaning import Direction, Temperature, Weaning, Weans, taught
from reincarnate.types import Phase


@dataclass(frozen=True)
class Kickstart(Weans):
    """Online from the start: own TD loss + λ · KL to the teacher on the student's own experience. No prior data.

    Defaults are the paper's for a DQN student: λ0 = 3, and of a teacher of values τ = 0.1 on both policies.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})

    weight: float = 3.0  # λ0: the teacher's term against the student's own loss
    temperature: Temperature = "kind"  # τ of both policies, softmax(Q / τ); by the kind of teacher, or auto: measured
    teacher_temperature: float | None = None  # τ of the teacher's policy alone; None: the same
    teacher_std: float = 0.0  # σ_T in [-1, 1] of a teacher that tells means alone; 0: the error of actions is taken
    direction: Direction = "forward"  # KL(teacher ‖ student); reverse: KL(student ‖ teacher), which seeks one mode
    teacher_acts: float = 0.0  # β: the probability with which the teacher acts in a step, times λ
    wean: Weaning = field(default_factory=Weaning)

    def phases(self, env_steps: int) -> list[Phase]:
        """One online phase, weaned."""
        term = self.imitation()
        return [taught(env_steps, term, self.weight, self.wean, newborn=True, teacher_acts=self.teacher_acts)]
