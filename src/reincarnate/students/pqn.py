"""PQN (Gallici et al., 2024): Q(λ) on fresh experience of many environments, without replay or target network."""

from dataclasses import dataclass
from typing import ClassVar

from reincarnate.data.rollouts import Rollouts
from reincarnate.errors import UserError
from reincarnate.students.settings import ValueSettings
from reincarnate.types import Pace, TaskSpec


@dataclass(frozen=True)
class PQN(ValueSettings):
    """Made for CPUs with environments in vectors: by the clock a quick way to a teacher (benchmarks/race.py).

    Each `rollout` steps of all copies are learnt from in `epochs` passes of `batch_size` examples, towards λ-returns
    of the network that collected them. Prior data is learnt from by n-step targets of the network itself. Against the
    paper: Adam for RAdam, mean Huber for half the squared error.
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
    copies: ClassVar[int] = 32

    def check(self, copies: int) -> None:
        """Refuse numbers that cannot mean anything. Raises UserError."""
        ValueSettings.check(self, copies)
        if min(self.rollout, self.epochs) < 1 or not 0 <= self.lam <= 1:
            raise UserError("--student.rollout and --student.epochs must be at least 1, --student.lam from 0 to 1")
        if self.rollout * copies < self.batch_size:
            held = f"{self.rollout} steps of {copies} copies of the task"
            raise UserError(f"--student.batch-size {self.batch_size} is more than a rollout holds ({held})")

    def memory(self, spec: TaskSpec, copies: int) -> Rollouts:
        """One rollout at a time."""
        return Rollouts(spec, copies, self.rollout, self.gamma, self.lam)

    def pace(self, copies: int) -> Pace:
        """Every rollout, a few passes over it."""
        examples = self.rollout * copies
        return Pace(examples, self.epochs * max(1, examples // self.batch_size))
