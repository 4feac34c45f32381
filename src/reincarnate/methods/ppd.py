"""Proximal policy distillation (Spigler, 2025): kickstarting whose KL is weighed by the ratio that PPO clips."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from reincarnate.losses.terms import Proximal
from reincarnate.methods.checks import positive
from reincarnate.methods.weaning import Temperature, Weaning, imitation, taught, temperature_for
from reincarnate.types import Method, Phase


@dataclass(frozen=True)
class PPD(Method):
    """Online from the start: own PPO loss + λ · max(ρ, 1 − ε) · KL to the teacher. For on-policy students.

    `kickstart` with another term: a state counts for more where the student now does more often what it did there.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})

    weight: float = 1.0  # λ0: the teacher's term against the student's own loss
    clip: float = 0.2  # ε: the least weight of a KL is 1 − ε
    temperature: Temperature = "kind"  # τ of both policies, softmax(logits / τ); by the kind of teacher, or measured
    teacher_temperature: float | None = None  # τ of the teacher's policy alone; None: the same
    wean: Weaning = field(default_factory=Weaning)

    def phases(self, env_steps: int) -> list[Phase]:
        """One online phase, weaned."""
        kl = imitation(self.temperature, self.teacher_temperature)
        term = Proximal(kl.temperature, kl.teacher_temperature, positive("--clip", self.clip))
        return [taught(env_steps, term, self.weight, self.wean, newborn=True)]

    @property
    def measures(self) -> bool:
        """Whether the temperature is left to the teacher's action gaps."""
        return self.temperature == "auto"

    def fitted(self, temperature: float) -> "PPD":
        """With the temperature that was measured."""
        return replace(self, temperature=temperature)

    def suited(self, tells: str) -> "PPD":
        """With the temperature that suits what the teacher tells, where it was left to that."""
        return replace(self, temperature=temperature_for(tells)) if self.temperature == "kind" else self
