"""Warm-up rollouts before learning (WSRL: Zhou et al., 2025), for students with a replay."""

from dataclasses import dataclass
from typing import Literal

from reincarnate.methods.checks import THROUGHOUT, rest
from reincarnate.types import Method, Phase


@dataclass(frozen=True)
class WSRL(Method):
    """A frozen policy fills the replay for `warmup_env_steps`; then the student learns online, without prior data.

    `start`: "weights" is the paper's: the student starts from an agent (`--weights`), whose own policy is what is
    frozen at first. "teacher": the teacher fills the replay of a newborn. The env steps are part of the run's budget.
    """

    start: Literal["weights", "teacher"] = "weights"  # whose policy warms up; the student starts from weights, or anew
    warmup_env_steps: int = 5_000  # of the frozen policy, before the first update
    surgery: tuple[str, ...] = ()  # on the weights, in order; see docs/methods/finetune.md

    @property
    def needs(self) -> frozenset[str]:
        """Weights or a teacher."""
        return frozenset({self.start})

    def phases(self, env_steps: int) -> list[Phase]:
        """A phase without learning, then an online one that learns at once."""
        left = rest(env_steps, "--warmup-env-steps", self.warmup_env_steps)
        newborn = self.start == "teacher"
        guide = THROUGHOUT if newborn else None
        return [
            Phase("warmup", env_steps=self.warmup_env_steps, learns=False, newborn=False, guide=guide),
            Phase("online", env_steps=left, newborn=newborn, warm=True),
        ]

    @property
    def operations(self) -> tuple[str, ...]:
        """The words of surgery."""
        return self.surgery
