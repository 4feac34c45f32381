"""What a student can be told of its memory: the flags that all who can have one share."""

from dataclasses import dataclass

from reincarnate.errors import UserError
from reincarnate.nets import memory as memories
from reincarnate.nets.memory import MemoryName
from reincarnate.nets.memory.gates import GateName


@dataclass(frozen=True)
class MemorySettings:
    """Which memory stands between a student's torso and its heads (`nets.memory.MemoryShape`)."""

    memory: MemoryName = "none"  # lstm, gru or gtrxl: it remembers what it saw earlier in the episode
    memory_size: int = 0  # numbers in one layer's output; 0: the memory's own (128; gtrxl 64)
    memory_layers: int = 0  # 0: the memory's own (1; gtrxl 2)
    memory_heads: int = 4  # attention heads of a gtrxl
    memory_length: int = 32  # steps each layer of a gtrxl looks back
    memory_gate: GateName = "gru"  # of a gtrxl; none: TrXL-I, trxl: the ungated original
    memory_gate_bias: float | None = None  # b_g, which keeps a newborn's gates near the identity; None: 2 (gru) or 1

    @property
    def remembers(self) -> bool:
        """Whether it has a memory."""
        return self.memory != "none"

    def check_memory(self) -> None:
        """Raises UserError for a memory that cannot be built."""
        try:
            memories.check(self)
        except UserError as error:
            raise UserError(f"--student.memory {self.memory}: {error}") from None

    def said(self) -> str:
        """The memory in words, after those of the torso; "" for none."""
        if not self.remembers:
            return ""
        size, layers = memories.check(self)
        told = f", {self.memory} {size}" + (f" × {layers} layers" if layers > 1 else "")
        return told + (f", {self.memory_length} steps back" if self.memory == "gtrxl" else "")
