"""Actors: a torso and a head that tells logits, a mean and a spread, or an action in [-1, 1].

What a network returns are the numbers of a prediction: `logits` [B, A], `means` [B, A], `gaussian` and `squashed`
[B, 2A], mean and log σ. Layer names are stable: agents are read back for years (`docs/formats.md`).
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.losses import log_probs
from reincarnate.nets.dense import DenseShape, head_for, torso_for
from reincarnate.nets.histories import History
from reincarnate.nets.precision import through
from reincarnate.types import TaskSpec

ActorKind = Literal["logits", "means", "gaussian", "squashed"]


@dataclass(frozen=True)
class Spread:
    """How a Gaussian actor's log σ comes about, and its bounds.

    `free`: a vector of parameters, `initial` at first (PPO), else a head of its own (SAC). `sde`: by the features and
    a weight for each of them and each number (`NoiseHead`), of which `free` ones (PPO) are not moved by the spread,
    and whose mean is cut at ± `mean_limit` unless that is 0. `bound`: `clamp` cuts to
    [low, high] (SB3: -20, 2), `tanh` rescales tanh of the number (CleanRL: -5, 2; SimBa: -10, 2), `none` leaves it.
    """

    free: bool = False
    initial: float = 0.0
    sde: bool = False
    mean_limit: float = 0.0
    bound: Literal["none", "clamp", "tanh"] = "clamp"
    low: float = -20.0
    high: float = 2.0

    def bounded(self, log_std: Tensor) -> Tensor:
        """log σ within its bounds."""
        if self.bound == "clamp":
            return log_std.clamp(self.low, self.high)
        if self.bound == "tanh":
            return self.low + 0.5 * (self.high - self.low) * (log_std.tanh() + 1)
        return log_std


PPO_SPREAD = Spread(free=True, bound="none")


class CategoricalHead(nn.Module):
    """Logits."""

    def __init__(self, linear: nn.Linear):
        nn.Module.__init__(self)
        self.logits = linear

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B A"]:
        return self.logits(features)


class DeterministicHead(nn.Module):
    """tanh of a linear layer."""

    def __init__(self, linear: nn.Linear):
        nn.Module.__init__(self)
        self.mean = linear

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B A"]:
        return self.mean(features).tanh()


class GaussianHead(nn.Module):
    """Mean and log σ, one after the other. `tanh_mean`: the mean is a tanh, as IQL's clipped Gaussian has it."""

    def __init__(self, mean: nn.Linear, log_std: nn.Linear | None, spread: Spread, tanh_mean: bool = False):
        nn.Module.__init__(self)
        free = nn.Parameter(torch.full((mean.out_features,), spread.initial)) if log_std is None else None
        self.mean, self.log_std = mean, log_std if free is None else free
        self.spread, self.tanh_mean = spread, tanh_mean

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B AA"]:
        mean = self.mean(features).tanh() if self.tanh_mean else self.mean(features)
        free = isinstance(self.log_std, Tensor)  # a layer where the spread depends on what is seen
        log_std = self.log_std.expand_as(mean) if free else self.log_std(features)  # pyright: ignore
        return torch.cat([mean, self.spread.bounded(log_std)], -1)


class NoiseHead(nn.Module):
    """Mean and log σ of state-dependent exploration (gSDE: Raffin et al., 2021, eq. 5): σ² = x² · exp(log_std)² + 1e-6.

    x [B, F] are the features that the mean is taken of, `log_std` is [F, A]. The noise is drawn anew in each step, as
    the marginal of the paper's, which keeps one matrix of noise for some steps.
    """

    EPSILON = 1e-6

    def __init__(self, mean: nn.Linear, spread: Spread):
        nn.Module.__init__(self)
        self.mean, self.spread = mean, spread
        self.log_std = nn.Parameter(torch.full((mean.in_features, mean.out_features), spread.initial))

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B AA"]:
        limit, mean = self.spread.mean_limit, self.mean(features)
        x = features.detach() if self.spread.free else features
        log_std = torch.log(x.square() @ self.log_std.exp().square() + self.EPSILON) / 2
        return torch.cat([mean.clamp(-limit, limit) if limit else mean, log_std], -1)


class Actor(nn.Module):
    """A torso and a head; `kind` says what it tells."""

    def __init__(self, torso: nn.Module, head: nn.Module, kind: ActorKind, half: bool = False):
        nn.Module.__init__(self)
        self.torso, self.head, self.kind, self.in_bfloat16 = torso, head, kind, half

    def forward(self, obs: Tensor | History) -> Float[Tensor, "B K"]:
        return self.head(self.features(obs))

    def features(self, obs: Tensor | History) -> Float[Tensor, "B F"]:
        """What the head reads."""
        return through(self.torso, obs, self.in_bfloat16)


class ValueNetwork(nn.Module):
    """State values V(s)."""

    def __init__(self, torso: nn.Module, value: nn.Linear, half: bool = False):
        nn.Module.__init__(self)
        self.torso, self.value, self.in_bfloat16 = torso, value, half

    def forward(self, obs: Tensor | History) -> Float[Tensor, "B"]:
        return self.value(through(self.torso, obs, self.in_bfloat16))[:, 0]


class ActorCritic(nn.Module):
    """An actor and state values, with a torso each or, with `critic_torso` None, one for both."""

    def __init__(
        self, torso: nn.Module, head: nn.Module, critic_torso: nn.Module | None, value: nn.Linear, kind: ActorKind
    ):
        nn.Module.__init__(self)
        self.torso, self.head, self.critic_torso, self.value, self.kind = torso, head, critic_torso, value, kind

    def forward(self, obs: Tensor) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B"]]:
        return self.read(*self.features(obs))

    def features(self, obs: Tensor) -> tuple[Float[Tensor, "B F"], Float[Tensor, "B G"]]:
        """What the actor's head reads and what the value's does: the same where they share a torso."""
        features = self.torso(obs)
        return features, features if self.critic_torso is None else self.critic_torso(obs)

    def read(self, features: Tensor, other: Tensor) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B"]]:
        """Predictions and values of those."""
        return self.head(features), self.value(other)[:, 0]

    def tell(self, obs: Tensor) -> Float[Tensor, "B K"]:
        """The actor's part alone."""
        return self.head(self.torso(obs))


def build_actor(
    spec: TaskSpec, shape: DenseShape, kind: ActorKind, seed: int, spread: Spread | None = None, tanh_mean: bool = False
) -> Actor:
    """A fresh actor for a task, initialised from `seed` alone. UserError: an actor that does not suit its actions."""
    check_kind(spec, kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torso = torso_for(spec, shape)
        head = actor_head(torso.features, spec.actions, shape, kind, spread, tanh_mean)  # pyright: ignore
        return Actor(torso, head, kind, shape.half)


def build_value(spec: TaskSpec, shape: DenseShape, seed: int) -> ValueNetwork:
    """Fresh state values for a task, initialised from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torso = torso_for(spec, shape)
        return ValueNetwork(torso, head_for(torso.features, 1, shape, 1.0), shape.half)  # pyright: ignore


def build_actor_critic(
    spec: TaskSpec,
    actor: DenseShape,
    critic: DenseShape | None,
    kind: ActorKind,
    seed: int,
    spread: Spread = PPO_SPREAD,
) -> ActorCritic:
    """A fresh actor with state values, initialised from `seed` alone; `critic` None shares the actor's torso.

    `critic.head_gain` is the value head's. Orthogonal of gain 1 without it, where the init is orthogonal.
    """
    check_kind(spec, kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torso = torso_for(spec, actor)
        head = actor_head(torso.features, spec.actions, actor, kind, spread, False)  # pyright: ignore
        other = None if critic is None else torso_for(spec, critic)
        value = head_for((other or torso).features, 1, critic or replace(actor, head_gain=None), 1.0)  # pyright: ignore
        return ActorCritic(torso, head, other, value, kind)


def check_kind(spec: TaskSpec, kind: ActorKind) -> None:
    """Raises UserError for an actor that does not suit a task's actions."""
    if spec.continuous == (kind == "logits"):
        sort = "vectors of numbers" if spec.continuous else f"one of {spec.actions}"
        raise UserError(f"an actor that tells {kind!r} does not suit {spec.id}, whose actions are {sort}")


def actor_head(
    features: int, actions: int, shape: DenseShape, kind: ActorKind, spread: Spread | None, tanh_mean: bool
) -> nn.Module:
    """A fresh head over so many features, from torch's global generator."""
    first = head_for(features, actions, shape)
    if kind == "logits":
        return CategoricalHead(first)
    if kind == "means":
        return DeterministicHead(first)
    spread = spread or (PPO_SPREAD if kind == "gaussian" else Spread())
    if spread.sde:
        return NoiseHead(first, spread)
    return GaussianHead(first, None if spread.free else head_for(features, actions, shape), spread, tanh_mean)


# ---- drawing actions -------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """Actions of a Gaussian policy: as drawn (`base`, before tanh or clip), as played, and the log-probability."""

    action: Tensor  # [*L, A] in [-1, 1]
    base: Tensor  # [*L, A]
    log_prob: Tensor  # [*L]


def acted(kind: str, x: Float[Tensor, "*L K"], noise: Float[Tensor, "*L A"]) -> tuple[Tensor, Tensor]:
    """Actions as played and as drawn, μ + σ·noise (standard normal): `drawn` without what only learners ask."""
    mean, log_std = x.chunk(2, -1)
    base = mean + log_std.exp() * noise
    return (base.tanh() if kind == "squashed" else base.clamp(-1, 1)), base


def drawn(kind: str, x: Float[Tensor, "*L K"], noise: Float[Tensor, "*L A"]) -> Drawn:
    """μ + σ·noise (standard normal), squashed by tanh or clipped to [-1, 1]. Differentiable in x (reparametrised).

    The log-probability of a clipped action is that of the action before the clip, as PPO's codes have it.
    """
    mean, log_std = x.chunk(2, -1)
    base = mean + log_std.exp() * noise
    if kind == "squashed":
        return Drawn(base.tanh(), base, log_probs.squashed_log_prob(mean, log_std, base))
    assert kind == "gaussian", kind
    return Drawn(base.clamp(-1, 1), base, log_probs.gaussian_log_prob(mean, log_std, base))
