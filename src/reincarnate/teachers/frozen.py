"""A frozen network behind its own preprocessing: what most imported teachers are."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reincarnate.types import ACTIONS, LOGITS, MEANS, Policy, Prediction, TeacherCard, TimeStep


class Memoryless:
    """The face of a teacher that remembers nothing and looks at the task's own view; `told` does the work."""

    view, frozen = "student", True
    card: TeacherCard

    def initial(self, n: int) -> Tensor:
        """It remembers nothing: [n, 0]."""
        return torch.zeros(n, 0)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What the teacher says of raw observations."""
        return as_prediction(self.card, self.told(step.obs)), carry

    def told(self, obs: Tensor) -> Tensor:
        """Raw observations [B, *O] to what the card says it tells, [B, K]."""
        raise NotImplementedError


def why_watching(policy: Policy) -> str | None:
    """Why a policy must see every step as it happens, so that it cannot be asked about stored observations; or None."""
    if policy.view != "student":
        return f"sees the task by a view of its own ({policy.view})"
    return "has a memory" if policy.initial(1).shape[-1] else None


def as_prediction(card: TeacherCard, told: Float[Tensor, "B K"]) -> Prediction:
    """What a teacher told as a prediction: actions it only names are logits, means lie in [-1, 1]."""
    if card.tells == MEANS and card.bounds is not None:
        low, high = (torch.tensor(bound, dtype=torch.float32, device=told.device) for bound in card.bounds)
        return Prediction(MEANS, (told - (high + low) / 2) / ((high - low) / 2))
    return Prediction(LOGITS if card.tells == ACTIONS else card.tells, told)


class FrozenTeacher(Memoryless, nn.Module):
    """A network from raw observations to what `card.tells`; it looks at the task's own view and remembers nothing."""

    def __init__(self, card: TeacherCard, network: nn.Module):
        nn.Module.__init__(self)
        self.card, self.network = card, network
        self.eval().requires_grad_(False)

    def told(self, obs: Tensor) -> Tensor:
        """Raw observations [B, *O] to values, logits or continuous actions in the task's units, [B, K]."""
        return self.network(obs.to(device_of(self)))


def device_of(module: nn.Module) -> torch.device:
    """Where a module's numbers lie; the CPU for one without any."""
    tensor = next(iter((*module.parameters(), *module.buffers())), None)
    return torch.device("cpu") if tensor is None else tensor.device


def parameters_of(network: nn.Module) -> int:
    """How many numbers were learnt."""
    return sum(parameter.numel() for parameter in network.parameters())
