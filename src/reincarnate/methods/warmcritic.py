"""Critic warm-up: values are learnt while the teacher still acts; then the ε-greedy policy of these values moves."""

from dataclasses import dataclass
from typing import Literal

from reincarnate.methods.checks import THROUGHOUT, rest
from reincarnate.types import LAGGING, Method, Objective, Phase


@dataclass(frozen=True)
class WarmCritic(Method):
    """The teacher acts for `critic_env_steps` while the student learns from it by TD; then the student acts.

    As WSRL, but for learning in the first phase. `start`: a newborn, or an agent's weights (`--weights`); an actor that
    comes with weights is left alone in the first phase. The env steps are part of the run's budget.
    """

    start: Literal["scratch", "weights"] = "scratch"  # what the student is at first
    critic_env_steps: int = 5_000  # of the teacher, learnt from as they come
    surgery: tuple[str, ...] = ()  # on the weights, in order; see docs/methods/finetune.md

    @property
    def needs(self) -> frozenset[str]:
        """A teacher, and weights where they are the start."""
        return frozenset({"teacher", "weights"} if self.start == "weights" else {"teacher"})

    def phases(self, env_steps: int) -> list[Phase]:
        """A phase in which the teacher acts, then one in which the student does."""
        left = rest(env_steps, "--critic-env-steps", self.critic_env_steps)
        kept = Objective(policy=0.0 if self.start == "weights" else 1.0)  # an actor that can do something already
        return [
            Phase("critic", env_steps=self.critic_env_steps, objective=kept, newborn=False, guide=THROUGHOUT),
            Phase("online", env_steps=left, newborn=False, refresh=frozenset({LAGGING}), warm=True),
        ]

    @property
    def operations(self) -> tuple[str, ...]:
        """The words of surgery."""
        return self.surgery
