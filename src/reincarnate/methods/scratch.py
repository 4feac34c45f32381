"""Learning from scratch (tabula rasa): the baseline of every study."""

from dataclasses import dataclass
from typing import ClassVar

from reincarnate.types import Method, Phase


@dataclass(frozen=True)
class Scratch(Method):
    """The student alone with the environment. A teacher given to it only sets the scale of its scores."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def phases(self, env_steps: int) -> list[Phase]:
        """One online phase."""
        return [Phase("online", env_steps=env_steps)]
