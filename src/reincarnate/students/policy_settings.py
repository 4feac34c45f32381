"""What an on-policy student can be told, and the families by name: PPO as two codebases have it, and A2C."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import nn

from reincarnate.data.layouts import Rollout, Sequences, Transitions
from reincarnate.data.memory import Storage, rollout_rows
from reincarnate.errors import UserError
from reincarnate.losses.decorrelation import By
from reincarnate.nets import memory as memories
from reincarnate.nets.activations import Activation
from reincarnate.nets.actors import Spread
from reincarnate.nets.dense import DenseShape
from reincarnate.nets.memory import MemoryShape
from reincarnate.nets.normalise import ObservationNorm, RewardNorm
from reincarnate.nets.optimizers import PolicyOptimizer
from reincarnate.nets.qnet import natural_torso
from reincarnate.nets.torsos import HIDDEN
from reincarnate.students.actor_policy import ActorPolicy
from reincarnate.students.later import LATER
from reincarnate.students.memory_settings import MemorySettings, check_segments
from reincarnate.students.policy import PolicyStudent
from reincarnate.students.policy_network import PolicyNetwork, kind_for
from reincarnate.students.recurrent_network import RecurrentActorPolicy, RecurrentNetwork, fresh
from reincarnate.students.recurrent_policy import RecurrentPolicyStudent
from reincarnate.students.refusals import refuse_below, refuse_empty_layers, refuse_outside
from reincarnate.types import LOGITS, Pace, TaskSpec

CPU = torch.device("cpu")
FLAT = (64, 64)  # hidden layers for flat observations, in both codebases
LARGEST_LOG_STD = 10.0
POLICY_GAIN = 0.01  # of the actor's last layer: a newborn is all but uniform, or of mean 0 (Andrychowicz et al., 2021)


@dataclass(frozen=True)
class PolicySettings(MemorySettings):
    """Settings of any on-policy student; defaults are Stable-Baselines3's for PPO. Schedules count env steps.

    The value's error is halved here, as CleanRL has it; Stable-Baselines3's coefficient 0.5 is `value_weight` 1.
    """

    hidden: tuple[int, ...] = ()  # fully connected layers; empty: 64 64 (flat), 128 (minatar), 512 (screens)
    critic_hidden: tuple[int, ...] = ()  # the critic's layers, where it has its own; empty: as `hidden`
    activation: Activation = "tanh"  # of layers over flat observations
    shared: Literal["auto", "on", "off"] = "auto"  # one torso for actor and critic; auto: where it is convolutional
    log_std: float = 0.0  # ln σ of a newborn's Gaussian, which no observation moves
    sde: bool = False  # gSDE's spread instead, by the actor's features
    norm_obs: bool = False  # observations by their running mean and variance, clipped to ±10
    norm_reward: bool = False  # rewards by the running return's standard deviation, clipped to ±10
    freeze_norm: bool = False  # these statistics stay as they are: those that came with an agent's weights
    gamma: float = 0.99  # γ: what a reward a step later is worth
    lam: float = 0.95  # λ of the advantages
    n_step: int = 5  # rewards in a value's target from prior data before it bootstraps
    lr: float = 3e-4  # learning rate
    anneal_env_steps: int = 0  # over which the learning rate falls to 0 in a straight line; 0: it stays
    optimizer: PolicyOptimizer = "adam"  # rmsprop: not centred, as PyTorch's
    adam_eps: float = 1e-5  # ε of the optimiser, RMSProp's too
    max_grad_norm: float = 0.5  # 0: gradients are not clipped
    rollout: int = 256  # steps of each copy between learning
    epochs: int = 10  # passes over them
    batch_size: int = 64  # 0: the whole rollout
    clip: float = 0.2  # ε of the ratio
    clip_value: float = 0.0  # how far a value may move from the one that acted, in units of return; 0: anywhere
    entropy: float = 0.0  # weight of the entropy bonus
    value_weight: float = 1.0  # of ½(V − G)² against the policy's loss
    norm_advantage: bool = True  # to mean 0 and standard deviation 1 in each batch
    decorrelate: float = 0.0  # λ of the penalty on features that copy each other; 0: none
    decorrelate_by: By = "covariance"  # of pairs of features, or their correlation; sums: as the papers have it
    critic_updates: int = 0  # first updates in which the actor stands still
    segment: int = 32  # steps of a rollout that gradients pass through in one piece, with a memory
    critic_memory: Literal["same", "none", "lstm", "gru", "gtrxl"] = "same"  # the critic's own, where `shared` is off
    copies: ClassVar[int] = 8  # of the task it plays at once, unless the run says otherwise
    later: ClassVar[frozenset[str]] = LATER
    predicts: ClassVar[str] = LOGITS  # of continuous actions GAUSSIAN: `PolicyNetwork.kind` says which
    explores: ClassVar[str] = "entropy_weight"  # what its exploration is called in metrics
    torso: ClassVar[str] = "auto"
    mutable: ClassVar[tuple[str, ...]] = ("lr", "entropy")  # what may change while it learns (`training.pbt`)

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        smallest = {"n_step": 1, "rollout": 1, "epochs": 1, "batch_size": 0, "critic_updates": 0, "lr": 0}
        more = {"anneal_env_steps": 0, "max_grad_norm": 0, "clip_value": 0, "entropy": 0, "value_weight": 0}
        refuse_below(self, smallest | more | {"decorrelate": 0})
        refuse_outside(self, "gamma", "lam")
        if self.log_std > LARGEST_LOG_STD:
            raise UserError(f"--student.log-std {self.log_std:g} is too large: beyond {LARGEST_LOG_STD:g}, σ overflows")
        if self.clip <= 0 or self.adam_eps <= 0:
            raise UserError("--student.clip and --student.adam-eps must be above 0")
        refuse_empty_layers(self, "hidden", "critic_hidden")
        if self.shared == "on" and self.critic_hidden:
            raise UserError("--student.critic-hidden is for a critic with layers of its own; --student.shared is on")
        if self.rollout * copies < self.batch_size:
            held = f"{self.rollout} steps of {copies} copies of the task"
            raise UserError(f"--student.batch-size {self.batch_size} is more than a rollout holds ({held})")
        if self.remembers:
            self._check_segments()
        elif self.critic_memory != "same":
            raise UserError("--student.critic-memory is for an actor with a --student.memory")

    def _check_segments(self) -> None:
        """Raises UserError for segments that do not fit into a rollout, or into a batch."""
        self.check_memory()
        if self.critic_memory != "same":
            if self.shared != "off":
                told = f"--student.critic-memory {self.critic_memory} is the critic's own"
                raise UserError(f"{told}: it needs --student.shared off")
            memories.check(self._critics_memory())
        check_segments(self.segment, self.rollout, self.batch_size)

    def _critics_memory(self) -> MemoryShape:
        """The memory of a critic that does not share the actor's."""
        kind = self.memory if self.critic_memory == "same" else self.critic_memory
        same = kind == self.memory
        size, layers = (self.memory_size, self.memory_layers) if same else (0, 0)
        rest = (self.memory_heads, self.memory_length, self.memory_gate, self.memory_gate_bias)
        return MemoryShape(kind, size, layers, *rest)

    # ---- what the loop asks --------------------------------------------------------------------------

    def layout(self) -> Rollout:
        """One rollout at a time."""
        return Rollout(self.rollout, self.gamma)

    def layout_of_data(self) -> Transitions | Sequences:
        """Prior data, from which the critic alone learns by itself."""
        if self.remembers:
            return Sequences(self.segment, 0, self.gamma, self.n_step)
        return Transitions(self.n_step, self.gamma)

    def storage(self, spec: TaskSpec, copies: int) -> Storage:
        """Room for a rollout."""
        return rollout_rows(spec, self.rollout, copies)

    def pace(self, copies: int) -> Pace:
        """Every rollout, a few passes over it."""
        examples = self.rollout * copies
        batch = self.batch_size or examples
        return Pace(examples, self.epochs * (examples // batch), batch)

    def exploration(self, env_steps: int, newborn: bool, wait: int) -> float:
        """Its actions are always draws; what keeps them apart is the entropy bonus."""
        return self.entropy

    # ---- what it becomes -----------------------------------------------------------------------------

    def newborn(self, spec: TaskSpec, seed: int, device: torch.device = CPU) -> PolicyStudent:
        """A fresh student for a task; its weights are a function of `seed`."""
        network = self._network(spec, seed)
        if isinstance(network, RecurrentNetwork):
            return RecurrentPolicyStudent(self, network, spec, device)
        return PolicyStudent(self, network, spec, device)

    def network(self, spec: TaskSpec) -> nn.Module:
        """What an agent's weights are loaded into."""
        return self._network(spec, 0)

    def policy(self, spec: TaskSpec, network: nn.Module) -> ActorPolicy | RecurrentActorPolicy:
        """A network with an agent's weights as a frozen policy."""
        if isinstance(network, RecurrentNetwork):
            return RecurrentActorPolicy(network)
        assert isinstance(network, PolicyNetwork)
        return ActorPolicy(network, network.kind)

    def _network(self, spec: TaskSpec, seed: int) -> PolicyNetwork:
        flat = natural_torso(spec) == "mlp"
        shape = DenseShape(self.sizes(spec), self.activation, init="orthogonal", head_gain=POLICY_GAIN)
        together = self.shared == "on" or (self.shared == "auto" and (self.remembers or not flat))
        critic = None if together else replace(shape, hidden=self.critic_hidden or shape.hidden, head_gain=1.0)
        if self.remembers:
            return self._with_memory(spec, shape, critic, seed)
        return PolicyNetwork.fresh(
            spec,
            shape,
            critic,
            kind_for(spec),
            seed,
            Spread(free=True, initial=self.log_std, sde=self.sde, bound="none"),
            self.norm_obs,
            self.gamma if self.norm_reward else None,
        )

    def _with_memory(self, spec: TaskSpec, shape: DenseShape, critic: DenseShape | None, seed: int) -> RecurrentNetwork:
        spread = Spread(free=True, initial=self.log_std, sde=self.sde, bound="none")
        parts = fresh(spec, shape, critic, kind_for(spec), seed, spread, self, self._critics_memory())
        obs_norm = ObservationNorm(spec.obs_shape) if self.norm_obs else None
        return RecurrentNetwork(*parts, obs_norm, RewardNorm(1, self.gamma) if self.norm_reward else None)

    # ---- what others tell of it ----------------------------------------------------------------------

    def sizes(self, spec: TaskSpec) -> tuple[int, ...]:
        """Of the hidden layers."""
        torso = natural_torso(spec)
        return self.hidden or (FLAT if torso == "mlp" else HIDDEN[torso])

    def own_loss(self) -> str:
        """Its loss in words."""
        told = f"clip {self.clip:g}, λ {self.lam:g}, {self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        return f"PPO({told}; on prior data TD({self.n_step}-step) of V alone)"

    def behaviour(self, newborn: bool) -> str:
        """Its exploration in words."""
        bonus = f", entropy bonus {self.entropy:g}" if self.entropy else ""
        return f"actions are drawn from its policy{bonus}"

    def described(self, spec: TaskSpec) -> str:
        """Its network in words."""
        return f"{natural_torso(spec)} {'-'.join(map(str, self.sizes(spec)))}{self.said()}, actor and critic"

    def action_layers(self) -> Mapping[str, int]:
        """The layers whose outputs are a row for each action, and how many numbers a row has."""
        return {"head.logits": 1}


@dataclass(frozen=True)
class PPO(PolicySettings):
    """PPO (Schulman et al., 2017) with the defaults of Stable-Baselines3, categorical or Gaussian by the task.

    Its 2,048 steps of one copy are 256 of eight here. Time limits bootstrap from the true successor.
    """


@dataclass(frozen=True)
class PPOCleanRL(PolicySettings):
    """PPO with the defaults of CleanRL's `ppo.py` (discrete actions): four copies, values clipped, entropy bonus.

    The annealing over the whole run is `--student.anneal-env-steps`, off here: a student knows no run's length.
    """

    lr: float = 2.5e-4
    rollout: int = 128
    epochs: int = 4
    batch_size: int = 128
    clip_value: float = 0.2
    entropy: float = 0.01
    value_weight: float = 0.5
    copies: ClassVar[int] = 4


@dataclass(frozen=True)
class PPOContinuous(PolicySettings):
    """PPO with the defaults of CleanRL's `ppo_continuous_action.py`: one copy, observations and rewards normalised."""

    norm_obs: bool = True
    norm_reward: bool = True
    rollout: int = 2048
    clip_value: float = 0.2
    value_weight: float = 0.5
    copies: ClassVar[int] = 1


@dataclass(frozen=True)
class A2C(PolicySettings):
    """A2C (Mnih et al., 2016) with the defaults of Stable-Baselines3: PPO of one epoch over one batch (Huang et al.,
    2022). There the ratio is 1, and the clipped loss has the policy gradient.
    """

    lam: float = 1.0
    lr: float = 7e-4
    optimizer: PolicyOptimizer = "rmsprop"
    rollout: int = 5
    epochs: int = 1
    batch_size: int = 0
    norm_advantage: bool = False

    def own_loss(self) -> str:
        """Its loss in words."""
        return f"A2C(λ {self.lam:g}; on prior data TD({self.n_step}-step) of V alone)"
