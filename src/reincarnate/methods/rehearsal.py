"""Rehearsal: learning from scratch while re-living prior data, as R2D3 (Paine et al., 2019) does."""

from dataclasses import dataclass
from typing import ClassVar

from reincarnate.methods.checks import checked
from reincarnate.types import Method, Phase


@dataclass(frozen=True)
class Rehearsal(Method):
    """Own TD loss alone; online, each example is drawn from prior data with probability ρ.

    The default is the best of Agarwal et al. (2022) at n = 3. 0 is learning from scratch, 1 never looks at the
    student's own experience.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    share: float = 1 / 16  # ρ: the probability with which an example is prior data

    def phases(self, env_steps: int) -> list[Phase]:
        """One online phase on a mixture."""
        return [Phase("online", env_steps=env_steps, prior_share=checked("--share", self.share))]
