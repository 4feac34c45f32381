"""An actor as a frozen policy."""

from typing import Any

import torch
from torch import Tensor, nn

from reincarnate.types import Prediction, TimeStep


class ActorPolicy(nn.Module):
    """A network's actor as a frozen policy: logits, means, or a Gaussian's mean and ln σ, as its `kind` says."""

    view, frozen = "student", True

    def __init__(self, network: nn.Module, kind: str):
        nn.Module.__init__(self)
        self.network: Any = network  # tells by `tell`
        self.kind = kind

    def initial(self, n: int) -> Tensor:
        """It remembers nothing: [n, 0]."""
        return torch.zeros(n, 0)

    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What it says of observations [n, *O]."""
        return Prediction(self.kind, self(step.obs)), carry

    def forward(self, obs: Tensor) -> Tensor:
        """Predictions [n, K] of raw observations."""
        return self.network.tell(obs)
