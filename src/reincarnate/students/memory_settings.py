"""What a student can be told of its memory, and of the sequences it then learns from: flags that students share."""

from dataclasses import dataclass

from reincarnate.data.layouts import Sequences
from reincarnate.errors import UserError
from reincarnate.nets import memory as memories
from reincarnate.nets.memory import MemoryName
from reincarnate.nets.memory.gates import GateName
from reincarnate.students.refusals import MOST_LAYERS, refuse_above, refuse_below


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
        refuse_above(self, {"memory_layers": MOST_LAYERS})
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


@dataclass(frozen=True)
class SequenceSettings(MemorySettings):
    """Of a student that learns from a replay: how sequences are cut from it where the student has a memory."""

    unroll: int = 16  # steps of a sequence that are learnt from; `batch_size` steps make batch_size / unroll sequences
    burn_in: int = 8  # steps before them that warm the memory up, from what the actor remembered then
    overlap: int = 8  # steps that neighbouring sequences share

    def check_sequences(self, batch_size: int) -> None:
        """Raises UserError for a memory that cannot be built, and for sequences that cannot be."""
        self.check_memory()
        refuse_below(self, {"unroll": 1, "burn_in": 0, "overlap": 0})
        if self.overlap >= self.unroll:
            told = f"--student.overlap {self.overlap} must be below --student.unroll {self.unroll}"
            raise UserError(f"{told}: each sequence begins later than the one before")
        if batch_size < self.unroll:
            told = f"--student.batch-size {batch_size} counts steps and holds no sequence"
            raise UserError(f"{told} of --student.unroll {self.unroll}; at least {self.unroll} is needed")

    def examples(self, steps: int) -> int:
        """Of how many sequences, or without a memory lone steps, a batch of so many steps is made."""
        return steps // self.unroll if self.remembers else steps

    def least_rows(self, batch_size: int, n_step: int, copies: int) -> int:
        """The smallest replay: a batch must fit beside rows that wait for what follows them."""
        waiting = self.unroll + self.burn_in if self.remembers else n_step
        return batch_size + copies * (waiting + 8)

    def sequences(self, gamma: float, n_step: int) -> Sequences:
        """How experience is cut for a student with a memory."""
        return Sequences(self.burn_in + self.unroll, self.burn_in, gamma, n_step, self.unroll - self.overlap)


def check_segments(segment: int, rollout: int, batch_size: int) -> None:
    """Raises UserError for segments that do not fit into a rollout, or into a batch."""
    if segment < 1 or rollout % segment:
        told = f"--student.segment {segment} does not divide --student.rollout {rollout}"
        raise UserError(f"{told}: segments are cut from rollouts")
    if batch_size % segment:
        told = f"--student.batch-size {batch_size} counts steps and holds no whole number of segments"
        raise UserError(f"{told} of --student.segment {segment}")
