"""What an on-policy student does: a draw from what it says, in the task's own units."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from torch import Tensor

from reincarnate.data.layouts import from_unit
from reincarnate.students import exploration
from reincarnate.types import LOGITS, NOTHING, TaskSpec

BASE = "base"  # a note of a step: a Gaussian's draw before the clip or tanh


def draw(
    spec: TaskSpec, kind: str, x: Float[Tensor, "n K"], mask: Tensor | None, rng: np.random.Generator
) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """Actions [n] or [n, A] drawn by a prediction on any device, and what is to be noted: of Gaussians `base` [n, A].

    Raises Unsound where the prediction is NaN or infinite.
    """
    said = exploration.to_host(x)
    if not math.isfinite(np.add.reduce(said, None)):
        exploration.sound(x)
    if kind == LOGITS:
        logits = said if mask is None else np.where(mask.numpy(), said, -np.inf)
        return (logits + rng.gumbel(size=logits.shape)).argmax(-1), NOTHING  # Gumbel-max: ~ softmax
    mean, log_std = said[:, : spec.actions], said[:, spec.actions :]
    with np.errstate(over="ignore"):  # of a spread; `from_unit` bounds what is done
        base = mean + np.exp(log_std) * rng.standard_normal(mean.shape, np.float32)
    return from_unit(spec, np.tanh(base) if kind == "squashed" else base), {BASE: base}
