"""The temperature that suits a teacher: from its action gaps, which have the unit of whatever it tells."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from reincarnate.data import Dataset
from reincarnate.data.replay import TAIL
from reincarnate.errors import UserError
from reincarnate.priors.reference import PRIOR_SEED, Tick, collect
from reincarnate.seeds import stream
from reincarnate.teachers.lifts import action_gap, entropy
from reincarnate.training.players import way_of_playing
from reincarnate.types import TaskSpec, Teacher

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
    logits = _of_data(data) if data else _of_play(spec, teacher, how, tick)
    gap = float(action_gap(logits).median())
    if not 0 < gap < math.inf:
        raise UserError(f"the teacher's median action gap is {gap:g}: that gives no temperature; choose --temperature")
    tau = gap / math.log(TOP / (1 - TOP))
    own = tau if teacher_temperature is None else teacher_temperature
    top = float((logits / own).softmax(-1).amax(-1).mean())
    return Measured(tau, gap, float(entropy(logits, own).mean()), top, len(logits))


def _of_data(data: Dataset) -> torch.Tensor:
    """Logits of rows spread evenly over a dataset."""
    columns = data.rows().columns
    live = np.flatnonzero(np.asarray(columns["flags"]) & TAIL == 0)
    rows = live[:: max(1, len(live) // LOOKS)]
    return torch.from_numpy(np.asarray(columns["teacher"][rows]))


def _of_play(spec: TaskSpec, teacher: Teacher, how: str, tick: Tick) -> torch.Tensor:
    """Logits of what the teacher sees while it plays."""
    played = collect(
        spec, teacher, way_of_playing(teacher.card, how), LOOKS, 0.0, stream(PRIOR_SEED, "temperature"), tick
    )
    rows = np.concatenate([start + np.arange(n) for start, n in zip(played.base, played.added, strict=True)])
    live = rows[played.columns["flags"][rows] & TAIL == 0]
    return torch.from_numpy(played.columns["teacher"][live])
