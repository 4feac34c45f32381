"""Reincarnating reinforcement learning: train new agents from prior computation instead of from scratch."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from reincarnate.agents.agent import Agent, open_agent
    from reincarnate.data import Dataset, open_dataset
    from reincarnate.errors import UserError
    from reincarnate.methods import (
        JSRL,
        METHODS,
        RLPD,
        WSRL,
        Dagger,
        DQfD,
        FineTune,
        Kickstart,
        Pretrain,
        QDagger,
        Rehearsal,
        Scratch,
        WarmCritic,
    )
    from reincarnate.priors.teacher_report import evaluate_agent
    from reincarnate.run.execute import execute, execute_together
    from reincarnate.run.settings import Run
    from reincarnate.students import DQN, STUDENTS
    from reincarnate.teachers import open_teacher

_PLACES = {
    "agents.agent": ("Agent", "open_agent"),
    "data": ("Dataset", "open_dataset"),
    "errors": ("UserError",),
    "methods": (
        "JSRL",
        "METHODS",
        "RLPD",
        "WSRL",
        "DQfD",
        "Dagger",
        "FineTune",
        "Kickstart",
        "Pretrain",
        "QDagger",
        "Rehearsal",
        "Scratch",
        "WarmCritic",
    ),
    "priors.teacher_report": ("evaluate_agent",),
    "run.execute": ("execute", "execute_together"),
    "run.settings": ("Run",),
    "students": ("DQN", "STUDENTS"),
    "teachers": ("open_teacher",),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [  # names load when they are asked for, so that `import reincarnate` costs nothing
    "DQN",
    "JSRL",
    "METHODS",
    "RLPD",
    "STUDENTS",
    "WSRL",
    "Agent",
    "DQfD",
    "Dagger",
    "Dataset",
    "FineTune",
    "Kickstart",
    "Pretrain",
    "QDagger",
    "Rehearsal",
    "Run",
    "Scratch",
    "UserError",
    "WarmCritic",
    "evaluate_agent",
    "execute",
    "execute_together",
    "open_agent",
    "open_dataset",
    "open_teacher",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'reincarnate' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"reincarnate.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
