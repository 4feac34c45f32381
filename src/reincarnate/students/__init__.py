"""The students, by name. A new family is a file in this folder and a line here, or `register_student` from outside."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any

from reincarnate.plugins import Registry, blaming, settings_check

if TYPE_CHECKING:
    from reincarnate.students.continuous import ContinuousStudent
    from reincarnate.students.continuous_settings import D4PG, SAC, TD3, TQC, ContinuousSettings, ModernSAC
    from reincarnate.students.families import DQN, IQN, PQN, QRDQN, R2D2, Modern, Rainbow
    from reincarnate.students.policy_settings import A2C, PPO, PolicySettings, PPOCleanRL, PPOContinuous
    from reincarnate.students.primal_dual import PrimalDual
    from reincarnate.students.settings import ReplaySettings, ValueSettings
    from reincarnate.students.value import ValueStudent

_PLACES = {
    **dict.fromkeys(("DQN", "Rainbow", "QRDQN", "IQN", "Modern", "PQN", "R2D2"), "families"),
    **dict.fromkeys(("D4PG", "SAC", "TD3", "TQC", "ContinuousSettings", "ModernSAC"), "continuous_settings"),
    **dict.fromkeys(("A2C", "PPO", "PolicySettings", "PPOCleanRL", "PPOContinuous"), "policy_settings"),
    "ContinuousStudent": "continuous",
    "PrimalDual": "primal_dual",
    "ValueSettings": "settings",
    "ValueStudent": "value",
}

STUDENTS = Registry(
    "student",
    {
        "dqn": "reincarnate.students.families:DQN",
        "rainbow": "reincarnate.students.families:Rainbow",
        "qrdqn": "reincarnate.students.families:QRDQN",
        "iqn": "reincarnate.students.families:IQN",
        "modern": "reincarnate.students.families:Modern",
        "pqn": "reincarnate.students.families:PQN",
        "r2d2": "reincarnate.students.families:R2D2",
        "td3": "reincarnate.students.continuous_settings:TD3",
        "sac": "reincarnate.students.continuous_settings:SAC",
        "tqc": "reincarnate.students.continuous_settings:TQC",
        "d4pg": "reincarnate.students.continuous_settings:D4PG",
        "modern_sac": "reincarnate.students.continuous_settings:ModernSAC",
        "ppo": "reincarnate.students.policy_settings:PPO",
        "ppo-cleanrl": "reincarnate.students.policy_settings:PPOCleanRL",
        "ppo-continuous": "reincarnate.students.policy_settings:PPOContinuous",
        "a2c": "reincarnate.students.policy_settings:A2C",
        "primal_dual": "reincarnate.students.primal_dual:PrimalDual",
    },
    "reincarnate.students",
    settings_check("predicts", "explores", "copies", "check", "newborn", "network", "policy", "layout", "storage"),
)

# What a Run accepts: any registered student.
AnyStudent = ReplaySettings if TYPE_CHECKING else Annotated[Any, STUDENTS]


def stacker(settings: Any) -> Any:
    """What makes one student of several with these settings: a function of them and of how to compile; or None."""
    from reincarnate.students.settings import RecallingSettings, ValueSettings
    from reincarnate.students.stacked import StackedStudent

    newborn = getattr(type(settings), "newborn", None)
    ours = isinstance(settings, ValueSettings) and newborn in (ValueSettings.newborn, RecallingSettings.newborn)
    return StackedStudent if ours and not getattr(settings, "remembers", False) else None


def compilable(settings: Any, cuda: bool) -> bool:
    """Whether updates of such a student can be compiled, or on a GPU recorded.

    Value students' gradients both ways, on-policy ones' on a CPU, whole updates of actor-critics on a GPU; none that
    remembers.
    """
    from reincarnate.students.continuous_settings import ContinuousSettings
    from reincarnate.students.policy_settings import PolicySettings

    own = ContinuousSettings if cuda else PolicySettings
    ours = isinstance(settings, own) and type(settings).newborn is own.newborn
    return stacker(settings) is not None or (ours and not getattr(settings, "remembers", False))


def check_student(settings: Any, copies: int) -> None:
    """Raises UserError for settings that cannot mean anything, and where somebody's own student fails at that."""
    with making(settings):
        settings.check(copies)


def making(settings: Any) -> AbstractContextManager[None]:
    """Within, a student of somebody else's that fails is named in a line (`plugins.blaming`)."""
    kind = type(settings)
    return blaming(STUDENTS, kind, f"the student {STUDENTS.name_of(kind) or kind.__name__} cannot be made")


def register_student(name: str, settings: type) -> None:
    """Add a student of your own, by its settings (`types.Settings`). Raises UserError where that cannot be."""
    STUDENTS.register(name, settings)


def __getattr__(name: str) -> Any:
    """A student's class, imported when it is asked for: names alone cost nothing."""
    import importlib

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


__all__ = [
    "A2C",
    "D4PG",
    "DQN",
    "IQN",
    "PPO",
    "PQN",
    "QRDQN",
    "R2D2",
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
    "PrimalDual",
    "Rainbow",
    "ValueSettings",
    "ValueStudent",
    "register_student",
]
