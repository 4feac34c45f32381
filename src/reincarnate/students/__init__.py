"""The students, by name. A new family is a file in this folder and a line here."""

from reincarnate.students.dqn import DQN, DQNStudent

STUDENTS = {"dqn": DQN}

__all__ = ["DQN", "STUDENTS", "DQNStudent"]
