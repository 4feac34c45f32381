"""A student as it was at one moment: a frozen policy that others, or its own later self, can listen to."""

import torch
from torch import Tensor

from reincarnate.types import Policy, Student


class Snapshot:
    """A copy of a student's weights and the policy that they make, on the student's device."""

    def __init__(self, student: Student, weights: dict[str, Tensor]):
        network = student.settings.network(student.spec).to(student.device)
        with torch.no_grad():
            network.load_state_dict(weights)
        self._network = network.requires_grad_(False).eval()
        self.policy: Policy = student.settings.policy(student.spec, self._network)

    def weights(self) -> dict[str, Tensor]:
        """The parameters by name, for a checkpoint."""
        return {name: value.detach().contiguous() for name, value in self._network.state_dict().items()}
