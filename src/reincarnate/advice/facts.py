"""What was measured of a prior and its task: all that a rule may look at."""

from dataclasses import dataclass, replace
from typing import Any

from reincarnate.run import budget
from reincarnate.run.plan import updates
from reincarnate.students import PQN
from reincarnate.students.settings import ReplaySettings
from reincarnate.training.evaluate import Evaluation
from reincarnate.types import CONTINUOUS, LOGITS, VALUES, Phase

FEW_EPISODES = 5  # of data: fewer say nothing of its level
LEAST_BUDGET = 100  # env steps: nothing is trained with fewer
LONG = 300_000  # env steps from which quick students passed their teachers (studies/better.yaml)


@dataclass(frozen=True)
class Score:
    """A mean return with its 95 % interval."""

    mean: float
    low: float
    high: float
    episodes: int

    def above(self, other: "Score") -> bool:
        """Whether the intervals are apart, this one on top."""
        return self.low > other.high

    @classmethod
    def of(cls, evaluation: Evaluation) -> "Score":
        """The score of an evaluation."""
        return cls(evaluation.mean, *evaluation.interval(), len(evaluation.returns))


def own_temperature(tells: str) -> float:
    """The temperature at which a teacher is looked at: the paper's for values, 1 for policies."""
    return 0.1 if tells == VALUES else 1.0


@dataclass(frozen=True)
class TeacherFacts:
    """A teacher on the task. `temperature` gives the better of two actions 0.9 at its median gap; 0 gaps give None."""

    uri: str
    score: Score
    tells: str
    plays: str
    episode_steps: float
    memory: bool = False
    view: str = "student"
    trained_env_steps: int | None = None
    gap: float | None = None  # median; None where actions are continuous
    temperature: float | None = None
    entropy: float | None = None  # nats, of its policy at its own temperature: 1, or 0.1 for values
    top: float | None = None  # that policy's mean probability of its best action
    warnings: tuple[str, ...] = ()

    @property
    def annotates(self) -> bool:
        """Whether it can say what it thinks of stored observations."""
        return not self.memory and self.view == "student"

    @property
    def own_temperature(self) -> float:
        """Of the policy whose entropy is told: the paper's for values; a policy's logits are one as they are."""
        return own_temperature(self.tells)

    @property
    def gaps_unlike_paper(self) -> bool:
        """Whether its action values have another size than those of clipped Atari rewards, for which τ is 0.1."""
        return self.tells == VALUES and self.temperature is not None and not 0.03 <= self.temperature <= 0.3


@dataclass(frozen=True)
class DataFacts:
    """Prior data. `returns` is None where it cannot be compared with scores; `agreement`: with the teacher's choice."""

    address: str
    episodes: int
    transitions: int
    returns: Score | None
    terminated: int = 0
    truncated: int = 0
    coverage: float | None = None
    agreement: float | None = None
    agreement_interval: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeightsFacts:
    """An agent of ours that the student could start from. `score` is None where it cannot play this task as it is."""

    address: str
    task: str
    same_network: bool
    score: Score | None
    misfit: str = ""  # why its network is not the student's
    kept: bool = False  # its replay and its optimiser's state, of this very task
    trained_env_steps: int | None = None


@dataclass(frozen=True)
class Measurement:
    """A task, a budget, a student, and what there is to start from."""

    task: str
    budget: int
    student: Any  # settings of a student
    student_name: str
    random: Score
    blind: bool = False  # the random policy's returns are all the same: it never meets a reward that tells
    continuous: bool = False
    episodes: int = 100
    seed: int = 0
    plays: str = "auto"
    teacher: TeacherFacts | None = None
    data: DataFacts | None = None
    weights: WeightsFacts | None = None

    def within(self, budget: int) -> "Measurement":
        """The same with another budget."""
        return replace(self, budget=budget)

    @property
    def updates(self) -> int:
        """Updates that the budget pays for online."""
        student = self.student
        if hasattr(student, "warmup"):
            student = replace(student, warmup=min(student.warmup, self.longest_warmup))
        return updates(Phase("online", env_steps=self.budget), student, student.copies)

    @property
    def longest_warmup(self) -> int:
        """Env steps that a student may wait before it learns: a tenth of the budget."""
        return budget.longest_warmup(self.budget)

    # ---- what the measurements say ------------------------------------------------------------------

    @property
    def good_teacher(self) -> bool:
        """A teacher whose score is above the random policy's, and not below its data's."""
        return self.teacher is not None and self.teacher.score.above(self.random) and not self.data_beats_teacher

    @property
    def random_level(self) -> bool:
        """A teacher that cannot be told from the random policy."""
        teacher = self.teacher
        return teacher is not None and not teacher.score.above(self.random) and not self.below_random

    @property
    def below_random(self) -> bool:
        """A teacher that is worse than the random policy: it was made for something else."""
        return self.teacher is not None and self.random.above(self.teacher.score)

    @property
    def data_beats_teacher(self) -> bool:
        """Data whose returns are better than the teacher's."""
        teacher, returns = self.teacher, self.data.returns if self.data else None
        return teacher is not None and returns is not None and returns.above(teacher.score)

    @property
    def good_data(self) -> bool:
        """Data that is not known to be at the random policy's level."""
        return self.data is not None and (self.data.returns is None or self.data.returns.above(self.random))

    @property
    def few_data(self) -> bool:
        """Fewer transitions than a tenth of the budget."""
        return self.data is not None and self.data.transitions * 10 < self.budget

    @property
    def good_weights(self) -> bool:
        """An agent with the student's network, above random where that can be measured, and not below the data."""
        weights, returns = self.weights, self.data.returns if self.data else None
        if weights is None or not weights.same_network:
            return False
        known = weights.score
        return known is None or (known.above(self.random) and not (returns is not None and returns.above(known)))

    @property
    def weights_beat_data(self) -> bool:
        """An agent whose score is above the data's returns."""
        score, returns = self.weights.score if self.weights else None, self.data.returns if self.data else None
        return score is not None and returns is not None and score.above(returns)

    @property
    def weak_teacher(self) -> bool:
        """A teacher that was trained for fewer env steps than the student will be."""
        return self.trained is not None and self.trained < self.budget

    @property
    def trained(self) -> int | None:
        """Env steps that the teacher was trained for, where its files tell."""
        return self.teacher.trained_env_steps if self.teacher else None

    @property
    def short_budget(self) -> bool:
        """A budget of less than a tenth of what the teacher had, as far as that is known."""
        return self.trained is not None and self.budget * 10 < self.trained

    @property
    def policy_teacher(self) -> bool:
        """A teacher that tells a policy's logits, as those of the study of quick students did."""
        return self.teacher is not None and self.teacher.tells == LOGITS

    @property
    def quick_student(self) -> bool:
        """A value student of many copies, which learns from rollouts: env steps by the million take it minutes."""
        return isinstance(self.student, PQN)

    @property
    def on_policy(self) -> bool:
        """A student that learns from what it has just played: nothing is mixed into that, and it has no replay."""
        return self.student.predicts == LOGITS

    @property
    def off_policy_actor(self) -> bool:
        """A student of continuous actions with a replay."""
        return self.student.predicts in CONTINUOUS

    @property
    def slow_student(self) -> bool:
        """A value student of one copy with a replay, that no weights are given for."""
        return isinstance(self.student, ReplaySettings) and self.weights is None

    @property
    def noisy_teacher(self) -> bool:
        """A teacher whose interval is wider than a quarter of its distance from the random policy."""
        if self.teacher is None or not self.good_teacher:
            return False
        score = self.teacher.score
        return score.high - score.low > 0.25 * (score.mean - self.random.mean)
