"""Actor-Learner Distillation (Parisotto & Salakhutdinov, 2021): a large learner teaches a small actor as both learn."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

from reincarnate.errors import UserError
from reincarnate.losses.terms import Follow
from reincarnate.methods.schedules import Constant
from reincarnate.nets.memory import MemoryName
from reincarnate.nets.memory.gates import GateName
from reincarnate.types import Method, Objective, Phase, WeightedTerm


@dataclass(frozen=True)
class ALD(Method):
    """The student acts and learns by distillation alone; the learner never acts, learns by RL what the student lives.

    student: policy · KL to the learner's policy + value · ½(V − V_learner)². learner: its own loss, the ratio to the
    student's probabilities, + regular · KL to the student's policy. PPO stands where the paper has V-MPO.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    cast: ClassVar[tuple[str, ...]] = ("student", "learner")

    learner_memory: MemoryName = "gtrxl"  # none, lstm, gru or gtrxl
    learner_size: int = 0  # numbers in one layer's output; 0: the memory's own (128; gtrxl 64)
    learner_layers: int = 0  # 0: the memory's own (1; gtrxl 2)
    learner_heads: int = 4  # attention heads of a gtrxl
    learner_length: int = 32  # steps each layer of a gtrxl looks back
    learner_gate: GateName = "gru"  # of a gtrxl
    learner_gate_bias: float | None = None  # b_g; None: 2 (gru) or 1
    learner_hidden: tuple[int, ...] = ()  # fully connected layers before the memory; empty: the student's
    learner_lr: float = 0.0  # 0: the student's
    policy: float = 1.0  # weight of the student's KL to the learner
    value: float = 1.0  # weight of the student's squared error to the learner's values
    regular: float = 0.1  # weight of the learner's KL to the student; 0: the learner goes where it will
    direction: Literal["forward", "reverse"] = "forward"  # KL(teacher ‖ pupil) or KL(pupil ‖ teacher), in both terms
    distil_steps: int = 1  # the student's updates for each of the learner's
    replayed: int = 4  # rollouts that are distilled from, the newest among them

    def __post_init__(self) -> None:
        if min(self.distil_steps, self.replayed) < 1:
            raise UserError("--distil-steps and --replayed must be at least 1")
        for name in ("policy", "value", "regular", "learner_lr"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name.replace('_', '-')} must not be negative: {getattr(self, name):g}")

    @property
    def repeats(self) -> dict[str, int]:
        """How many times the updates of its pace somebody of the cast makes."""
        return {"student": self.distil_steps}

    def settings_of(self, name: str, student: Any) -> Any:
        """The learner's settings: the student's with another memory. Raises UserError for a student without any."""
        assert name == "learner", name
        if not {"memory", "rollout"} <= {f.name for f in fields(student)} or student.memory == "none":
            raise UserError(
                "ald needs an on-policy student with a memory, which learns from the same segments as its learner: "
                "--student ppo --student.memory lstm"
            )
        told = {f.name.replace("learner", "memory", 1): getattr(self, f.name) for f in fields(self) if _shapes(f.name)}
        told["memory"] = told.pop("memory_memory")
        if told["memory"] == "none":
            raise UserError("--learner-memory none: a learner reads the student's segments with a memory of its own")
        more = {"hidden": self.learner_hidden or student.hidden, "lr": self.learner_lr or student.lr}
        return replace(student, **told, **more, shared="auto", critic_memory="same")

    def phases(self, env_steps: int) -> list[Phase]:
        """One online phase."""
        reverse = self.direction == "reverse"
        follows = WeightedTerm(Follow("learner", reverse), Constant(self.policy))
        regular = WeightedTerm(Follow("student", reverse), Constant(self.regular))
        student = Objective(own=self.value, terms=(follows,), policy=0.0, values_of="learner")
        learner = Objective(terms=(regular,) if self.regular else ())
        return [Phase("online", env_steps=env_steps, objective=student, others={"learner": learner})]


def _shapes(name: str) -> bool:
    return name.startswith("learner_") and name not in ("learner_hidden", "learner_lr")
