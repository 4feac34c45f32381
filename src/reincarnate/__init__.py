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
        ALD,
        AWAC,
        BC,
        IQL,
        JSRL,
        METHODS,
        PPD,
        RLPD,
        TD3BC,
        WSRL,
        ActorMimic,
        CalQL,
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
    from reincarnate.methods.weaning import Weaning
    from reincarnate.nets.torsos import register_torso
    from reincarnate.priors.teacher_report import AgentScore, describe_teacher, evaluate_agent
    from reincarnate.priors.teacher_report import evaluate_agent as evaluate
    from reincarnate.report import compare
    from reincarnate.run.callbacks import register_callback
    from reincarnate.run.execute import execute, execute_together
    from reincarnate.run.result import Result
    from reincarnate.run.settings import Run
    from reincarnate.students import (
        A2C,
        D4PG,
        DQN,
        IQN,
        PPO,
        PQN,
        QRDQN,
        R2D2,
        SAC,
        STUDENTS,
        TD3,
        TQC,
        Modern,
        ModernSAC,
        PPOCleanRL,
        PPOContinuous,
        PrimalDual,
        Rainbow,
        register_student,
    )
    from reincarnate.studies import read_study, run_study
    from reincarnate.teachers import open_teacher, register_teacher
    from reincarnate.training.exchange import register_exchange
    from reincarnate.ui import Bars as progress

_PLACES = {
    "agents.agent": ("Agent", "open_agent"),
    "data": ("Dataset", "open_dataset"),
    "errors": ("UserError",),
    "methods": (
        "ALD",
        "AWAC",
        "BC",
        "IQL",
        "JSRL",
        "METHODS",
        "PPD",
        "RLPD",
        "TD3BC",
        "WSRL",
        "ActorMimic",
        "CalQL",
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
    "methods.weaning": ("Weaning",),
    "envs": ("register_family",),
    "nets.torsos": ("register_torso",),
    "priors.teacher_report": ("AgentScore", "describe_teacher", "evaluate_agent"),
    "run.execute": ("execute", "execute_together"),
    "run.settings": ("Run",),
    "run.callbacks": ("register_callback",),
    "run.result": ("Result",),
    "report": ("compare",),
    "studies": ("read_study", "run_study"),
    "students": (
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
        "Modern",
        "ModernSAC",
        "PPOCleanRL",
        "PPOContinuous",
        "PrimalDual",
        "Rainbow",
        "register_student",
    ),
    "teachers": ("open_teacher", "register_teacher"),
    "training.exchange": ("register_exchange",),
}
_OTHERWISE = {"evaluate": ("priors.teacher_report", "evaluate_agent"), "progress": ("ui", "Bars")}  # here -> there
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [  # names load when they are asked for, so that `import reincarnate` costs nothing
    "A2C",
    "ALD",
    "AWAC",
    "BC",
    "D4PG",
    "DQN",
    "IQL",
    "IQN",
    "JSRL",
    "METHODS",
    "PPD",
    "PPO",
    "PQN",
    "QRDQN",
    "R2D2",
    "RLPD",
    "SAC",
    "STUDENTS",
    "TD3",
    "TD3BC",
    "TQC",
    "WSRL",
    "ActorMimic",
    "Agent",
    "AgentScore",
    "CalQL",
    "DQfD",
    "Dagger",
    "Dataset",
    "FineTune",
    "Kickstart",
    "Modern",
    "ModernSAC",
    "PPOCleanRL",
    "PPOContinuous",
    "Pretrain",
    "PrimalDual",
    "QDagger",
    "Rainbow",
    "Rehearsal",
    "Result",
    "Run",
    "Scratch",
    "UserError",
    "WarmCritic",
    "Weaning",
    "compare",
    "describe_teacher",
    "evaluate",
    "evaluate_agent",
    "execute",
    "execute_together",
    "open_agent",
    "open_dataset",
    "open_teacher",
    "progress",
    "read_study",
    "register_callback",
    "register_exchange",
    "register_family",
    "register_method",
    "register_student",
    "register_teacher",
    "register_torso",
    "run_study",
]


def __getattr__(name: str) -> Any:
    module, there = _OTHERWISE.get(name) or (_MODULE_OF.get(name), name)
    if module is None:
        raise AttributeError(f"module 'reincarnate' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"reincarnate.{module}"), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
