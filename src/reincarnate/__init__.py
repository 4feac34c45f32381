"""Reincarnating reinforcement learning: train new agents from prior computation instead of from scratch."""

__version__ = "0.1.0"

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

__all__ = [
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
