"""A frozen network behind its own preprocessing: what most imported teachers are."""

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.teachers.heads import Acts, Bounded, Gaussian
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

    @property
    def acts(self) -> Acts | None:
        """How its base Gaussian becomes an action; None of discrete actions."""
        if not isinstance(self.network, Gaussian):
            return None
        return Acts(isinstance(self.network.action, Bounded), self.card.bounds, self.network.spread is not None)

    @torch.no_grad()
    def distribution(self, obs: Tensor) -> tuple[Float32[Tensor, "B A"], Float32[Tensor, "B A"] | None]:
        """Raw observations [B, *O] to mean and log σ of the base Gaussian, before `acts` squashes or clips it.

        log σ is None where the file has none (TD3, DDPG). UserError: discrete actions.
        """
        if not isinstance(self.network, Gaussian):
            raise UserError(f"{self.card.uri}: has discrete actions, of which there is no Gaussian")
        return self.network.distribution(obs)


def parameters_of(network: nn.Module) -> int:
    """How many numbers were learnt."""
    return sum(parameter.numel() for parameter in network.parameters())
