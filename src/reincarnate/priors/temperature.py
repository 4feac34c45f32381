"""The temperature that suits a teacher: from its action gaps, which have the unit of whatever it tells.

Of continuous actions the teacher's spread, which a policy of another kind is given around its actions.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from reincarnate.data import Dataset
from reincarnate.data.replay import TAIL
from reincarnate.errors import UserError
from reincarnate.priors.played import PRIOR_SEED, Tick, collect
from reincarnate.seeds import stream
from reincarnate.teachers.lifts import action_gap, entropy
from reincarnate.training.players import way_of_playing
from reincarnate.types import GAUSSIAN, SQUASHED, TaskSpec, Teacher

TOP = 0.9  # what the best action of two gets at the median gap: decided, and the second best is still told
LOOKS = 4096  # observations that are measured


@dataclass(frozen=True)
class Measured:
    """τ, and what the teacher's policy softmax(logits / τ) is like with it: means over the observations."""

    temperature: float
    median_gap: float
    entropy: float
    top_probability: float
    observations: int


def measure(
    spec: TaskSpec, teacher: Teacher, how: str, data: Dataset | None, teacher_temperature: float | None, tick: Tick
) -> Measured:
    """τ = median gap / ln(TOP / (1 − TOP)): the best of two actions gets probability TOP at the median gap.

    From the logits in `data`, or from a short play. Entropy (nats) and probability are those of the teacher's policy at
    `teacher_temperature`, or at τ. Raises UserError where the median gap is 0.
    """
    _, logits = _told(spec, teacher, how, data, tick)
    gap = float(action_gap(logits).median())
    if not 0 < gap < math.inf:
        raise UserError(f"the teacher's median action gap is {gap:g}: that gives no temperature; choose --temperature")
    tau = gap / math.log(TOP / (1 - TOP))
    own = tau if teacher_temperature is None else teacher_temperature
    top = float((logits / own).softmax(-1).amax(-1).mean())
    return Measured(tau, gap, float(entropy(logits, own).mean()), top, len(logits))


@dataclass(frozen=True)
class MeasuredSpread:
    """σ in [-1, 1]: the median of the teacher's, over observations and the numbers of an action."""

    std: float
    observations: int


def measure_spread(spec: TaskSpec, teacher: Teacher, how: str, data: Dataset | None, tick: Tick) -> MeasuredSpread:
    """The median σ of a teacher's actions, in `data` or in a short play. UserError: it tells no spread.

    Of a squashed Gaussian σ · (1 − tanh² μ): its spread after tanh, to first order.
    """
    kind, x = _told(spec, teacher, how, data, tick)
    if kind not in (GAUSSIAN, SQUASHED):
        raise UserError(
            f"--temperature auto: the teacher {teacher.card.uri} tells {kind} and no spread; --teacher-std names one"
        )
    mean, log_std = x.chunk(2, -1)
    std = log_std.exp() * (1 - mean.tanh().square() if kind == SQUASHED else 1)
    return MeasuredSpread(float(std.median()), len(x))


def _told(spec: TaskSpec, teacher: Teacher, how: str, data: Dataset | None, tick: Tick) -> tuple[str, torch.Tensor]:
    """The kind of a teacher's predictions, and some thousand of them: of `data`, else of its own play."""
    return _of_data(data) if data else _of_play(spec, teacher, how, tick)


def _of_data(data: Dataset) -> tuple[str, torch.Tensor]:
    """Predictions of rows spread evenly over a dataset."""
    table = data.rows()
    columns = table.columns
    live = np.flatnonzero(np.asarray(columns["flags"]) & TAIL == 0)
    rows = live[:: max(1, len(live) // LOOKS)]
    return table.kinds["teacher"], torch.from_numpy(np.asarray(columns["teacher"][rows]))


def _of_play(spec: TaskSpec, teacher: Teacher, how: str, tick: Tick) -> tuple[str, torch.Tensor]:
    """Predictions of what the teacher sees while it plays."""
    played = collect(
        spec, teacher, way_of_playing(teacher.card, how), LOOKS, 0.0, stream(PRIOR_SEED, "temperature"), tick
    )
    rows = np.concatenate([start + np.arange(n) for start, n in zip(played.base, played.added, strict=True)])
    live = rows[played.columns["flags"][rows] & TAIL == 0]
    return played.kinds["teacher"], torch.from_numpy(played.columns["teacher"][live])
