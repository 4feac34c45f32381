"""A teacher with eyes of its own: `view:KEY:ADDRESS` shows any teacher without a memory an entry of the observation.

For privileged teachers: what it was trained on is one entry of a Dict, what the student sees another (`--sees KEY`).
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_json
from reincarnate.teachers import open_teacher
from reincarnate.types import Prediction, Teacher, TimeStep


class Viewed(nn.Module):
    """A frozen teacher that looks at the task by `view`; its card says nothing of the student's observation."""

    frozen = True

    def __init__(self, teacher: Teacher, view: str, uri: str):
        nn.Module.__init__(self)
        self.teacher, self.view = teacher, view
        digest = sha256_json({"view": view, "teacher": teacher.card.sha256})
        seen = f"the entry {view!r} of the observation; {teacher.card.preprocessing}"
        own = {"obs_shape": None, "obs_dtype": None, "preprocessing": seen}
        self.card = replace(teacher.card, uri=uri, sha256=digest, **own)

    def initial(self, n: int) -> Tensor:
        """The memory of n new episodes."""
        return self.teacher.initial(n)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What the teacher says of its own view. Raises UserError where that has another shape than it knows."""
        obs, card = step.seen(self.view), self.teacher.card
        obs = obs.float() if obs.dtype == torch.float64 else obs  # as tasks give vectors to students
        if card.obs_shape is not None and tuple(obs.shape[1:]) != tuple(card.obs_shape):
            shapes = f"the view {self.view!r} shows {tuple(obs.shape[1:])}, it sees {tuple(card.obs_shape)}"
            raise UserError(f"the teacher {self.card.uri} does not fit: {shapes}")
        return self.teacher.predict(step._replace(obs=obs), carry)


def open_address(rest: str, actions: int | None = None) -> Viewed:
    """The teacher that `KEY:ADDRESS` names. Raises UserError where it has a view of its own already."""
    view, colon, address = rest.partition(":")
    if not (view and colon and address):
        raise UserError(f"view:{rest}: write view:KEY:ADDRESS, KEY an entry of the task's observation")
    teacher = open_teacher(address, actions)
    if teacher.view != "student":
        raise UserError(f"view:{rest}: {address} looks at {teacher.view!r} by itself")
    return Viewed(teacher, view, f"view:{rest}")
