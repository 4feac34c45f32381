"""What a network's last numbers become: action values from distributions, continuous actions from their means."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reincarnate.losses.distributions import categorical_mean, midpoints

QUANTILES = 32  # Dopamine's IQN acts on so many


class Categorical(nn.Module):
    """Action values Σ z p over K atoms z (Bellemare et al., 2017)."""

    def __init__(self, support: Float[Tensor, "K"]):
        nn.Module.__init__(self)
        self.support = nn.Buffer(support.float())

    def forward(self, x: Float[Tensor, "B AK"]) -> Float[Tensor, "B A"]:
        """Of logits [B, A·K]."""
        return categorical_mean(x.unflatten(1, (-1, len(self.support))), self.support)


class Quantiles(nn.Module):
    """Action values, the means of K quantiles (Dabney et al., 2018a)."""

    def __init__(self, quantiles: int):
        nn.Module.__init__(self)
        self.quantiles = quantiles

    def forward(self, x: Float[Tensor, "B AK"]) -> Float[Tensor, "B A"]:
        """Of quantiles [B, A·K]."""
        return x.unflatten(1, (-1, self.quantiles)).mean(-1)


class Dueling(nn.Module):
    """Advantages and a value of the same features, added (Wang et al., 2016, eq. 9), for each of K numbers apart."""

    def __init__(self, advantage: nn.Linear, value: nn.Linear):
        nn.Module.__init__(self)
        self.advantage, self.value = advantage, value

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B AK"]:
        """Features to A·K numbers."""
        value = self.value(x)[:, None]
        advantage = self.advantage(x).unflatten(1, (-1, value.shape[-1]))
        return (value + advantage - advantage.mean(1, keepdim=True)).flatten(1)


class Implicit(nn.Module):
    """IQN's head (Dabney et al., 2018b): the mean over 32 quantiles at the midpoints, instead of at random ones.

    Dopamine's cosines count from 1. One quantile after another, for all at once would be 32 copies of the features.
    """

    def __init__(self, embedding: nn.Linear, after: nn.Module):
        nn.Module.__init__(self)
        self.embedding, self.after = embedding, after
        order = torch.arange(1, embedding.in_features + 1, dtype=torch.float32)
        self.cosines = nn.Buffer(torch.cos(math.pi * midpoints(QUANTILES)[:, None] * order))

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B A"]:
        """Features to action values."""
        values = [self.after(x * weight) for weight in torch.relu(self.embedding(self.cosines))]
        return torch.stack(values).mean(0)


class Bounded(nn.Module):
    """tanh(x) · scale + bias: a continuous action in the task's units."""

    def __init__(self, scale: Float[Tensor, "*A"], bias: Float[Tensor, "*A"]):
        nn.Module.__init__(self)
        self.scale, self.bias = nn.Buffer(scale.float()), nn.Buffer(bias.float())

    def forward(self, x: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        """Of means before the tanh."""
        return torch.tanh(x) * self.scale + self.bias
