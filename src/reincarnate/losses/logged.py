"""Terms of methods that learn from logged actions: cloning, advantage-weighted regression, CQL for continuous actions.

As in `losses.terms`. `wants` names what the student's critics note of a batch first (`students.judging`).
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from reincarnate.losses.divergences import action_error, greedy_action
from reincarnate.losses.log_probs import log_prob_of_data, masked
from reincarnate.losses.offline import exponential_weight, sampled_conservative, weighted_imitation
from reincarnate.types import GAUSSIAN, LOGITS, MEANS, SQUASHED, Batch, Prediction

ADVANTAGE, JUDGED = "advantage", "judged"
"""What terms want noted of a batch: A(s, a) of its actions; a critic's values of many actions at each state."""
RETURN = "return"
"""A column of stored rows: the discounted sum of the rewards that followed in the episode, −∞ while it is not over."""


@dataclass(frozen=True)
class Clone:
    """Behaviour cloning: −ln π(a|s) of the batch's action, or the mean squared error of actions in [-1, 1].

    Where only one action is told (`means`) both are squared errors.
    """

    loss: Literal["likelihood", "error"] = "likelihood"
    name = "cloning"
    of = None
    suits = frozenset({LOGITS, MEANS, GAUSSIAN, SQUASHED})
    instead = "dqfd --expert logged, or pretrain"

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        """How unlikely the student finds what was done."""
        if out.kind == MEANS or (self.loss == "error" and out.kind != LOGITS):
            return action_error(greedy_action(out.kind, out.x), batch.action)
        return -log_prob_of_data(out.kind, masked(out.x, batch.mask), batch.action)

    def __str__(self) -> str:
        return "−ln π of the data's action" if self.loss == "likelihood" else "(the data's action − the student's)²"


@dataclass(frozen=True)
class AdvantageWeighted:
    """−min(exp(scale·A), cap)·ln π(a|s): AWAC's and IQL's actor (see `losses.offline`)."""

    scale: float
    cap: float = 100.0
    name = "weighted_cloning"
    of = None
    suits = frozenset({MEANS, SQUASHED})
    instead = "bc, or of action values pretrain"
    wants = ADVANTAGE

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        """By the advantages that were noted."""
        weight = exponential_weight(batch.notes[ADVANTAGE], self.scale, self.cap)
        return weighted_imitation(log_prob_of_data(out.kind, out.x, batch.action), weight)

    def __str__(self) -> str:
        return f"−min(exp({self.scale:g}·A), {self.cap:g}) ln π of the batch's action"


@dataclass(frozen=True)
class SampledConservative:
    """CQL(H) of a critic by importance sampling; `calibrated`: Cal-QL (see `losses.offline.sampled_conservative`).

    It speaks to the critics, and is called once for each. So many `actions` of each kind: uniform, of the policy at s,
    and of the policy at s'.
    """

    actions: int = 10
    calibrated: bool = True
    name = "conservative"
    of = None
    suits = frozenset({SQUASHED})
    instead = "td3bc, awac or iql, or of action values pretrain"
    wants = JUDGED

    @property
    def columns(self) -> frozenset[str]:
        """What must be known of stored rows."""
        return frozenset({RETURN}) if self.calibrated else frozenset()

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        """Of one critic, whose values were noted."""
        notes, bound = batch.notes, batch.notes[RETURN] if self.calibrated else None
        judged = (notes[f"{JUDGED}.{of}"] for of in ("data", "random", "policy", "log_prob"))
        return sampled_conservative(*judged, components=batch.action.shape[-1], lower_bound=bound)

    def __str__(self) -> str:
        return f"CQL{' above the returns of the data (Cal-QL)' if self.calibrated else ''} of the critics"
