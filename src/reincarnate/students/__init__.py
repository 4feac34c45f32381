"""The students, by name. A new family is a file in this folder and a line here."""

from typing import TYPE_CHECKING, Any, Union

from reincarnate.students.continuous import ContinuousStudent
from reincarnate.students.continuous_settings import D4PG, SAC, TD3, TQC, ContinuousSettings, ModernSAC
from reincarnate.students.families import DQN, IQN, PQN, QRDQN, Modern, Rainbow
from reincarnate.students.policy_settings import A2C, PPO, PolicySettings, PPOCleanRL, PPOContinuous
from reincarnate.students.settings import ReplaySettings, ValueSettings
from reincarnate.students.stacked import StackedStudent
from reincarnate.students.value import ValueStudent

STUDENTS = {
    "dqn": DQN,
    "rainbow": Rainbow,
    "qrdqn": QRDQN,
    "iqn": IQN,
    "modern": Modern,
    "pqn": PQN,
    "td3": TD3,
    "sac": SAC,
    "tqc": TQC,
    "d4pg": D4PG,
    "modern_sac": ModernSAC,
    "ppo": PPO,
    "ppo-cleanrl": PPOCleanRL,
    "ppo-continuous": PPOContinuous,
    "a2c": A2C,
}

# What a Run accepts: any registered student (spelled for tools that make flags from types).
AnyStudent = ReplaySettings if TYPE_CHECKING else Union[tuple(STUDENTS.values())]  # noqa: UP007


def stacker(settings: Any) -> Any:
    """What makes one student of several with these settings: a function of them and of whether to compile; or None."""
    return StackedStudent if isinstance(settings, ValueSettings) else None


__all__ = [
    "A2C",
    "D4PG",
    "DQN",
    "IQN",
    "PPO",
    "PQN",
    "QRDQN",
    "SAC",
    "STUDENTS",
    "TD3",
    "TQC",
    "AnyStudent",
    "ContinuousSettings",
    "ContinuousStudent",
    "Modern",
    "ModernSAC",
    "PPOCleanRL",
    "PPOContinuous",
    "PolicySettings",
    "Rainbow",
    "ValueSettings",
    "ValueStudent",
]
