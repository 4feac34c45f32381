"""A network of values as a policy."""

import torch
from torch import Tensor, nn

from reincarnate.nets.noisy import noise_size
from reincarnate.students.critics import Critic
from reincarnate.types import VALUES, Prediction, TimeStep


class ValuePolicy(nn.Module):
    """A value network as a policy: it says the expected values of actions, without noise."""

    view, frozen = "student", False

    def __init__(self, network: nn.Module, critic: Critic, frozen: bool = False):
        nn.Module.__init__(self)
        self.network, self.critic, self.frozen = network, critic, frozen
        self.noise_size = noise_size(network)

    def initial(self, n: int) -> Tensor:
        """It remembers nothing: [n, 0]."""
        return torch.zeros(n, 0)

    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """Action values [n, A]."""
        return Prediction(VALUES, self(step.obs)), carry

    def forward(self, obs: Tensor) -> Tensor:
        """Action values [n, A] of raw observations."""
        # arguments for one row, widened by the batch's own size, so that an exporter's trace does not fix it
        rest = [a.expand(obs.shape[0], *a.shape[1:]) for a in self.critic.at_rest(1)]
        return self.critic.values(self.network(obs, *rest))
