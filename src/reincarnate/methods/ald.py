"""Actor-Learner Distillation (Parisotto & Salakhutdinov, 2021): a large learner teaches a small actor as both learn."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from reincarnate.errors import UserError
from reincarnate.losses.terms import Follow
from reincarnate.methods.learners import Learner
from reincarnate.methods.schedules import Constant
from reincarnate.methods.weaning import Direction
from reincarnate.types import Method, Objective, Phase, WeightedTerm


@dataclass(frozen=True)
class ALD(Learner, Method):
    """The student acts and learns by distillation alone; the learner never acts, learns by RL what the student lives.

    student: policy · KL to the learner's policy + value · ½(V − V_learner)². learner: its own loss, the ratio to the
    student's probabilities, + regular · KL to the student's policy. PPO stands where the paper has V-MPO.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    cast: ClassVar[tuple[str, ...]] = ("student", "learner")
    later: ClassVar[frozenset[str]] = frozenset({"processes"})

    policy: float = 1.0  # weight of the student's KL to the learner
    value: float = 1.0  # weight of the student's squared error to the learner's values
    regular: float = 0.1  # weight of the learner's KL to the student; 0: the learner goes where it will
    direction: Direction = "forward"  # KL(teacher ‖ pupil) or KL(pupil ‖ teacher), in both terms
    distil_steps: int = 1  # the student's updates for each of the learner's
    replayed: int = 4  # rollouts that are distilled from, the newest among them
    processes: Literal["one", "two"] = "one"  # two: the student is distilled beside the learner, to the same bits

    @property
    def rollouts(self) -> int:
        """Those that are distilled from."""
        return self.replayed

    @property
    def repeats(self) -> dict[str, int]:
        """How many times the updates of its pace somebody of the cast makes."""
        return {"student": self.distil_steps}

    @property
    def distant(self) -> frozenset[str]:
        """The student, where it is distilled in a process of its own."""
        return frozenset({"student"} if self.processes == "two" else ())

    def phases(self, env_steps: int) -> list[Phase]:
        """One online phase."""
        if min(self.distil_steps, self.replayed) < 1:
            raise UserError("--distil-steps and --replayed must be at least 1")
        if min(self.policy, self.value, self.regular) < 0:
            raise UserError("--policy, --value and --regular are weights and must not be negative")
        reverse = self.direction == "reverse"
        follows = WeightedTerm(Follow("learner", reverse), Constant(self.policy))
        regular = WeightedTerm(Follow("student", reverse), Constant(self.regular))
        student = Objective(own=self.value, terms=(follows,), policy=0.0, values_of="learner")
        learner = Objective(terms=(regular,) if self.regular else ())
        return [Phase("online", env_steps=env_steps, objective=student, others={"learner": learner})]
