"""Terms: the losses of `losses/` as values that a method hands to a student, with their hyper-parameters.

`suits`, where a term has it, are the kinds of predictions (of the student) that it can read.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from reincarnate.losses import values
from reincarnate.losses.decorrelation import By, decorrelation
from reincarnate.losses.divergences import categorical_kl_at_once, divergence
from reincarnate.losses.log_probs import log_prob_of, masked
from reincarnate.losses.policy import proximal_distillation
from reincarnate.types import BEST, LOGITS, START, VALUES, Batch, Prediction, Term

OWN_FEATURES = "own_features"
"""Among a batch's notes: the student's last hidden layer [*S, B, F], where a term `reads_features`."""
NAMES = {BEST: "anchor", START: "clone"}
"""What a divergence is called in metrics that is not from the teacher."""


def told(batch: Batch, of: str) -> Prediction:
    """What somebody said, with −∞ of actions that the task does not allow: of those nobody has learnt anything."""
    said = batch.predictions[of]
    return said if batch.mask is None else Prediction(said.kind, masked(said.x, batch.mask))


@dataclass(frozen=True)
class Distil:
    """From what a teacher says to what the student says, per example; see `divergences.divergence`.

    Of discrete actions the KL of the softened policies. Of continuous ones, which have no temperature, the KL of
    Gaussians of one kind, else the squared error of the actions in [-1, 1]; a teacher of means is a Gaussian of spread
    `std`, where that is given. `reverse`: the KL from student to teacher. `of` the student's own best, it is the anchor
    of one whose teacher leaves.
    """

    temperature: float | None  # None: measured when the run begins
    teacher_temperature: float | None
    of: str = "teacher"
    std: float | None = None
    reverse: bool = False

    @property
    def name(self) -> str:
        """What its loss is called in metrics."""
        return NAMES.get(self.of, "distil")

    def own_best(self) -> "Distil":
        """The same towards the student's own best, which is told in the student's own unit: one temperature."""
        return replace(self, teacher_temperature=self.temperature, of=BEST, std=None, reverse=False)

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        assert self.temperature and self.teacher_temperature, "a temperature that nobody has measured yet"
        return divergence(
            told(batch, self.of),
            out,
            temperature=self.temperature,
            teacher_temperature=self.teacher_temperature,
            teacher_std=self.std,
            reverse=self.reverse,
        )

    @property
    def knows_its_slope(self) -> bool:
        """Whether `at_once` has this term's derivative: of the KL from the teacher of discrete actions alone."""
        return type(self) is Distil and not self.reverse

    def at_once(self, out: Tensor, batch: Batch) -> tuple[Float[Tensor, "B"], Float[Tensor, "B A"]]:
        """The term of each example by a student's values or logits [B, A], and its derivative by them."""
        assert self.knows_its_slope and self.temperature and self.teacher_temperature
        said = told(batch, self.of).x
        return categorical_kl_at_once(said, out, self.teacher_temperature, self.temperature)

    def __str__(self) -> str:
        if self.of == BEST:
            return f"KL(own best ‖ student), τ = {_number(self.temperature)}"
        if self.of == START:
            return "KL(itself as the phase began ‖ student)"
        spread = f", σ = {self.std:g}" if self.std else ""
        taus = f"{_number(self.temperature)} / {_number(self.teacher_temperature)}"
        parties = "student ‖ teacher" if self.reverse else "teacher ‖ student"
        return f"KL({parties}), τ = {taus} (teacher){spread}"


@dataclass(frozen=True)
class Follow:
    """KL(other ‖ own) of the policies as they are, without temperatures; with `reverse` KL(own ‖ other).

    `of` another who learns at the same time (Parisotto & Salakhutdinov, 2021).
    """

    of: str
    reverse: bool = False
    name = "distil"

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        return divergence(told(batch, self.of), out, reverse=self.reverse)

    def __str__(self) -> str:
        return f"KL(own ‖ {self.of})" if self.reverse else f"KL({self.of} ‖ own)"


@dataclass(frozen=True)
class Proximal(Distil):
    """Proximal policy distillation (PPD: Spigler, 2025): the KL, weighed by the ratio that PPO clips.

    See `losses.policy.proximal_distillation`. Of prior data nobody knows who acted: there it is the KL itself.
    """

    clip: float = 0.2

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        kl = Distil.__call__(self, out, batch)
        if "log_prob" not in batch.notes:
            return kl
        log_prob = log_prob_of(out.kind, masked(out.x, batch.mask), batch.action)
        return proximal_distillation(kl, log_prob, batch.notes["log_prob"], self.clip)

    def __str__(self) -> str:
        return f"max(ρ, {1 - self.clip:g}) · {Distil.__str__(self)}"


def _number(temperature: float | None) -> str:
    return "to be told" if temperature is None else f"{temperature:g}"


@dataclass(frozen=True)
class LargeMargin:
    """The expert's action leads all others by `margin`; see `values.large_margin`.

    The expert's best action leads; where it is `of` nobody, the one that was taken in the batch.
    """

    margin: float
    all_actions: bool
    of: str | None = "teacher"
    suits = frozenset({VALUES, LOGITS})

    @property
    def name(self) -> str:
        """What its loss is called in metrics."""
        return "margin" if self.of != BEST else "anchor"

    def own_best(self) -> "LargeMargin":
        """The same with the student's own best as the expert."""
        return LargeMargin(self.margin, self.all_actions, BEST)

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        expert = told(batch, self.of).x.argmax(-1) if self.of else batch.action
        return values.large_margin(masked(out.x, batch.mask), expert, self.margin, self.all_actions)

    def __str__(self) -> str:
        rivals = "every action" if self.all_actions else "the best action"
        expert = {None: "the data's", BEST: "its own best's"}.get(self.of, "the teacher's")
        return f"margin({rivals} against {expert} + {self.margin:g})"


@dataclass(frozen=True)
class Conservative:
    """CQL(H) with a temperature: values of actions the data did not take are pushed down; `values.conservative`."""

    temperature: float
    name = "cql"
    of = None
    suits = frozenset({VALUES, LOGITS})

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        return values.conservative(masked(out.x, batch.mask), batch.action, self.temperature)

    def __str__(self) -> str:
        return f"CQL, τ = {self.temperature:g}"


@dataclass(frozen=True)
class Decorrelation:
    """What the student's own features have in common; see `losses.decorrelation`."""

    by: By = "covariance"
    of: None = None
    reads_features: bool = True

    @property
    def name(self) -> str:
        """What its loss is called in metrics."""
        return "decorrelation"

    def __call__(self, out: Prediction, batch: Batch) -> Float[Tensor, "B"]:
        assert OWN_FEATURES in batch.notes, "nobody told the features"
        return decorrelation(batch.notes[OWN_FEATURES], self.by).flatten()  # of stacked students each on its own part

    def __str__(self) -> str:
        return f"decorrelation of features by {self.by}"


def reads_features(terms: Iterable[Term]) -> bool:
    """Whether any of them must be told the features."""
    return any(getattr(term, "reads_features", False) for term in terms)
