"""Students that learn quantiles of the return: QR-DQN and IQN."""

from dataclasses import dataclass

from reincarnate.students.critics import ImplicitQuantiles, Quantiles
from reincarnate.students.settings import ReplaySettings


@dataclass(frozen=True)
class QRDQN(ReplaySettings):
    """QR-DQN (Dabney et al., 2018a): `quantiles` fixed fractions, no support to choose.

    n = 3 as for the other students here; the paper has n = 1, 200 quantiles, lr 5e-5, ε = 0.01/32 in Adam.
    """

    quantiles: int = 51  # per action
    kappa: float = 1.0  # where Huber's loss turns linear

    def critic(self) -> Quantiles:
        """QR-DQN's."""
        return Quantiles(self.quantiles, self.kappa)


@dataclass(frozen=True)
class IQN(ReplaySettings):
    """IQN (Dabney et al., 2018b): the network is asked at random fractions of the return's distribution.

    n = 3 as for the other students here; the paper has n = 1, 64 fractions and 32 for acting.
    """

    samples: int = 64  # fractions drawn for each prediction and for each target
    acting: int = 32  # midpoints at which it is asked when it acts, where the paper draws fractions
    kappa: float = 1.0  # where Huber's loss turns linear

    def critic(self) -> ImplicitQuantiles:
        """IQN's."""
        return ImplicitQuantiles(self.samples, self.acting, self.kappa)
