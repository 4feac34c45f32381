"""A frozen network behind its own preprocessing: what most imported teachers are."""

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from reincarnate.types import TeacherCard


class FrozenTeacher(nn.Module):
    """A network from raw observations to what `card.tells`; it looks at the task's own view and remembers nothing."""

    view = "student"

    def __init__(self, card: TeacherCard, network: nn.Module):
        nn.Module.__init__(self)
        self.card, self.network = card, network
        self.eval().requires_grad_(False)

    def initial_state(self, n: int) -> None:
        """No state: the network is feed-forward."""
        return None

    @torch.no_grad()
    def logits(self, obs: Tensor, state: Tensor | None) -> tuple[Float32[Tensor, "B A"], None]:
        """Raw observations [B, *O] to values, logits or continuous actions; the state is None."""
        return self.network(obs), None


def parameters_of(network: nn.Module) -> int:
    """How many numbers were learnt."""
    return sum(parameter.numel() for parameter in network.parameters())
