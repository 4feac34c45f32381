"""DQN (Mnih et al., 2015) with Adam, and switches for double Q-learning, dueling heads and n-step returns."""

from dataclasses import dataclass

from reincarnate.students.settings import ReplaySettings


@dataclass(frozen=True)
class DQN(ReplaySettings):
    """A scalar value per action and Huber's loss, with the settings every value student has."""
