"""What a network's last numbers become: action values from distributions, continuous actions from their means."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reincarnate.errors import UserError
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


class Clipped(nn.Module):
    """Means cut at the bounds."""

    def __init__(self, low: Float[Tensor, "*A"], high: Float[Tensor, "*A"]):
        nn.Module.__init__(self)
        self.low, self.high = nn.Buffer(low), nn.Buffer(high)

    def forward(self, x: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        """Means [B, A] to actions within the bounds."""
        return x.clamp(self.low, self.high)


# ---- Gaussian policies -----------------------------------------------------------------------------


class Acts(NamedTuple):
    """How a base Gaussian becomes an action: `squashed` by tanh and scaled to the bounds, or clipped at them.

    `bounds` are None where the file does not hold them (the task clips). `spread` says whether a log σ is told.
    """

    squashed: bool
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None
    spread: bool


class Gaussian(nn.Module):
    """An actor: features, the mean of its base Gaussian, perhaps log σ, and what makes an action of the mean.

    Base means before squashing or clipping: what a divergence between two such policies is taken of.
    """

    def __init__(self, features: nn.Module, mean: nn.Module, spread: nn.Module | None, action: nn.Module):
        nn.Module.__init__(self)
        self.features, self.mean, self.spread, self.action = features, mean, spread, action

    def forward(self, x: Tensor) -> Float[Tensor, "B A"]:
        """Observations, preprocessed, to the greedy actions in the task's units."""
        return self.action(self.mean(self.features(x)))

    def distribution(self, x: Tensor) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A"] | None]:
        """The base Gaussian's mean and log σ; None where the file has no spread."""
        features = self.features(x)
        mean = self.mean(features)
        return mean, None if self.spread is None else self.spread(features).expand_as(mean)


LARGEST_LOG_STD = 10.0


def check_spread(log_std: Tensor) -> None:
    """Raises UserError where σ = exp(log_std) is no spread of actions: e to that overflows, or all but does."""
    if not log_std.isfinite().all() or log_std.max() > LARGEST_LOG_STD:
        most = float(log_std.float().nan_to_num(math.inf).max())
        raise UserError(f"its log_std goes up to {most:g}; beyond {LARGEST_LOG_STD:g}, σ overflows")


class FixedSpread(nn.Module):
    """log σ that does not depend on the observation (PPO, A2C, TRPO). Raises UserError where it overflows."""

    def __init__(self, log_std: Float[Tensor, "A"]):
        nn.Module.__init__(self)
        check_spread(log_std)
        self.log_std = nn.Parameter(log_std.float(), False)

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "1 A"]:
        """The same row for all."""
        return self.log_std[None]


class LinearSpread(nn.Module):
    """log σ as a linear function of the features, cut at `low` and `high`, or with `squashed` brought there by tanh.

    SB3 and Haarnoja et al. (2018) cut at -20 and 2; CleanRL takes tanh to -5 and 2.
    """

    def __init__(self, linear: nn.Linear, low: float, high: float, squashed: bool):
        nn.Module.__init__(self)
        self.linear, self.low, self.high, self.squashed = linear, low, high, squashed

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B A"]:
        """Of the features that the mean is taken of."""
        raw = self.linear(x)
        if self.squashed:
            return self.low + (self.high - self.low) / 2 * (torch.tanh(raw) + 1)
        return raw.clamp(self.low, self.high)


class NoiseSpread(nn.Module):
    """log σ of state-dependent exploration (Raffin et al., 2021, eq. 5): σ² = x² exp(log_std)² + 1e-6.

    `expln` replaces exp by the positive function of section 4.2 there. Raises UserError where it overflows.
    """

    EPSILON = 1e-6

    def __init__(self, log_std: Float[Tensor, "F A"], expln: bool):
        nn.Module.__init__(self)
        check_spread(log_std.clamp(max=0) if expln else log_std)
        self.log_std, self.expln = nn.Parameter(log_std.float(), False), expln

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B A"]:
        """Of the features that the mean is taken of."""
        std = self.log_std.exp()
        if self.expln:
            std = torch.where(self.log_std > 0, torch.log1p(F.relu(self.log_std) + self.EPSILON) + 1, std)
        return torch.log(x.square() @ std.square() + self.EPSILON) / 2
