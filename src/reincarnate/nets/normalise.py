"""Running normalisation of observations and rewards; the statistics are buffers, and so part of an agent's weights."""

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

EPSILON = 1e-8  # added to the variance; SB3's VecNormalize, CleanRL and Gymnasium agree
CLIP = 10.0
FIRST_COUNT = 1e-4  # what the mean 0 and the variance 1 of a newborn weigh, in observations


class Moments(nn.Module):
    """Mean and variance of a stream, float64[*O], and how much of it was seen; part by part, in any order."""

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...]):
        nn.Module.__init__(self)
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(FIRST_COUNT, dtype=torch.float64))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in [n, *O]."""
        x = x.to(torch.float64)
        count = x.new_full((), len(x))  # filled where it lies: nothing is brought from the host
        self.merge(x.mean(0), x.var(0, correction=0), count)

    @torch.no_grad()
    def merge(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        """Take in another stream's moments, population variances (Chan et al., 1979, the parallel formula)."""
        total, shift = self.count + count, mean - self.mean
        spread = self.var * self.count + var * count + shift.square() * self.count * count / total
        self.mean.add_(shift * count / total)
        self.var.copy_(spread / total)
        self.count.copy_(total)

    @property
    def scale(self) -> Tensor:
        """√(var + ε), float64[*O]."""
        return (self.var + EPSILON).sqrt()


class ObservationNorm(nn.Module):
    """clip((obs − mean)/√(var + ε), ±clip). It learns by `update` alone, so that evaluation and fine-tuning freeze it.

    In float64 inside, float32 outside, as SB3's VecNormalize.
    """

    def __init__(self, obs_shape: tuple[int, ...], clip: float = CLIP):
        nn.Module.__init__(self)
        self.moments, self.clip = Moments(obs_shape), clip

    def forward(self, obs: Tensor) -> Float32[Tensor, "..."]:
        """Observations [*L, *O] of any dtype."""
        shifted = obs.to(torch.float64) - self.moments.mean
        return (shifted / self.moments.scale).clamp(-self.clip, self.clip).float()

    def update(self, obs: Tensor) -> None:
        """Take in [n, *O]."""
        self.moments.update(obs)


class RewardNorm(nn.Module):
    """clip(r/√(var + ε), ±clip), the variance that of the running discounted return; no mean is taken away.

    `running` float64[n], each copy's return so far, is where a run stands, not part of the weights: who resumes a run
    keeps it beside them.
    """

    running: Tensor

    def __init__(self, copies: int, gamma: float, clip: float = CLIP):
        nn.Module.__init__(self)
        self.moments, self.gamma, self.clip = Moments(()), gamma, clip
        self.register_buffer("running", torch.zeros(copies, dtype=torch.float64), persistent=False)

    def forward(self, reward: Tensor) -> Float32[Tensor, "..."]:
        """Rewards of any shape."""
        return (reward.to(torch.float64) / self.moments.scale).clamp(-self.clip, self.clip).float()

    @torch.no_grad()
    def update(self, reward: Float[Tensor, "n"], ends: Bool[Tensor, "n"]) -> Float32[Tensor, "n"]:
        """Take in one step of every copy and say its rewards; `ends`: the episode is over after it, however."""
        self.running.mul_(self.gamma).add_(reward)
        self.moments.update(self.running)
        scaled = self(reward)
        self.running.masked_fill_(ends, 0)
        return scaled

    @torch.no_grad()
    def over(self, reward: Float[Tensor, "n T"], ends: Bool[Tensor, "n T"]) -> Float32[Tensor, "n T"]:
        """A rollout: each reward is scaled by what was known when it came, as by `update` step by step, but at once."""
        x = self._returns(reward.to(torch.float64), ends)
        shift = x.mean()  # sums of squares about it lose no digits
        mean, var, before = self.moments.mean - shift, self.moments.var, self.moments.count
        count = before + x.shape[0] * torch.arange(1, x.shape[1] + 1, device=x.device)
        first = (before * mean + (x - shift).sum(0).cumsum(0)) / count
        second = (before * (var + mean.square()) + (x - shift).square().sum(0).cumsum(0)) / count
        var = (second - first.square()).clamp(min=0)
        self.moments.mean.copy_(first[-1] + shift)
        self.moments.var.copy_(var[-1])
        self.moments.count.copy_(count[-1])
        return (reward.to(torch.float64) / (var + EPSILON).sqrt()).clamp(-self.clip, self.clip).float()

    def _returns(self, reward: Tensor, ends: Tensor) -> Tensor:
        """Each copy's return so far, after each step of a rollout."""
        running, out = self.running.clone(), []
        for r, goes_on in zip(reward.unbind(1), (~ends).unbind(1), strict=True):
            out.append(torch.add(r, running, alpha=self.gamma))
            running = out[-1] * goes_on
        self.running.copy_(running)
        return torch.stack(out, 1)
