"""What an on-policy student keeps: an actor with state values and statistics."""

from torch import Tensor

from reincarnate.nets.actors import ActorCritic, ActorKind, Spread, build_actor_critic
from reincarnate.nets.dense import DenseShape
from reincarnate.nets.normalise import ObservationNorm, RewardNorm
from reincarnate.types import TaskSpec


def kind_for(spec: TaskSpec) -> ActorKind:
    """What an on-policy student tells of a task: logits, or a Gaussian of continuous actions."""
    return "gaussian" if spec.continuous else "logits"


class PolicyNetwork(ActorCritic):
    """An actor with state values, and what it has learnt of the size of observations and rewards."""

    obs_norm: ObservationNorm | None
    reward_norm: RewardNorm | None

    def __init__(self, parts: ActorCritic, obs_norm: ObservationNorm | None, reward_norm: RewardNorm | None):
        kind: ActorKind = parts.kind  # pyright: ignore[reportAssignmentType]
        ActorCritic.__init__(self, parts.torso, parts.head, parts.critic_torso, parts.value, kind)
        self.obs_norm, self.reward_norm = obs_norm, reward_norm

    @classmethod
    def fresh(
        cls,
        spec: TaskSpec,
        actor: DenseShape,
        critic: DenseShape | None,
        kind: ActorKind,
        seed: int,
        spread: Spread,
        norm_obs: bool,
        gamma: float | None,
    ) -> "PolicyNetwork":
        """A network drawn from `seed` alone; `critic` None shares the torso, `gamma` None leaves rewards alone."""
        parts = build_actor_critic(spec, actor, critic, kind, seed, spread)
        obs_norm = ObservationNorm(spec.obs_shape) if norm_obs else None
        return cls(parts, obs_norm, None if gamma is None else RewardNorm(1, gamma))

    def seen(self, obs: Tensor) -> Tensor:
        """Observations as the layers see them."""
        return obs if self.obs_norm is None else self.obs_norm(obs)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions [B, K] and state values [B] of raw observations."""
        return ActorCritic.forward(self, self.seen(obs))

    def tell(self, obs: Tensor) -> Tensor:
        """Predictions [B, K] of raw observations."""
        return ActorCritic.tell(self, self.seen(obs))

    def last_layers(self, obs: Tensor) -> dict[str, Tensor]:
        """The features [B, F] that heads read: the actor's and the critic's by name, or their common ones by ""."""
        features = self.features(self.seen(obs))
        return {"": features[0]} if self.critic_torso is None else dict(zip(("actor", "critic"), features, strict=True))

    def values(self, obs: Tensor) -> Tensor:
        """State values [B] of raw observations, in units of the rewards as they are learnt from."""
        torso = self.torso if self.critic_torso is None else self.critic_torso
        return self.value(torso(self.seen(obs)))[:, 0]
