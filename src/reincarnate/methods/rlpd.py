"""Symmetric sampling: the heart of RLPD (Ball et al., 2023)."""

from dataclasses import dataclass
from typing import ClassVar

from reincarnate.methods.rehearsal import Rehearsal
from reincarnate.types import Method, Phase


@dataclass(frozen=True)
class RLPD(Method):
    """Rehearsal with ρ = 1/2: half of every batch is prior data, half the student's own experience, in expectation.

    The paper's LayerNorm, ensemble and update ratio are the student's: docs/methods/rlpd.md has the flags. For students
    with a replay.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    def phases(self, env_steps: int) -> list[Phase]:
        """One online phase on a mixture."""
        return Rehearsal(share=0.5).phases(env_steps)
