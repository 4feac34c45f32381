"""The value-student families by name: one learner, other critics and switches. Each is settings and nothing else."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from reincarnate.data.layouts import AnyLayout, Rollout, Sequences
from reincarnate.data.memory import Storage, rollout_rows
from reincarnate.errors import UserError
from reincarnate.nets.memory import MemoryName
from reincarnate.students.critics import Categorical, Critic, Histogram, ImplicitQuantiles, Quantiles, span
from reincarnate.students.memory_settings import check_segments
from reincarnate.students.recurrent import RecurrentValueStudent
from reincarnate.students.recurrent_rollouts import RecurrentRolloutStudent
from reincarnate.students.rescaled import Rescaled
from reincarnate.students.settings import RecallingSettings, ReplaySettings, ValueSettings
from reincarnate.types import Pace, TaskSpec


@dataclass(frozen=True)
class DQN(ReplaySettings):
    """A scalar value per action and Huber's loss, with the settings every value student has."""


@dataclass(frozen=True)
class Rainbow(ReplaySettings):
    """C51 (Bellemare et al., 2017), n = 3 and prioritised replay: the student of Agarwal et al. (2022).

    That is Dopamine's agent: double, dueling and noisy layers, which Hessel et al. (2018) add, are off, and α = β = 0.5
    throughout. The usual support suits rewards clipped to [-1, 1]; left open, it is widened for larger returns
    (`priors.support`).
    """

    priority: float = 0.5  # α of prioritised replay; 0: uniform
    atoms: int = 51  # evenly spaced returns
    low: float | None = None  # the smallest return an atom stands for; None: by scores and data, at most -10
    high: float | None = None  # the largest; None: by scores and data, at least 10
    usual_support: ClassVar[tuple[float, float]] = (-10.0, 10.0)

    def critic(self) -> Categorical:
        """C51's."""
        return Categorical(self.atoms, *span(self))


@dataclass(frozen=True)
class QRDQN(ReplaySettings):
    """QR-DQN (Dabney et al., 2018a): `quantiles` fixed fractions, no support to choose.

    n = 3 as for the other students here; the paper has n = 1, 200 quantiles, lr 5e-5, ε = 0.01/32 in Adam.
    """

    quantiles: int = 51  # per action
    kappa: float = 1.0  # where Huber's loss turns linear

    def critic(self) -> Quantiles:
        """QR-DQN's."""
        return Quantiles(self.quantiles, self.kappa)


@dataclass(frozen=True)
class IQN(ReplaySettings):
    """IQN (Dabney et al., 2018b): the network is asked at random fractions of the return's distribution.

    n = 3 as for the other students here; the paper has n = 1, 64 fractions and 32 for acting.
    """

    samples: int = 64  # fractions drawn for each prediction and for each target
    acting: int = 32  # midpoints at which it is asked when it acts, where the paper draws fractions
    kappa: float = 1.0  # where Huber's loss turns linear

    def critic(self) -> ImplicitQuantiles:
        """IQN's."""
        return ImplicitQuantiles(self.samples, self.acting, self.kappa)


@dataclass(frozen=True)
class Modern(ReplaySettings):
    """A preset: LayerNorm (as in Lyle et al., 2023; Gallici et al., 2024), an HL-Gauss critic (Farebrother et al.,
    2024), double Q-learning, n = 3, an update every second env step, and resets that keep part of the torso
    (Nikishin et al., 2022; D'Oro et al., 2023; Schwarzer et al., 2023).

    What each part buys on MinAtar: studies/modern.yaml, docs/findings.md (with a reset every 10,000 updates).
    """

    layer_norm: bool = True  # LayerNorm before each ReLU
    double: bool = True  # the online network chooses the next action, the target network says its value
    update_every: int = 2  # env steps per `updates_each` updates
    reset_every: int = 40_000  # updates between resets: heads anew, torso shrunk and perturbed; 0: never
    loss: Literal["hl-gauss", "categorical"] = "hl-gauss"  # towards a Gaussian around a scalar target, or C51's
    atoms: int = 51  # evenly spaced returns
    low: float | None = None  # the smallest return an atom stands for; None: by scores and data, at most -10
    high: float | None = None  # the largest; None: by scores and data, at least 10
    usual_support: ClassVar[tuple[float, float]] = (-10.0, 10.0)
    sigma: float = 0.75  # HL-Gauss: standard deviation in atoms' distances

    def critic(self) -> Critic:
        """HL-Gauss or C51."""
        if self.loss == "categorical":
            return Categorical(self.atoms, *span(self))
        return Histogram(self.atoms, *span(self), self.sigma)


@dataclass(frozen=True)
class R2D2(ReplaySettings):
    """R2D2 (Kapturowski et al., 2019): an LSTM learning from sequences of 80 steps that overlap by 40, after 40 of
    burn-in from the stored state; n = 5, double, values on a squeezed scale, priorities 0.9 max + 0.1 mean.

    A quarter of the paper's 64 sequences a batch, one for each step played eight times, as `dqn`'s; it has 512 units,
    dueling heads, 256 actors, and the last action and reward as inputs, which are left out here.
    """

    memory: MemoryName = "lstm"
    unroll: int = 80  # steps of a sequence that are learnt from; `batch_size` steps make batch_size / unroll sequences
    burn_in: int = 40  # steps before them that warm the memory up, from what the actor remembered then
    overlap: int = 40  # steps that neighbouring sequences share
    double: bool = True  # the online network chooses the next action, the target network says its value
    n_step: int = 5  # rewards in a target before it bootstraps
    gamma: float = 0.997
    adam_eps: float = 1e-3  # ε of the optimiser, RMSProp's too
    batch_size: int = 1280  # steps: sixteen sequences
    update_every: int = 160  # env steps per `updates_each` updates
    priority: float = 0.9  # α of prioritised replay; 0: uniform
    importance: float = 0.6  # β of prioritised replay
    rescale_eps: float = 1e-3  # ε of h(x) = sign(x)(√(|x| + 1) − 1) + εx, the scale its network tells values on
    reward_scale: float = 1.0  # c of h(c · return): where rewards are far below 1, what brings them near it

    def critic(self) -> Rescaled:
        """Values on a squeezed scale."""
        return Rescaled(self.rescale_eps, self.reward_scale)

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        if not self.remembers:
            raise UserError("--student r2d2 has a memory: --student.memory lstm, gru or gtrxl; without one: dqn")
        ReplaySettings.check(self, copies)


@dataclass(frozen=True)
class PQN(RecallingSettings):
    """Made for CPUs with environments in vectors: by the clock a quick way to a teacher (benchmarks/race.py).

    Each `rollout` steps of all copies are learnt from in `epochs` passes of `batch_size` examples, towards λ-returns
    of the network that collected them. Prior data is learnt from by n-step targets of the network itself. Against the
    paper: Adam for RAdam, mean Huber for half the squared error. With a memory whole segments are learnt from.
    """

    layer_norm: bool = True  # LayerNorm before each ReLU
    n_step: int = 1  # of targets from prior data; own experience has λ-returns
    lr: float = 5e-4
    adam_eps: float = 1e-5  # ε of the optimiser, RMSProp's too
    max_grad_norm: float = 10.0  # 0: gradients are not clipped
    batch_size: int = 128
    target_every: int = 0  # updates between target syncs, for targets from prior data; 0: no target network
    warmup: int = 0  # env steps before the first online update
    epsilon: float = 0.05  # the end value of exploration
    epsilon_steps: int = 50_000  # env steps from 1 to `epsilon`, for a newborn
    rollout: int = 16  # steps of each copy between learning
    epochs: int = 2  # passes over them
    lam: float = 0.65  # λ of the returns
    segment: int = 16  # steps of a rollout that gradients pass through in one piece, with a memory
    copies: ClassVar[int] = 32
    on_rollouts: ClassVar[bool] = True
    recalling: ClassVar[type[RecurrentValueStudent]] = RecurrentRolloutStudent
    burn_in: ClassVar[int] = 0  # of sequences: each rollout's first memory is known

    @property
    def unroll(self) -> int:
        """Steps of a sequence that are learnt from."""
        return self.segment

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        ValueSettings.check(self, copies)
        if min(self.rollout, self.epochs) < 1 or not 0 <= self.lam <= 1:
            raise UserError("--student.rollout and --student.epochs must be at least 1, --student.lam from 0 to 1")
        if self.rollout * copies < self.batch_size:
            held = f"{self.rollout} steps of {copies} copies of the task"
            raise UserError(f"--student.batch-size {self.batch_size} is more than a rollout holds ({held})")
        if self.remembers:
            self.check_memory()
            check_segments(self.segment, self.rollout, self.batch_size)

    def layout(self) -> Rollout:
        """One rollout at a time."""
        return Rollout(self.rollout, self.gamma)

    def layout_of_data(self) -> AnyLayout:
        """Prior data: transitions, or with a memory sequences of a segment's length."""
        if not self.remembers:
            return ValueSettings.layout_of_data(self)
        return Sequences(self.segment, 0, self.gamma, self.n_step)

    def storage(self, spec: TaskSpec, copies: int) -> Storage:
        """Room for it."""
        return rollout_rows(spec, self.rollout, copies)

    def pace(self, copies: int) -> Pace:
        """Every rollout, a few passes over it."""
        examples = self.rollout * copies
        return Pace(examples, self.epochs * max(1, examples // self.batch_size), self.batch_size, self.warmup)
