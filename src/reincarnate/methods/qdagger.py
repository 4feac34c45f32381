"""QDagger (Agarwal et al., 2022): distil and learn offline from the teacher's data, then online while being weaned."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from reincarnate.methods.checks import at_least, positive
from reincarnate.methods.schedules import Constant
from reincarnate.methods.weaning import Direction, Temperature, Weaning, Weans, taught
from reincarnate.types import Objective, Phase, TeacherCard, WeightedTerm


@dataclass(frozen=True)
class QDagger(Weans):
    """Own TD loss + λ · KL to the teacher, in both phases.

    Offline: `offline_updates` on the teacher's data with λ = 1. At the switch the target network is synchronised,
    the optimiser kept, the replay empty and exploration at its end value. Online: as kickstarting. Defaults are the
    paper's for a DQN student (λ0 = 3, of values τ = 0.1 on both policies) but for the number of offline updates, which
    the paper sets to 1.6 times the online ones (1 M to 625 k).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teacher", "data"})

    offline_updates: int = 20_000  # on the teacher's data, before the first env step
    weight: float = 3.0  # λ0: the teacher's term against the student's own loss
    temperature: Temperature = "kind"  # τ of both policies, softmax(Q / τ); by the kind of teacher, or auto: measured
    teacher_temperature: float | None = None  # τ of the teacher's policy alone; None: the same
    teacher_std: float = 0.0  # σ_T in [-1, 1] of a teacher that tells means alone; 0: the error of actions is taken
    direction: Direction = "forward"  # KL(teacher ‖ student); reverse: KL(student ‖ teacher), which seeks one mode
    alpha: Literal["teacher", "own"] = "teacher"  # α at first: the teacher's where its files tell it, or the student's
    critic_targets: Literal["actor", "data"] = "actor"  # offline: whose next action they ask (data: SARSA)
    actor_lr: float = 1.0  # offline: what multiplies the learning rate of an actor with an optimiser of its own
    wean: Weaning = field(default_factory=Weaning)

    def phases(self, env_steps: int) -> list[Phase]:
        """An offline phase, then a weaned online one."""
        term = self.imitation()
        offline = WeightedTerm(term, Constant(self.weight))
        return [
            Phase(
                "offline",
                updates=at_least("--offline-updates", 1, self.offline_updates),
                objective=Objective(
                    terms=(offline,),
                    actor_lr=positive("--actor-lr", self.actor_lr),
                    sarsa=self.critic_targets == "data",
                ),
            ),
            taught(env_steps, term, self.weight, self.wean, newborn=False),
        ]

    def equipped(self, student: Any, card: TeacherCard | None) -> Any:
        """With the teacher's α, so that the entropy's worth does not swamp what was distilled."""
        known = card.alpha if card and self.alpha == "teacher" and hasattr(student, "learn_alpha") else None
        return replace(student, alpha=known) if known else student
