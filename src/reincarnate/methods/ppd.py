"""Proximal policy distillation (Spigler, 2025): kickstarting whose KL is weighed by the ratio that PPO clips."""

from dataclasses import dataclass, field
from typing import ClassVar

from reincarnate.losses.terms import Proximal
from reincarnate.methods.checks import positive
from reincarnate.methods.weaning import Direction, Temperature, Weaning, Weans, taught
from reincarnate.types import Phase


@dataclass(frozen=True)
class PPD(Weans):
    """Online from the start: own PPO loss + λ · max(ρ, 1 − ε) · KL to the teacher. For on-policy students.

    `kickstart` with another term: a state counts for more where the student now does more often what it did there.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})

    weight: float = 1.0  # λ0: the teacher's term against the student's own loss
    clip: float = 0.2  # ε: the least weight of a KL is 1 − ε
    temperature: Temperature = "kind"  # τ of both policies, softmax(logits / τ); by the kind of teacher, or measured
    teacher_temperature: float | None = None  # τ of the teacher's policy alone; None: the same
    teacher_std: float = 0.0  # σ_T in [-1, 1] of a teacher that tells means alone; 0: the error of actions is taken
    direction: Direction = "forward"  # KL(teacher ‖ student); reverse: KL(student ‖ teacher), which seeks one mode
    teacher_acts: float = 0.0  # β: the probability with which the teacher acts in a step, times λ
    wean: Weaning = field(default_factory=Weaning)

    def phases(self, env_steps: int) -> list[Phase]:
        """One online phase, weaned."""
        kl = self.imitation()
        term = Proximal(**vars(kl), clip=positive("--clip", self.clip))
        return [taught(env_steps, term, self.weight, self.wean, newborn=True, teacher_acts=self.teacher_acts)]
