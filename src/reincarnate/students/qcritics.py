"""What the outputs of state-action critics mean, what they should become, and their loss: values, quantiles, atoms."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.losses import actor_critic, distributions
from reincarnate.students.critics import check_count

Outputs = Float[Tensor, "N B *K"]
Each = Float[Tensor, "B"]


@dataclass(frozen=True)
class Successor:
    """What n critics say of the successor, and what is known of the step to it.

    `entropy` is α ln π(a'|s'), taken from its value; None where the policy draws nothing. `members` are the critics
    that are asked, None: all.
    """

    out: Outputs
    reward: Each
    discount: Each
    entropy: Each | None = None
    members: Int64[Tensor, "M"] | None = None

    @property
    def asked(self) -> Outputs:
        """The outputs of the critics that are asked."""
        return self.out if self.members is None else self.out[self.members]

    @property
    def gain(self) -> Each:
        """The reward, less what the entropy of the next action is worth."""
        return self.reward if self.entropy is None else self.reward - self.discount * self.entropy


@runtime_checkable
class StateActionCritic(Protocol):
    """How the outputs [n, B, *K] of n critics are read and learnt. `outputs` is K."""

    @property
    def outputs(self) -> int: ...
    def check(self) -> None: ...
    def values(self, out: Outputs) -> Float[Tensor, "N B"]: ...
    def target(self, successor: Successor) -> Tensor: ...
    def loss(self, out: Outputs, target: Tensor) -> Each: ...


@dataclass(frozen=True)
class ExpectedReturn:
    """One number, the squared error, and the least of the critics as target (TD3, SAC)."""

    outputs = 1

    def check(self) -> None:
        """Nothing to refuse."""

    def values(self, out: Outputs) -> Float[Tensor, "N B"]:
        """The numbers themselves."""
        return out

    def target(self, successor: Successor) -> Each:
        """r + discount · (min_i Q_i − α ln π), [B]."""
        return actor_critic.bootstrapped(successor.gain, successor.discount, actor_critic.least(successor.asked))

    def loss(self, out: Outputs, target: Tensor) -> Each:
        """Σ_i (Q_i − y)²."""
        return actor_critic.squared_error(out, target)


@dataclass(frozen=True)
class TruncatedQuantiles:
    """Quantiles of all critics in one set, without the greatest (TQC: Kuznetsov et al., 2020)."""

    quantiles: int
    drop: int

    @property
    def outputs(self) -> int:
        """One for each quantile."""
        return self.quantiles

    def check(self) -> None:
        """Raise UserError where there is no distribution, or no quantile of it would be left."""
        check_count("quantiles", self.quantiles)
        if not 0 <= self.drop < self.quantiles:
            raise UserError(f"--student.drop {self.drop} must leave some of --student.quantiles {self.quantiles}")

    def values(self, out: Outputs) -> Float[Tensor, "N B"]:
        """The means."""
        return out.mean(-1)

    def target(self, successor: Successor) -> Float[Tensor, "B M"]:
        """r + discount · (z − α ln π) of the quantiles z that are left."""
        kept = actor_critic.truncated_quantiles(successor.asked, self.drop)
        return (successor.gain[:, None] + successor.discount[:, None] * kept).detach()

    def loss(self, out: Outputs, target: Tensor) -> Each:
        """Quantile Huber, κ = 1."""
        return actor_critic.quantile_error(out, target)


@dataclass(frozen=True)
class Atoms:
    """A distribution on evenly spaced returns and its cross-entropy (D4PG: Barth-Maron et al., 2018).

    The target is that of the critic whose mean is the least, as Fujimoto et al.'s minimum for distributions (FastTD3).
    """

    atoms: int
    low: float
    high: float

    @property
    def outputs(self) -> int:
        """One for each atom."""
        return self.atoms

    def check(self) -> None:
        """Raise UserError where there is no grid."""
        if self.atoms < 2 or self.low >= self.high:
            raise UserError(
                f"--student.atoms {self.atoms} from --student.low {self.low:g} to --student.high {self.high:g} "
                "make no grid: at least 2 atoms, and low below high"
            )

    def _grid(self, like: Tensor) -> Float[Tensor, "K"]:
        return distributions.support(self.low, self.high, self.atoms, like.device).to(like)

    def values(self, out: Outputs) -> Float[Tensor, "N B"]:
        """The means."""
        return distributions.categorical_mean(out, self._grid(out))

    def target(self, successor: Successor) -> Float[Tensor, "B K"]:
        """The distribution of r + discount · z, on the atoms again."""
        asked = successor.asked
        least = self.values(asked).argmin(0)
        chosen = asked[least, torch.arange(asked.shape[1], device=asked.device)]
        return distributions.project(chosen.softmax(-1), successor.gain, successor.discount, self._grid(asked))

    def loss(self, out: Outputs, target: Tensor) -> Each:
        """Σ_i cross-entropy."""
        return actor_critic.categorical_error(out, target)
