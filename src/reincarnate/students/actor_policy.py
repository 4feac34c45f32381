"""An off-policy agent's network as a frozen policy."""

import torch
from torch import Tensor, nn

from reincarnate.nets.actorcritic import ActorCriticNetwork
from reincarnate.types import Prediction, TimeStep


class ActorPolicy(nn.Module):
    """An agent's network as a frozen policy: its actor's word."""

    view, frozen = "student", True

    def __init__(self, network: ActorCriticNetwork, kind: str):
        nn.Module.__init__(self)
        self.network, self.kind = network, kind

    def initial(self, n: int) -> Tensor:
        """It remembers nothing: [n, 0]."""
        return torch.zeros(n, 0)

    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """Means [n, A], or mean and log σ before tanh [n, 2A]."""
        return Prediction(self.kind, self(step.obs)), carry

    def forward(self, obs: Tensor) -> Tensor:
        """The numbers of the prediction, of raw observations."""
        return self.network(obs)
