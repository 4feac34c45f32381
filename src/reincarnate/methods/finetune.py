"""Fine-tuning: a trained agent's weights, at a reduced learning rate; the first thing to try (Agarwal et al., 2022)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from reincarnate.methods.checks import at_least
from reincarnate.methods.schedules import Constant
from reincarnate.types import Method, Objective, Phase


@dataclass(frozen=True)
class FineTune(Method):
    """Own TD loss alone, starting from `--weights`: ε where it was, no random actions while the replay fills.

    The student has the agent's settings unless flags say otherwise, another optimiser say. `reuse`: "all" also takes
    the agent's replay, and its optimiser's state where that still fits; the agent must have kept them (`--keep all`).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"weights"})

    lr_scale: float = 1 / 6  # of the student's learning rate: 1e-5 of 6.25e-5 in the paper
    reuse: Literal["weights", "all"] = "weights"  # all: the optimiser's state and the replay too
    surgery: tuple[str, ...] = ()  # in order: widen:LAYER:WIDTH deepen:LAYER reset-head shrink:KEEP freeze:PREFIX …

    def phases(self, env_steps: int) -> list[Phase]:
        """One online phase. With a replay it learns at once."""
        return [
            Phase(
                "online",
                env_steps=env_steps,
                objective=Objective(lr_scale=Constant(at_least("--lr-scale", 0.0, self.lr_scale))),
                newborn=False,
                warm=self.reuse == "all",
            )
        ]

    @property
    def keeps_all(self) -> bool:
        """Whether the agent's optimiser and replay go on too."""
        return self.reuse == "all"

    @property
    def operations(self) -> tuple[str, ...]:
        """The words of surgery."""
        return self.surgery
