"""A frozen network behind its own preprocessing: what most imported teachers are."""

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.nets.blocks import in_blocks
from reincarnate.teachers.heads import Acts, Bounded, Gaussian
from reincarnate.types import ACTIONS, GAUSSIAN, LOGITS, MEANS, SQUASHED, Policy, Prediction, TeacherCard, TimeStep


class Memoryless:
    """The face of a teacher that remembers nothing and looks at the task's own view; `told` does the work."""

    view, frozen = "student", True
    card: TeacherCard
    acts: Acts | None = None  # how a Gaussian becomes an action, where the files hold one

    def initial(self, n: int) -> Tensor:
        """It remembers nothing: [n, 0]."""
        return torch.zeros(n, 0)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What the teacher says of raw observations."""
        acts = self.acts
        if acts is None or not acts.spread:
            return as_prediction(self.card, self.told(step.obs)), carry
        return as_gaussian(acts, *self.distribution(step.obs)), carry  # pyright: ignore[reportArgumentType]

    def told(self, obs: Tensor) -> Tensor:
        """Raw observations [B, *O] to what the card says it tells, [B, K]."""
        raise NotImplementedError

    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Raw observations [B, *O] to mean and log σ of the base Gaussian, where `acts` says that there is one."""
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


def as_gaussian(acts: Acts, mean: Float[Tensor, "B A"], log_std: Float[Tensor, "B A"]) -> Prediction:
    """A base Gaussian as a prediction: squashed ones stay as they are, those that are clipped come to [-1, 1]."""
    if acts.squashed:
        return Prediction(SQUASHED, torch.cat([mean, log_std], -1))
    if acts.bounds is None:  # in the task's units: `fit.open_for` knows them
        return Prediction(GAUSSIAN, torch.cat([mean, log_std], -1))
    low, high = (torch.tensor(bound, dtype=torch.float32, device=mean.device) for bound in acts.bounds)
    half = (high - low) / 2
    return Prediction(GAUSSIAN, torch.cat([(mean - (high + low) / 2) / half, log_std - half.log()], -1))


class FrozenTeacher(Memoryless, nn.Module):
    """A network from raw observations to what `card.tells`; it looks at the task's own view and remembers nothing."""

    def __init__(self, card: TeacherCard, network: nn.Module):
        nn.Module.__init__(self)
        self.card, self.network = card, network
        self.eval().requires_grad_(False)

    def told(self, obs: Tensor) -> Tensor:
        """Raw observations [B, *O] to values, logits or continuous actions in the task's units, [B, K]."""
        return in_blocks(self.network, obs.to(device_of(self)))

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
        return self.network.distribution(obs.to(device_of(self)))


def device_of(module: nn.Module) -> torch.device:
    """Where a module's numbers lie; the CPU for one without any."""
    tensor = next(iter((*module.parameters(), *module.buffers())), None)
    return torch.device("cpu") if tensor is None else tensor.device


def parameters_of(network: nn.Module) -> int:
    """How many numbers were learnt."""
    return sum(parameter.numel() for parameter in network.parameters())
