"""What a value student is made of in 2026: normalised, categorical, n-step, updated often, reset now and then."""

from dataclasses import dataclass
from typing import Literal

from reincarnate.students.critics import Categorical, Critic, Histogram
from reincarnate.students.settings import ReplaySettings


@dataclass(frozen=True)
class Modern(ReplaySettings):
    """A preset: LayerNorm (as in Lyle et al., 2023; Gallici et al., 2024), an HL-Gauss critic (Farebrother et al.,
    2024), double Q-learning, n = 3, an update every second env step, and resets that keep part of the torso
    (Nikishin et al., 2022; D'Oro et al., 2023; Schwarzer et al., 2023).

    What each part buys on MinAtar: studies/modern.yaml, docs/findings.md (with a reset every 10,000 updates).
    """

    layer_norm: bool = True  # LayerNorm before each ReLU
    double: bool = True  # the online network chooses the next action, the target network says its value
    update_every: int = 2  # env steps per `updates_each` updates
    reset_every: int = 40_000  # updates between resets: heads anew, torso shrunk and perturbed; 0: never
    loss: Literal["hl-gauss", "categorical"] = "hl-gauss"  # towards a Gaussian around a scalar target, or C51's
    atoms: int = 51  # evenly spaced returns
    low: float = -10.0  # the smallest return an atom stands for
    high: float = 10.0  # the largest
    sigma: float = 0.75  # HL-Gauss: standard deviation in atoms' distances

    def critic(self) -> Critic:
        """HL-Gauss or C51."""
        if self.loss == "categorical":
            return Categorical(self.atoms, self.low, self.high)
        return Histogram(self.atoms, self.low, self.high, self.sigma)
