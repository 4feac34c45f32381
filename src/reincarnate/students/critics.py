"""What a value network's outputs mean: how they are read as action values, what they learn towards, and their loss.

A critic is a value object of pure functions; the student (`students/value.py`) does the rest. Outputs are [B, A] for
scalar critics and [B, A, K] for distributional ones.
"""

import copy
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.losses import distributions, values
from reincarnate.types import Batch

CPU = torch.device("cpu")
FRACTIONS = 4096  # that IQN may be asked at: an agent's file may come from anybody, and each costs memory
MOST_OUTPUTS = 100_000  # of an action; those published have 51 to 200
Arguments = tuple[Tensor, ...]
"""What a network's forward pass takes besides observations: IQN's quantile fractions, else nothing."""


@runtime_checkable
class Critic(Protocol):
    """`outputs` is K, the numbers per action; `implicit`: the network is asked at fractions. `select` are the next
    actions where the online network chooses them (double Q-learning), else None.
    """

    @property
    def outputs(self) -> int: ...
    @property
    def implicit(self) -> bool: ...
    def values(self, out: Tensor) -> Float[Tensor, "B A"]: ...
    def target(self, next_out: Any, select: Int64[Tensor, "B"] | None, batch: Batch) -> Tensor: ...
    def loss(self, out: Tensor, batch: Batch, target: Tensor, arguments: Arguments) -> Float[Tensor, "B"]: ...
    def draw(self, n: int, rng: np.random.Generator) -> tuple[Arguments, Arguments]: ...
    def at_rest(self, n: int) -> Arguments: ...
    def check(self) -> None: ...
    def to(self, device: torch.device) -> "Critic": ...


def _refuse(wrong: bool, what: str) -> None:
    if wrong:
        raise UserError(what)


def check_count(name: str, count: int) -> None:
    """Raise UserError for outputs that are too few, or more than any network has; before tensors are made of them.

    Networks of one output a state have no axis of atoms or quantiles.
    """
    _refuse(count < 2, f"--student.{name} {count} is too small; at least 2 are needed")
    _refuse(count > MOST_OUTPUTS, f"--student.{name} {count} is too many; at most {MOST_OUTPUTS:,}")


def _check_atoms(low: float, high: float) -> None:
    """Raise UserError where atoms do not span an interval."""
    _refuse(low >= high, f"--student.low {low:g} must be below --student.high {high:g}")


def span(settings: Any) -> tuple[float, float]:
    """Where the atoms begin and end: as told, else as usual."""
    return spanned(settings.usual_support, settings.low, settings.high)


def spanned(usual: tuple[float, float], low: float | None, high: float | None) -> tuple[float, float]:
    """The ends that were told, and for others (None) the usual ones, or as far beyond as usual."""
    width = usual[1] - usual[0]
    ends = (usual[0] if low is None else low, usual[1] if high is None else high)
    if ends[0] >= ends[1] and high is None:
        return float(ends[0]), float(ends[0] + width)
    if ends[0] >= ends[1] and low is None:
        return float(ends[1] - width), float(ends[1])
    return float(ends[0]), float(ends[1])


def ends(critic: Any, target: Tensor) -> tuple[float, float] | None:
    """The share of the targets' mass on the first and on the last atom; None of a critic without such."""
    if not hasattr(critic, "atoms"):
        return None
    return float(target[..., 0].mean()), float(target[..., -1].mean())


def chosen(out: Float[Tensor, "B A K"], action: Int64[Tensor, "B"]) -> Float[Tensor, "B K"]:
    """The outputs of the action taken, per row."""
    return out.gather(1, action[:, None, None].expand(-1, 1, out.shape[-1]))[:, 0]


class _Deterministic:
    """Critics whose networks take observations alone."""

    implicit = False

    def to(self, device: torch.device) -> Any:
        """The same with its tensors on a device."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                object.__setattr__(moved, name, value.to(device))
        return moved

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Arguments, Arguments]:
        """Nothing for the online network, nothing for the target network."""
        return (), ()

    def at_rest(self, n: int) -> Arguments:
        """Nothing."""
        return ()

    def check(self) -> None:
        """Any setting will do."""


@dataclass(frozen=True)
class Expected(_Deterministic):
    """One number per action, its expected return (Mnih et al., 2015); the loss is Huber's with δ = 1."""

    outputs = 1

    def values(self, out: Tensor) -> Float[Tensor, "B A"]:
        """The outputs themselves."""
        return out

    def target(self, next_out: Tensor | None, select: Int64[Tensor, "B"] | None, batch: Batch) -> Float[Tensor, "B"]:
        """reward + discount · value of the next action; the reward alone where the batch has no successors."""
        if next_out is None:
            return batch.reward
        next_value = values.max_value(next_out) if select is None else values.pick(next_out, select)
        return batch.reward + batch.discount * next_value

    def loss(self, out: Tensor, batch: Batch, target: Tensor, arguments: Arguments) -> Float[Tensor, "B"]:
        """`values.q_learning`."""
        return values.q_learning(out, batch.action, target)


@dataclass(frozen=True)
class Categorical(_Deterministic):
    """C51 (Bellemare et al., 2017): logits over `atoms` evenly spaced returns from `low` to `high`."""

    atoms: int
    low: float
    high: float
    support: Float32[Tensor, "K"] = field(init=False, repr=False, compare=False)  # the returns the atoms stand for

    @property
    def outputs(self) -> int:
        """One logit per atom."""
        return self.atoms

    def __post_init__(self):
        check_count("atoms", self.atoms)
        # made here, once: made later, it could be made while a program is traced, and be no real tensor
        object.__setattr__(self, "support", distributions.support(self.low, self.high, self.atoms))

    def values(self, out: Tensor) -> Float[Tensor, "B A"]:
        """Expected returns."""
        return distributions.categorical_mean(out, self.support)

    def target(self, next_out: Tensor, select: Int64[Tensor, "B"] | None, batch: Batch) -> Float[Tensor, "B K"]:
        """The next action's distribution, discounted, shifted and projected onto the support."""
        action = self.values(next_out).argmax(-1) if select is None else select
        probabilities = chosen(next_out, action).softmax(-1)
        return distributions.project(probabilities, batch.reward, batch.discount, self.support)

    def loss(self, out: Tensor, batch: Batch, target: Tensor, arguments: Arguments) -> Float[Tensor, "B"]:
        """Cross-entropy to the projected distribution."""
        return distributions.categorical_cross_entropy(chosen(out, batch.action), target)

    def check(self) -> None:
        """Refuse atoms that span no interval. Raises UserError."""
        _check_atoms(self.low, self.high)


@dataclass(frozen=True)
class Histogram(_Deterministic):
    """HL-Gauss (Farebrother et al., 2024): logits over bins, trained towards a Gaussian around the scalar target.

    `sigma` is the Gaussian's standard deviation in bin widths (0.75 there).
    """

    atoms: int
    low: float
    high: float
    sigma: float
    support: Float32[Tensor, "K"] = field(init=False, repr=False, compare=False)  # the bins' centres

    @property
    def outputs(self) -> int:
        """One logit per bin."""
        return self.atoms

    def __post_init__(self):
        check_count("atoms", self.atoms)
        object.__setattr__(self, "support", distributions.support(self.low, self.high, self.atoms))

    def values(self, out: Tensor) -> Float[Tensor, "B A"]:
        """Expected returns."""
        return distributions.categorical_mean(out, self.support)

    def target(self, next_out: Tensor, select: Int64[Tensor, "B"] | None, batch: Batch) -> Float[Tensor, "B K"]:
        """The scalar target of Q-learning, as a histogram."""
        next_q = self.values(next_out)
        next_value = values.max_value(next_q) if select is None else values.pick(next_q, select)
        width = (self.high - self.low) / (self.atoms - 1)
        return distributions.hl_gauss(batch.reward + batch.discount * next_value, self.support, self.sigma * width)

    def loss(self, out: Tensor, batch: Batch, target: Tensor, arguments: Arguments) -> Float[Tensor, "B"]:
        """Cross-entropy to the histogram."""
        return distributions.categorical_cross_entropy(chosen(out, batch.action), target)

    def check(self) -> None:
        """Refuse atoms that span no interval, and a Gaussian without width. Raises UserError."""
        _check_atoms(self.low, self.high)
        _refuse(self.sigma <= 0, f"--student.sigma must be above 0, not {self.sigma:g}")


@dataclass(frozen=True)
class Quantiles(_Deterministic):
    """QR-DQN (Dabney et al., 2018a): `count` quantiles of the return at the midpoints of equal probabilities."""

    count: int
    kappa: float
    fractions: Float32[Tensor, "K"] = field(init=False, repr=False, compare=False)  # τ of each quantile

    @property
    def outputs(self) -> int:
        """One number per quantile."""
        return self.count

    def __post_init__(self):
        check_count("quantiles", self.count)
        object.__setattr__(self, "fractions", distributions.midpoints(self.count))

    def values(self, out: Tensor) -> Float[Tensor, "B A"]:
        """Means over the quantiles."""
        return out.mean(-1)

    def target(self, next_out: Tensor, select: Int64[Tensor, "B"] | None, batch: Batch) -> Float[Tensor, "B K"]:
        """The next action's quantiles, discounted and shifted."""
        return _moved_quantiles(next_out, select, batch)

    def loss(self, out: Tensor, batch: Batch, target: Tensor, arguments: Arguments) -> Float[Tensor, "B"]:
        """Quantile Huber loss."""
        quantiles = chosen(out, batch.action)
        return distributions.quantile_huber(quantiles, self.fractions.expand_as(quantiles), target, self.kappa)

    def check(self) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        _refuse(self.kappa < 0, "--student.kappa must not be negative")


@dataclass(frozen=True)
class ImplicitQuantiles:
    """IQN (Dabney et al., 2018b): quantiles at any fraction the network is asked for.

    Learning asks at `samples` random fractions for the prediction and as many for the target. Values are means over
    the fractions asked for: the same fractions choose the next action and tell its quantiles, where the paper draws
    others to choose by; with double Q-learning the online network chooses at the midpoints. Acting asks at `acting`
    midpoints where the paper draws them: no noise, no generator.
    """

    samples: int
    acting: int
    kappa: float
    device: torch.device = CPU
    outputs = 1
    implicit = True

    def to(self, device: torch.device) -> "ImplicitQuantiles":
        """The same, drawing its fractions on a device."""
        return replace(self, device=device)

    def values(self, out: Tensor) -> Float[Tensor, "B A"]:
        """Means over the quantiles asked for."""
        return out.mean(-1)

    def target(self, next_out: Tensor, select: Int64[Tensor, "B"] | None, batch: Batch) -> Float[Tensor, "B K"]:
        """The next action's quantiles, discounted and shifted."""
        return _moved_quantiles(next_out, select, batch)

    def loss(self, out: Tensor, batch: Batch, target: Tensor, arguments: Arguments) -> Float[Tensor, "B"]:
        """Quantile Huber loss at the fractions that were drawn."""
        return distributions.quantile_huber(chosen(out, batch.action), arguments[0], target, self.kappa)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Arguments, Arguments]:
        """Fractions [n, samples] for the online and for the target network."""
        both = torch.from_numpy(rng.random((2, n, self.samples), np.float32)).to(self.device)
        return (both[0],), (both[1],)

    def at_rest(self, n: int) -> Arguments:
        """The midpoints, for every row."""
        return (distributions.midpoints(self.acting).to(self.device).expand(n, -1),)

    def check(self) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        wrong = not 1 <= min(self.samples, self.acting) <= max(self.samples, self.acting) <= FRACTIONS
        _refuse(wrong, f"--student.samples and --student.acting must be at least 1, at most {FRACTIONS}")
        _refuse(self.kappa < 0, "--student.kappa must not be negative")


def _moved_quantiles(
    next_out: Float[Tensor, "B A K"], select: Int64[Tensor, "B"] | None, batch: Batch
) -> Float[Tensor, "B K"]:
    action = next_out.mean(-1).argmax(-1) if select is None else select
    return batch.reward[:, None] + batch.discount[:, None] * chosen(next_out, action)
