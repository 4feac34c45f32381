"""What every value student can be told. The families differ in their critic, their defaults and a few settings more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from reincarnate.data.layouts import AnyLayout, Transitions
from reincarnate.data.memory import Storage
from reincarnate.errors import UserError
from reincarnate.losses.decorrelation import By
from reincarnate.nets.activations import Activation
from reincarnate.nets.optimizers import OptimizerName
from reincarnate.nets.qnet import build, natural_torso
from reincarnate.nets.torsos import TORSOS, TorsoName
from reincarnate.students.critics import Critic, Expected
from reincarnate.students.exploration import Exploration, Explorer, MarcoPolo, check_explorer
from reincarnate.students.later import LATER
from reincarnate.students.memory_settings import MemorySettings, SequenceSettings
from reincarnate.students.recurrent import RecurrentValuePolicy, RecurrentValueStudent
from reincarnate.students.refusals import refuse_below, refuse_empty_layers, refuse_outside
from reincarnate.students.value import ValueStudent
from reincarnate.students.value_policy import ValuePolicy
from reincarnate.types import VALUES, Pace, TaskSpec

CPU = torch.device("cpu")


@dataclass(frozen=True)
class ValueSettings:
    """Settings of any value student. Defaults: Agarwal et al. (2022) for γ, ε and batch.

    Schedules are counted in env steps (agent steps, not frames), target syncs and resets in updates.
    """

    torso: TorsoName = "auto"  # by the observations; or mlp, minatar, nature, nature-same, screen, keyed, impala, …
    hidden: tuple[int, ...] = ()  # fully connected layers; empty: 256 256 (mlp), 128 (minatar), 512 (nature, impala)
    width: int = 1  # multiplies the convolutions' filters
    activation: Activation = "relu"  # of an mlp's layers; IQN's last one and convolutions have ReLU
    layer_norm: bool = False  # LayerNorm before each ReLU
    bfloat16: bool = False  # the torso's arithmetic in half precision: quicker on CPUs with AVX512-BF16 or AMX
    noisy: bool = False  # noisy fully connected layers, which explore by themselves (ε stays as it is set)
    double: bool = False  # the online network chooses the next action, the target network (if any) says its value
    dueling: bool = False  # a value and an advantage stream
    n_step: int = 3  # rewards in a target before it bootstraps
    gamma: float = 0.99  # γ: what a reward a step later is worth
    lr: float = 1e-4  # learning rate
    optimizer: OptimizerName = "adam"  # rmsprop: centred, as Dopamine's
    adam_eps: float = 1.5e-4  # ε of the optimiser, RMSProp's too
    weight_decay: float = 0.0  # AdamW's
    max_grad_norm: float = 0.0  # 0: gradients are not clipped
    batch_size: int = 32
    target_every: int = 2000  # updates between hard target syncs; 0: no target network
    warmup: int = 1000  # env steps before the first online update
    decorrelate: float = 0.0  # λ of the penalty on features that copy each other; 0: none
    decorrelate_by: By = "covariance"  # of pairs of features, or their correlation; sums: as the papers have it
    augment: Literal["none", "shift", "shift-intensity"] = "none"  # DrQ's transforms of sampled screens
    reset_every: int = 0  # updates between resets: heads anew, torso shrunk and perturbed; 0: never
    shrink: float = 0.5  # how much of the torso's weights a reset keeps
    epsilon: float = 0.01  # the end value of exploration
    epsilon_steps: int = 10_000  # env steps from 1 to `epsilon`, for a newborn
    polo: float = 0.0  # share of episodes explored as Marco Polo; 0: none
    polo_own: int = 80  # its own actions before each such stretch
    polo_explore: int = 40  # steps of such a stretch
    explorer: Explorer = "uniform"  # who acts in it: any action; a balloon's random walk
    copies: ClassVar[int] = 1  # of the task it plays at once, unless the run says otherwise
    predicts: ClassVar[str] = VALUES
    later: ClassVar[frozenset[str]] = LATER
    explores: ClassVar[str] = "epsilon"  # what its exploration is called in metrics
    mutable: ClassVar[tuple[str, ...]] = ("lr",)  # what may change while it learns (`training.pbt`)
    on_rollouts: ClassVar[bool] = False  # its own experience has λ-returns, which need no target network

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        least = {"n_step": 1, "batch_size": 1, "width": 1, "target_every": 0, "warmup": 0, "polo_own": 0}
        least |= {"polo_explore": 1, "reset_every": 0, "epsilon_steps": 0, "lr": 0, "weight_decay": 0}
        refuse_below(self, least | {"max_grad_norm": 0, "decorrelate": 0})
        refuse_outside(self, "gamma", "epsilon", "shrink", "polo")
        if self.torso != "auto":
            TORSOS.find(self.torso)
        refuse_empty_layers(self, "hidden")
        if self.adam_eps <= 0:
            raise UserError(f"--student.adam-eps must be above 0, not {self.adam_eps:g}")
        if self.weight_decay and self.optimizer != "adam":
            raise UserError(f"--student.weight-decay is AdamW's; {self.optimizer} has none")
        self.critic().check()

    def critic(self) -> Critic:
        """How the network's outputs are read and learnt."""
        return Expected()

    # ---- what the loop asks --------------------------------------------------------------------------

    @property
    def episodic(self) -> str:
        """What it keeps of its episodes as it acts, besides a memory; empty for nothing."""
        return "where its episodes' exploration stands (--student.polo)" if self.polo else ""

    def layout(self) -> AnyLayout:
        """How its experience is cut."""
        return Transitions(self.n_step, self.gamma)

    def layout_of_data(self) -> AnyLayout:
        """How prior data is cut."""
        return Transitions(self.n_step, self.gamma)

    def storage(self, spec: TaskSpec, copies: int) -> Storage:
        """How much experience is kept."""
        raise NotImplementedError

    def pace(self, copies: int) -> Pace:
        """How often it learns."""
        raise NotImplementedError

    def exploration(self, env_steps: int, newborn: bool, wait: int) -> float:
        """ε this many env steps into a phase that learns nothing for `wait` of them."""
        return Exploration(self.epsilon_steps, self.epsilon).epsilon(env_steps, newborn, wait)

    # ---- what it becomes -----------------------------------------------------------------------------

    def newborn(self, spec: TaskSpec, seed: int, device: torch.device = CPU) -> ValueStudent:
        """A fresh student for a task; its weights are a function of `seed`. Raises UserError where they clash."""
        self.check_actions(spec)
        if self.augment != "none" and natural_torso(spec) != "nature":
            raise UserError(f"--student.augment {self.augment} moves screens; {spec.id} shows {spec.obs_shape}")
        return ValueStudent(self, self.critic(), spec, seed, device)

    def check_actions(self, spec: TaskSpec) -> None:
        """Raises UserError for a task without discrete actions, or without what its explorer flies."""
        if spec.continuous:
            raise UserError(
                f"{spec.id} has continuous actions; a student of action values needs discrete ones: "
                "use --student sac, or td3"
            )
        check_explorer(self.explorer, spec)

    def network(self, spec: TaskSpec) -> nn.Module:
        """What an agent's weights are loaded into."""
        critic = self.critic()
        critic.check()
        return build(spec, self, critic, seed=0)

    def policy(self, spec: TaskSpec, network: nn.Module) -> Any:
        """A network with an agent's weights as a frozen policy."""
        device = next((p.device for p in network.parameters()), CPU)
        return ValuePolicy(network, self.critic().to(device), frozen=True)

    # ---- what others tell of it ----------------------------------------------------------------------

    def own_loss(self) -> str:
        """Its loss in words."""
        return f"TD({self.n_step}-step)"

    def behaviour(self, newborn: bool) -> str:
        """Its exploration in words."""
        words = f"ε = 1 → {self.epsilon:g} over {self.epsilon_steps:,}" if newborn else f"ε = {self.epsilon:g}"
        if not self.polo:
            return words
        turns = f"{self.polo_own} steps of its own and {self.polo_explore} of the explorer ({self.explorer})"
        return f"{words}, in {self.polo:.0%} of the episodes {turns} in turn"

    def stretches(self, spec: TaskSpec) -> MarcoPolo | None:
        """What replaces its actions in stretches of exploration, where it is told to explore so."""
        return MarcoPolo(spec, self.polo, self.polo_own, self.polo_explore, self.explorer) if self.polo else None

    def described(self, spec: TaskSpec) -> str:
        """Its network in words."""
        torso = TORSOS[self.torso if self.torso != "auto" else natural_torso(spec)].__name__
        return f"{torso} {'-'.join(map(str, self.hidden)) or '(its own sizes)'}"

    def action_layers(self) -> Mapping[str, int]:
        """The layers whose outputs are a row for each action, and how many numbers a row has."""
        critic = self.critic()
        return {"advantage": 1 if critic.implicit else critic.outputs}


@dataclass(frozen=True)
class RecallingSettings(MemorySettings, ValueSettings):
    """Settings of a value student that may have a memory: it is then of the class `recalling`."""

    recalling: ClassVar[type[RecurrentValueStudent]] = RecurrentValueStudent

    def check_memory(self) -> None:
        """Raises UserError for a memory that cannot be built, or goes with screens that are moved."""
        MemorySettings.check_memory(self)
        if self.augment != "none":
            raise UserError("--student.augment moves single screens; a student with a --student.memory needs none")

    def newborn(self, spec: TaskSpec, seed: int, device: torch.device = CPU) -> ValueStudent:
        """A fresh student for a task; its weights are a function of `seed`. Raises UserError where they clash."""
        if not self.remembers:
            return ValueSettings.newborn(self, spec, seed, device)
        self.check_actions(spec)
        return self.recalling(self, self.critic(), spec, seed, device)

    def policy(self, spec: TaskSpec, network: nn.Module) -> ValuePolicy | RecurrentValuePolicy:
        """A network with an agent's weights as a frozen policy."""
        if not self.remembers:
            return ValueSettings.policy(self, spec, network)
        device = next((p.device for p in network.parameters()), CPU)
        return RecurrentValuePolicy(network, self.critic().to(device), frozen=True)

    def described(self, spec: TaskSpec) -> str:
        """Its network in words."""
        return ValueSettings.described(self, spec) + self.said()


@dataclass(frozen=True)
class ReplaySettings(SequenceSettings, RecallingSettings):
    """Settings of a value student that learns from a replay. With a memory it learns from sequences of steps."""

    update_every: int = 4  # env steps per `updates_each` updates
    updates_each: int = 1  # updates at once
    replay_size: int = 100_000  # rows
    priority: float = 0.0  # α of prioritised replay; 0: uniform
    importance: float = 0.5  # β of prioritised replay

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        ValueSettings.check(self, copies)
        if self.remembers:
            self.check_sequences(self.batch_size)
        smallest = self.least_rows(self.batch_size, self.n_step, copies)
        refuse_below(
            self, {"update_every": 1, "updates_each": 1, "replay_size": smallest, "priority": 0, "importance": 0}
        )

    # ---- what the loop asks --------------------------------------------------------------------------

    @property
    def episodic(self) -> str:
        """What it keeps of its episodes as it acts, besides a memory; empty for nothing."""
        return "where its episodes' exploration stands (--student.polo)" if self.polo else ""

    def layout(self) -> AnyLayout:
        """Transitions, or with a memory sequences."""
        if not self.remembers:
            return ValueSettings.layout(self)
        return self.sequences(self.gamma, self.n_step)

    def layout_of_data(self) -> AnyLayout:
        """Prior data likewise."""
        return self.layout()

    def storage(self, spec: TaskSpec, copies: int) -> Storage:
        """A ring of the newest rows."""
        return Storage(self.replay_size, self.priority, self.importance)

    def pace(self, copies: int) -> Pace:
        """How often it learns; of sequences, so many as hold a batch's steps."""
        return Pace(self.update_every, self.updates_each, self.examples(self.batch_size), self.warmup)
