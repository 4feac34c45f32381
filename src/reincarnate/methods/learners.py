"""A learner beside the student: what it is told, and what settings it has for it."""

from dataclasses import dataclass, fields, replace
from typing import Any

from reincarnate.errors import UserError
from reincarnate.nets import memory as memories
from reincarnate.nets.memory import MemoryName
from reincarnate.nets.memory.gates import GateName


@dataclass(frozen=True)
class Learner:
    """One more on-policy student, with another memory, that reads the same segments."""

    learner_memory: MemoryName = "gtrxl"  # lstm, gru or gtrxl
    learner_size: int = 0  # numbers in one layer's output; 0: the memory's own (128; gtrxl 64)
    learner_layers: int = 0  # 0: the memory's own (1; gtrxl 2)
    learner_heads: int = 4  # attention heads of a gtrxl
    learner_length: int = 32  # steps each layer of a gtrxl looks back
    learner_gate: GateName = "gru"  # of a gtrxl
    learner_gate_bias: float | None = None  # b_g; None: 2 (gru) or 1
    learner_hidden: tuple[int, ...] = ()  # fully connected layers before the memory; empty: the student's
    learner_lr: float = 0.0  # 0: the student's

    def settings_of(self, name: str, student: Any) -> Any:
        """The learner's settings. Raises UserError for a student that learns from no segments."""
        assert name == "learner", name
        known = {f.name for f in fields(student)}
        if not {"memory", "rollout", "shared"} <= known or student.memory == "none":
            raise UserError(
                "a learner beside the student needs an on-policy student with a memory, whose segments it reads: "
                "--student ppo --student.memory lstm"
            )
        if self.learner_memory == "none":
            raise UserError("--learner-memory none: the learner reads the student's segments with a memory of its own")
        if self.learner_lr < 0:
            raise UserError(f"--learner-lr must not be negative: {self.learner_lr:g}")
        learner = replace(
            student,
            memory=self.learner_memory,
            memory_size=self.learner_size,
            memory_layers=self.learner_layers,
            memory_heads=self.learner_heads,
            memory_length=self.learner_length,
            memory_gate=self.learner_gate,
            memory_gate_bias=self.learner_gate_bias,
            hidden=self.learner_hidden or student.hidden,
            lr=self.learner_lr or student.lr,
            shared="auto",
            critic_memory="same",
        )
        try:
            memories.check(learner)
        except UserError as error:
            raise UserError(f"--learner-memory {self.learner_memory}: {error}") from None
        return learner
