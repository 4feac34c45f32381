"""What the off-policy students of continuous actions can be told: TD3, D4PG, SAC, TQC and a modern SAC, by name.

Actions are in [-1, 1] in all settings. Where papers and codes differ, docs/students.md says which is followed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from reincarnate.data.layouts import Sequences, Transitions
from reincarnate.data.memory import Storage
from reincarnate.errors import UserError
from reincarnate.losses.decorrelation import By
from reincarnate.nets.activations import Activation
from reincarnate.nets.actorcritic import ActorCriticNetwork, Entropy
from reincarnate.nets.actors import Spread, acted
from reincarnate.nets.dense import DenseShape
from reincarnate.students.actor_policy import ActorPolicy
from reincarnate.students.continuous import RANDOM, ContinuousStudent
from reincarnate.students.continuous_network import build
from reincarnate.students.critics import span
from reincarnate.students.later import LATER
from reincarnate.students.memory_settings import SequenceSettings
from reincarnate.students.qcritics import Atoms, ExpectedReturn, StateActionCritic, TruncatedQuantiles
from reincarnate.students.recurrent_continuous import RecurrentContinuousStudent
from reincarnate.students.recurrent_network import RecurrentActorPolicy
from reincarnate.students.refusals import MOST_LAYERS, refuse_above, refuse_below, refuse_outside
from reincarnate.types import MEANS, SQUASHED, Pace, TaskSpec

CPU = torch.device("cpu")
Read = Literal["least", "first", "mean"]


@dataclass(frozen=True)
class ContinuousSettings(SequenceSettings):
    """Settings of any off-policy student of continuous actions. Schedules are counted in env steps or updates.

    With a memory actor and critics have one each and learn from sequences of steps.
    """

    hidden: tuple[int, ...] = (256, 256)  # the actor's layers
    critic_hidden: tuple[int, ...] = ()  # the critics' layers; empty: as the actor's
    activation: Activation = "relu"  # of plain layers
    layer_norm: bool = False  # LayerNorm after each of the critics' layers
    bfloat16: bool = False  # the hidden layers' arithmetic in half precision: quicker on CPUs with AVX512-BF16 or AMX
    simba: int = 0  # residual blocks of SimBa in actor and critics, of the one width in `hidden`; 0: plain layers
    normalise: bool = False  # observations by the running mean and variance of what was learnt from
    freeze_norm: bool = False  # these statistics stay as they are: those that came with an agent's weights
    critics: int = 2
    asked: int = 0  # critics drawn for each target, which takes the least of them (REDQ, RLPD: 2 of 10); 0: all
    n_step: int = 1  # rewards in a target before it bootstraps
    gamma: float = 0.99  # γ: what a reward a step later is worth
    lr: float = 3e-4  # learning rate
    actor_lr: float = 0.0  # the actor's; 0: the same
    adam_eps: float = 1e-8  # ε of Adam
    weight_decay: float = 0.0  # AdamW's
    max_grad_norm: float = 0.0  # of actor and critics each; 0: gradients are not clipped
    decorrelate: float = 0.0  # λ of the penalty on features that copy each other; 0: none
    decorrelate_by: By = "covariance"  # of pairs of features, or their correlation; sums: as the papers have it
    batch_size: int = 256
    target_every: int = 1  # updates between moves of the target networks
    tau: float = 0.005  # how far they move: 1 copies the online networks
    actor_every: int = 1  # updates of the critics for one of the actor
    update_every: int = 1  # env steps per `updates_each` updates
    updates_each: int = 1  # updates at once
    warmup: int = 1000  # env steps before the first online update; a newborn acts at random in them
    replay_size: int = 1_000_000  # rows
    q_floor: float = 1.0  # terms of a method are multiplied by mean|Q|, or by this where that is less
    expectile: float = 0.0  # of Q over the data's actions: what state values learn and targets ask (IQL); 0: no V
    reads: Read = "least"  # of the critics' values what the actor climbs: least, first or mean
    copies: ClassVar[int] = 1  # of the task it plays at once, unless the run says otherwise
    later: ClassVar[frozenset[str]] = LATER
    predicts: ClassVar[str] = MEANS
    explores: ClassVar[str] = "noise"  # what its exploration is called in metrics
    on_rollouts: ClassVar[bool] = False
    mutable: ClassVar[tuple[str, ...]] = ("lr", "actor_lr", "entropy", "noise")  # while it learns (`training.pbt`)
    target_actor: ClassVar[bool] = False  # whether targets ask a lagging actor

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        least = {"critics": 1, "asked": 0, "n_step": 1, "batch_size": 1, "target_every": 1, "actor_every": 1}
        smallest = self.least_rows(self.batch_size, self.n_step, copies)
        least |= {"update_every": 1, "updates_each": 1, "warmup": 0, "simba": 0, "replay_size": smallest}
        least |= {"lr": 0, "actor_lr": 0, "weight_decay": 0, "max_grad_norm": 0, "q_floor": 0, "expectile": 0}
        refuse_below(self, least | {"decorrelate": 0})
        refuse_above(self, {"simba": MOST_LAYERS})
        refuse_outside(self, "gamma", "tau")
        if self.adam_eps <= 0 or self.tau == 0:
            raise UserError("--student.adam-eps and --student.tau must be above 0")
        if self.expectile >= 1:
            raise UserError(f"--student.expectile must be below 1, not {self.expectile:g}")
        if self.expectile and not self.plain_values:
            raise UserError(
                f"--student.expectile {self.expectile:g} needs critics of plain values: "
                "td3, sac, or modern_sac with --student.loss squared"
            )
        if self.asked > self.critics:
            raise UserError(f"--student.asked {self.asked} is more than the {self.critics} critics there are")
        for shape in (self._actor_shape(), self._critic_shape()):
            shape.check()
        if self.remembers:
            self.check_sequences(self.batch_size)
        self.critic().check()

    def critic(self) -> StateActionCritic:
        """How the critics' outputs are read and learnt."""
        return ExpectedReturn()

    @property
    def plain_values(self) -> bool:
        """Whether its critics tell numbers, and no distributions."""
        return isinstance(self.critic(), ExpectedReturn)

    # ---- what the loop asks --------------------------------------------------------------------------

    def layout(self) -> Transitions | Sequences:
        """How its experience is cut: transitions, or with a memory sequences."""
        return self.sequences(self.gamma, self.n_step) if self.remembers else Transitions(self.n_step, self.gamma)

    def layout_of_data(self) -> Transitions | Sequences:
        """How prior data is cut."""
        return self.layout()

    def storage(self, spec: TaskSpec, copies: int) -> Storage:
        """A ring of the newest rows."""
        return Storage(self.replay_size)

    def pace(self, copies: int) -> Pace:
        """How often it learns; of sequences, so many as hold a batch's steps."""
        return Pace(self.update_every, self.updates_each, self.examples(self.batch_size), self.warmup)

    def exploration(self, env_steps: int, newborn: bool, wait: int) -> float:
        """σ of the noise that is added; `RANDOM` while a newborn waits."""
        return RANDOM if newborn and env_steps < wait else self.noise_std

    @property
    def noise_std(self) -> float:
        """σ of the noise added to actions; 0 where the policy itself draws them."""
        return 0.0

    @property
    def worth(self) -> float:
        """What the largest reward is worth where it is earned for ever; 0: rewards are as they are."""
        return 0.0

    def explored(self, x: Tensor, explore: float, noise: Tensor) -> Tensor:
        """Actions [n, A] in [-1, 1], of what the actor says [n, K] and standard normal noise [n, A]."""
        return (x + explore * noise).clamp(-1, 1)

    # ---- what it becomes -----------------------------------------------------------------------------

    def newborn(self, spec: TaskSpec, seed: int, device: torch.device = CPU) -> ContinuousStudent:
        """A fresh student for a task; its weights are a function of `seed`. Raises UserError where they clash."""
        kind = RecurrentContinuousStudent if self.remembers else ContinuousStudent
        return kind(self, self.critic(), spec, self._build(spec, seed), device)

    def network(self, spec: TaskSpec) -> ActorCriticNetwork:
        """What an agent's weights are loaded into."""
        self.critic().check()
        return self._build(spec, 0)

    def policy(self, spec: TaskSpec, network: ActorCriticNetwork) -> ActorPolicy | RecurrentActorPolicy:
        """A network with an agent's weights as a frozen policy."""
        return RecurrentActorPolicy(network) if self.remembers else ActorPolicy(network, self.predicts)

    def _build(self, spec: TaskSpec, seed: int) -> ActorCriticNetwork:
        return build(self, spec, seed, self._actor_shape(), self._critic_shape(), self._spread(), self._entropy())

    def _actor_shape(self) -> DenseShape:
        return DenseShape(self.hidden, self.activation, simba=self.simba)

    def _critic_shape(self) -> DenseShape:
        norm: Literal["every", "none"] = "every" if self.layer_norm else "none"
        return DenseShape(self.critic_hidden or self.hidden, self.activation, norm=norm, simba=self.simba)

    def _spread(self) -> Spread | None:
        return None

    def _entropy(self) -> Entropy | None:
        return None

    # ---- what others tell of it ----------------------------------------------------------------------

    def own_loss(self) -> str:
        """Its loss in words."""
        return f"(TD({self.n_step}-step) of the critics, −Q of the actor)"

    def behaviour(self, newborn: bool) -> str:
        """Its exploration in words."""
        how = f"noise of σ = {self.noise_std:g}" if self.noise_std else "actions drawn from its policy"
        return f"random actions in the warm-up, then {how}" if newborn else how

    def described(self, spec: TaskSpec) -> str:
        """Its network in words."""
        sizes = ("-".join(map(str, sizes)) for sizes in (self.hidden, self.critic_hidden or self.hidden))
        kind = f"{self.simba} blocks of SimBa " if self.simba else "dense "
        return "{}{}, {} critics {}".format(kind, *(next(sizes), self.critics, next(sizes))) + self.said()

    def action_layers(self) -> Mapping[str, int]:
        """Raises UserError: an action's numbers cannot be added to."""
        raise UserError("an agent of continuous actions cannot be fitted to a task whose actions have more numbers")


@dataclass(frozen=True)
class TD3(ContinuousSettings):
    """TD3 (Fujimoto et al., 2018): a deterministic actor, the lesser of two critics, smoothed and delayed targets.

    The settings of the authors' code but for `warmup`: 25,000 there, 1,000 in acme.
    """

    target_every: int = 2  # updates between moves of the target networks
    actor_every: int = 2  # updates of the critics for one of the actor
    noise: float = 0.1  # σ of exploration
    target_noise: float = 0.2  # σ of the noise on the target's action
    target_clip: float = 0.5  # where that noise is cut
    target_actor: ClassVar[bool] = True
    reads: Read = "first"  # of the critics' values what the actor climbs

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        ContinuousSettings.check(self, copies)
        _check_noise(self.noise)
        if min(self.target_noise, self.target_clip) < 0:
            raise UserError("--student.target-noise and --student.target-clip must be at least 0")

    @property
    def noise_std(self) -> float:
        """σ of exploration."""
        return self.noise


@dataclass(frozen=True)
class D4PG(ContinuousSettings):
    """D4PG (Barth-Maron et al., 2018) as acme has it: a categorical critic, n = 5, an update for every 8 env steps.

    `low` and `high` must span the discounted returns: ±150 suits rewards in [0, 1], such as dm_control's, and is
    widened where they are left open and returns are larger (`priors.support`).
    """

    hidden: tuple[int, ...] = (256, 256, 256)  # the actor's layers: the first with LayerNorm and tanh
    activation: Activation = "elu"  # of the layers after it
    critics: int = 1
    n_step: int = 5  # rewards in a target before it bootstraps
    max_grad_norm: float = 40.0  # of actor and critics each; 0: gradients are not clipped
    target_every: int = 100  # updates between moves of the target networks
    tau: float = 1.0  # how far they move: 1 copies the online networks
    update_every: int = 8  # env steps per `updates_each` updates
    atoms: int = 51  # evenly spaced returns
    low: float | None = None  # the smallest return an atom stands for; None: by scores and data, at most -150
    high: float | None = None  # the largest; None: by scores and data, at least 150
    usual_support: ClassVar[tuple[float, float]] = (-150.0, 150.0)
    noise: float = 0.2  # σ of exploration
    clip: float = 1.0  # of ∂Q/∂a, by its norm; 0: it is not clipped
    target_actor: ClassVar[bool] = True
    reads: Read = "mean"  # of the critics' values what the actor climbs
    target_noise: ClassVar[float] = 0.0
    target_clip: ClassVar[float] = 0.0

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        ContinuousSettings.check(self, copies)
        _check_noise(self.noise)
        if self.clip < 0:
            raise UserError(f"--student.clip must be at least 0, not {self.clip:g}")

    def critic(self) -> Atoms:
        """A distribution on atoms."""
        return Atoms(self.atoms, *span(self))

    @property
    def noise_std(self) -> float:
        """σ of exploration."""
        return self.noise

    def _actor_shape(self) -> DenseShape:
        return DenseShape(self.hidden, self.activation, "first", self.simba, "uniform", head_gain=NEAR_ZERO)

    def _critic_shape(self) -> DenseShape:
        norm: Literal["every", "first"] = "every" if self.layer_norm else "first"
        return DenseShape(self.critic_hidden or self.hidden, self.activation, norm, self.simba, "uniform")


NEAR_ZERO = 0.01
"""Gain of D4PG's last actor layer; acme's variance scale there is 1e-4, the square of it."""


@dataclass(frozen=True)
class SAC(ContinuousSettings):
    """SAC (Haarnoja et al., 2018b): a squashed Gaussian that is paid for its entropy, α found by itself.

    As Stable-Baselines3 has it, but for `warmup` (100 there), and the squared error, which is half there.
    """

    alpha: float = 1.0  # α at first: what a nat of entropy is worth
    learn_alpha: bool = True  # α follows the target entropy
    alpha_lr: float = 0.0  # its learning rate; 0: as the critics'
    entropy: float = 1.0  # the target entropy is -entropy times the numbers in an action
    backup_entropy: bool = True  # targets count the entropy of the next action
    log_std_low: float = -20.0  # bounds of log σ
    log_std_high: float = 2.0
    log_std_bound: Literal["clamp", "tanh"] = "clamp"  # cut to them, or rescaled
    sde: bool = False  # gSDE's spread, by the actor's features, and means cut at ±2 before tanh; without the bounds
    predicts: ClassVar[str] = SQUASHED

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        ContinuousSettings.check(self, copies)
        if self.alpha <= 0 or self.alpha_lr < 0:
            raise UserError("--student.alpha must be above 0, and --student.alpha-lr at least 0")
        if not self.log_std_low < self.log_std_high <= LARGEST_LOG_STD:
            raise UserError(
                f"--student.log-std-low {self.log_std_low:g} must be below --student.log-std-high "
                f"{self.log_std_high:g}, and that at most {LARGEST_LOG_STD:g}: beyond, σ overflows"
            )

    def explored(self, x: Tensor, explore: float, noise: Tensor) -> Tensor:
        """Draws from the policy."""
        return acted(self.predicts, x, noise)[0]

    def own_loss(self) -> str:
        """Its loss in words."""
        return f"(TD({self.n_step}-step) of the critics, α ln π − Q of the actor)"

    def _spread(self) -> Spread:
        bounds = {"bound": self.log_std_bound, "low": self.log_std_low, "high": self.log_std_high}
        return Spread(initial=SDE_LOG_STD, sde=True, mean_limit=SDE_LIMIT) if self.sde else Spread(**bounds)

    def _entropy(self) -> Entropy:
        return Entropy(self.alpha)


LARGEST_LOG_STD = 10.0
SDE_LOG_STD, SDE_LIMIT = -3.0, 2.0
"""Of a newborn's gSDE: ln of its weights, and where its mean is cut before tanh; SB3's."""


@dataclass(frozen=True)
class TQC(SAC):
    """TQC (Kuznetsov et al., 2020): SAC with quantiles, the greatest of them dropped. As sb3-contrib has it.

    `drop` per critic: 5 on Hopper, 0 on HalfCheetah, 2 elsewhere in the authors' code, which has 5 critics of 512³.
    """

    quantiles: int = 25  # of each critic
    drop: int = 2  # the greatest, of each critic
    reads: Read = "mean"  # of the critics' values what the actor climbs

    def critic(self) -> TruncatedQuantiles:
        """Quantiles, truncated."""
        return TruncatedQuantiles(self.quantiles, self.drop)


@dataclass(frozen=True)
class ModernSAC(SAC):
    """A preset: LayerNorm critics (RLPD: Ball et al., 2023), normalised observations, a small α and half the target
    entropy (SimBa: Lee et al., 2025), a categorical critic over scaled rewards (SimBaV2: Lee et al., 2025).

    Rewards are divided so that the largest seen so far, earned for ever, is worth `high`: no return lies beyond the
    atoms. A combination of ours, not a published agent. `--student.simba 1 --student.hidden 128` has SimBa's blocks,
    `--student.critics 10 --student.asked 2 --student.updates-each 20 --student.actor-every 20` RLPD's ensemble.
    """

    layer_norm: bool = True  # LayerNorm after each of the critics' layers
    normalise: bool = True  # observations by the running mean and variance of what was learnt from
    alpha: float = 0.01  # α at first: what a nat of entropy is worth
    entropy: float = 0.5  # the target entropy is -entropy times the numbers in an action
    log_std_low: float = -10.0  # bounds of log σ
    log_std_bound: Literal["clamp", "tanh"] = "tanh"  # cut to them, or rescaled
    loss: Literal["categorical", "squared"] = "categorical"  # a distribution over scaled rewards, or plain values
    atoms: int = 101  # evenly spaced returns
    low: float = -5.0  # the smallest return an atom stands for, of scaled rewards
    high: float = 5.0  # the largest

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        SAC.check(self, copies)
        if self.loss == "categorical" and (self.gamma == 1 or min(self.high, -self.low) <= 0):
            raise UserError("rewards are scaled for a γ below 1, and for --student.low < 0 < --student.high")

    def critic(self) -> StateActionCritic:
        """A distribution on atoms, or a number."""
        return Atoms(self.atoms, self.low, self.high) if self.loss == "categorical" else ExpectedReturn()

    @property
    def worth(self) -> float:
        """What the largest reward is worth where it is earned for ever; 0 with plain values."""
        return min(self.high, -self.low) if self.loss == "categorical" else 0.0


def _check_noise(noise: float) -> None:
    if not 0 <= noise < RANDOM:
        raise UserError(f"--student.noise is a σ of actions in [-1, 1]: from 0 to below {RANDOM:g}, not {noise:g}")
