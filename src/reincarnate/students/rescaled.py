"""R2D2's critic: a network that tells returns on a squeezed scale, so that rewards need no clipping."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.losses import values
from reincarnate.students.critics import Arguments
from reincarnate.types import Batch


@dataclass(frozen=True)
class Rescaled:
    """One number per action, h(c · expected return) of `values.rescale` (Kapturowski et al., 2019, §2.3, where c = 1).

    It learns towards h(c · reward + discount · h⁻¹(next)); the loss is Huber's with δ = 1. Whoever asks for values is
    told h⁻¹ of the outputs / c, so that teachers and terms meet returns.
    """

    eps: float
    scale: float = 1.0  # c
    outputs = 1
    implicit = False

    def values(self, out: Tensor) -> Float[Tensor, "B A"]:
        """Expected returns."""
        return values.unrescale(out, self.eps) / self.scale

    def target(self, next_out: Tensor | None, select: Int64[Tensor, "B"] | None, batch: Batch) -> Float[Tensor, "B"]:
        """h(c · reward + discount · h⁻¹(output of the next action))."""
        reward = self.scale * batch.reward
        if next_out is None:
            return values.rescale(reward, self.eps)
        next_out = values.max_value(next_out) if select is None else values.pick(next_out, select)
        return values.rescale(reward + batch.discount * values.unrescale(next_out, self.eps), self.eps)

    def loss(self, out: Tensor, batch: Batch, target: Tensor, arguments: Arguments) -> Float[Tensor, "B"]:
        """`values.q_learning` on the squeezed scale."""
        return values.q_learning(out, batch.action, target)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Arguments, Arguments]:
        """Nothing for the online network, nothing for the target network."""
        return (), ()

    def at_rest(self, n: int) -> Arguments:
        """Nothing."""
        return ()

    def to(self, device: torch.device) -> Any:
        """The same: it has no tensors."""
        return self

    def check(self) -> None:
        """Raises UserError for an ε or a c whose h has no inverse."""
        for flag, value in (("rescale-eps", self.eps), ("reward-scale", self.scale)):
            if not 0 < value < math.inf:
                raise UserError(f"--student.{flag} must be a number above 0, not {value:g}")
