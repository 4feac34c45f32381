"""Reincarnating reinforcement learning: train new agents from prior computation instead of from scratch."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from reincarnate.agents.agent import Agent, open_agent
    from reincarnate.data import Dataset, open_dataset
    from reincarnate.envs import register_family
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
        register_method,
    )
    from reincarnate.nets.torsos import register_torso
    from reincarnate.priors.teacher_report import evaluate_agent
    from reincarnate.run.callbacks import register_callback
    from reincarnate.run.execute import execute, execute_together
    from reincarnate.run.settings import Run
    from reincarnate.students import DQN, STUDENTS, register_student
    from reincarnate.teachers import open_teacher, register_teacher
    from reincarnate.training.exchange import register_exchange

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
        "register_method",
    ),
    "envs": ("register_family",),
    "nets.torsos": ("register_torso",),
    "priors.teacher_report": ("evaluate_agent",),
    "run.execute": ("execute", "execute_together"),
    "run.settings": ("Run",),
    "run.callbacks": ("register_callback",),
    "students": ("DQN", "STUDENTS", "register_student"),
    "teachers": ("open_teacher", "register_teacher"),
    "training.exchange": ("register_exchange",),
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
    "register_callback",
    "register_exchange",
    "register_family",
    "register_method",
    "register_student",
    "register_teacher",
    "register_torso",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'reincarnate' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"reincarnate.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
