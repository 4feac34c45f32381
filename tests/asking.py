"""Asking a teacher about observations, and cutting a stored dataset, in one line."""

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.dataset import Dataset
from reincarnate.data.layouts import Transitions
from reincarnate.data.memory import Memory
from reincarnate.types import CONTINUOUS, Batch, Prediction, TeacherCard, TimeStep


def says(teacher, obs: Tensor, carry: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What it says of observations in the middle of an episode, whichever view it wants, and its memory after that.

    Of continuous actions the one that it would take, in the task's units, a Gaussian's clipped where bounds are known.
    """
    carry = teacher.initial(len(obs)) if carry is None else carry
    step = TimeStep(obs, torch.zeros(len(obs), dtype=torch.bool), lambda name: obs)
    said, carry = teacher.predict(step, carry)
    return in_units(teacher.card, said) if said.kind in CONTINUOUS else said.x, carry


def in_units(card: TeacherCard, said: Prediction) -> Tensor:
    """The middle of a prediction of continuous actions, in the task's units."""
    mean = said.x if said.kind == "means" else said.x.chunk(2, -1)[0]
    mean = mean.tanh() if said.kind == "squashed" else mean
    if card.bounds is None:
        return mean
    mean = mean.clamp(-1, 1) if said.kind == "gaussian" else mean
    low, high = (torch.tensor(bound) for bound in card.bounds)
    return mean * (high - low) / 2 + (high + low) / 2


class Cut:
    """A dataset's rows, and its transitions."""

    def __init__(self, dataset: Dataset, n_step: int, gamma: float):
        self.rows, self._layout = dataset.rows(), Transitions(n_step, gamma)
        self.columns = self.rows.columns

    def gather(self, position: np.ndarray) -> Batch:
        """Those that begin at these positions, with a teacher's predictions where it has some."""
        return self._layout.gather(self.rows, 0, position, list(self.rows.kinds))

    def sample(self, n: int, rng: np.random.Generator) -> Batch:
        """Some."""
        return Memory(self.rows, self._layout).sample(n, rng)


def cut(dataset: Dataset, n_step: int = 1, gamma: float = 1.0) -> Cut:
    """A dataset cut into transitions."""
    return Cut(dataset, n_step, gamma)
