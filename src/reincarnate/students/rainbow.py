"""Rainbow: a categorical critic, n-step returns and prioritised replay, with switches for the rest."""

from dataclasses import dataclass

from reincarnate.students.critics import Categorical
from reincarnate.students.settings import ReplaySettings


@dataclass(frozen=True)
class Rainbow(ReplaySettings):
    """C51 (Bellemare et al., 2017), n = 3 and prioritised replay: the student of Agarwal et al. (2022).

    That is Dopamine's agent: double, dueling and noisy layers, which Hessel et al. (2018) add, are off, and α = β = 0.5
    throughout. The support suits rewards clipped to [-1, 1]; choose it for tasks with larger returns.
    """

    priority: float = 0.5  # α of prioritised replay; 0: uniform
    atoms: int = 51  # evenly spaced returns
    low: float = -10.0  # the smallest return an atom stands for
    high: float = 10.0  # the largest

    def critic(self) -> Categorical:
        """C51's."""
        return Categorical(self.atoms, self.low, self.high)
