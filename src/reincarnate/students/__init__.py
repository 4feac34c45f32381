"""The students, by name. A new family is a file in this folder and a line here, or `register_student` from outside."""

from typing import TYPE_CHECKING, Annotated, Any

from reincarnate.plugins import Registry, settings_check

if TYPE_CHECKING:
    from reincarnate.students.families import DQN, IQN, PQN, QRDQN, Modern, Rainbow
    from reincarnate.students.settings import ReplaySettings, ValueSettings
    from reincarnate.students.value import ValueStudent

_PLACES = {
    **dict.fromkeys(("DQN", "Rainbow", "QRDQN", "IQN", "Modern", "PQN"), "families"),
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
    },
    "reincarnate.students",
    settings_check("predicts", "explores", "copies", "check", "newborn", "network", "policy", "layout", "storage"),
)

# What a Run accepts: any registered student.
AnyStudent = ReplaySettings if TYPE_CHECKING else Annotated[Any, STUDENTS]


def stacker(settings: Any) -> Any:
    """What makes one student of several with these settings: a function of them and of whether to compile; or None."""
    from reincarnate.students.settings import ValueSettings
    from reincarnate.students.stacked import StackedStudent

    ours = isinstance(settings, ValueSettings) and type(settings).newborn is ValueSettings.newborn
    return StackedStudent if ours else None


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
    "DQN",
    "IQN",
    "PQN",
    "QRDQN",
    "STUDENTS",
    "AnyStudent",
    "Modern",
    "Rainbow",
    "ValueSettings",
    "ValueStudent",
    "register_student",
]
