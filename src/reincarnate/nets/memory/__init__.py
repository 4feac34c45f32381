"""Memories: a torso's second stage, from features and what was remembered to features and what is remembered next.

All have one face. `initial(n)` is the carry [n, H] of somebody who has seen nothing. `forward(features, begins, carry)`
reads one row of each of n copies (features [n, F], begins [n]) or B segments of T rows (features [B, T, F], begins
[B, T]) and gives (features out, carry after the last row). `begins` says which rows start an episode: whoever remembers
forgets before such a row is read. Reading rows one by one or as segments, however cut, gives the same outputs and the
same carry up to rounding. A carry is a flat float tensor on the memory's device; no gradient passes through a GTrXL's,
an LSTM's passes one while it is not detached (truncated back-propagation through time is the caller's choice).
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.nets.memory.gates import GateName
from reincarnate.nets.memory.gtrxl import GTrXL
from reincarnate.nets.memory.recurrent import GRU, LSTM

MemoryName = Literal["none", "lstm", "gru", "gtrxl"]
SIZES = {"none": 0, "lstm": 128, "gru": 128, "gtrxl": 64}
LAYERS = {"none": 0, "lstm": 1, "gru": 1, "gtrxl": 2}


@runtime_checkable
class Memory(Protocol):
    """The face. `carry` is H, `features` the width of what comes out."""

    features: int
    carry: int

    def initial(self, n: int) -> Float[Tensor, "n H"]: ...
    def forward(
        self, features: Float[Tensor, "n *T F"], begins: Bool[Tensor, "n *T"], carry: Float[Tensor, "n H"]
    ) -> tuple[Float[Tensor, "n *T D"], Float[Tensor, "n H"]]: ...


@runtime_checkable
class Remembering(Protocol):
    """The settings of a student that shape its memory."""

    @property
    def memory(self) -> MemoryName: ...
    @property
    def memory_size(self) -> int: ...
    @property
    def memory_layers(self) -> int: ...
    @property
    def memory_heads(self) -> int: ...
    @property
    def memory_length(self) -> int: ...
    @property
    def memory_gate(self) -> GateName: ...
    @property
    def memory_gate_bias(self) -> float | None: ...


@dataclass(frozen=True)
class MemoryShape:
    """Which memory, and how large: `Remembering` with its defaults.

    Attributes:
        memory: none, lstm, gru or gtrxl.
        memory_size: numbers in one layer's output; 0 for the memory's own (128; gtrxl 64).
        memory_layers: layers; 0 for the memory's own (1; gtrxl 2).
        memory_heads: attention heads (gtrxl).
        memory_length: steps each layer looks back (gtrxl); all layers together see `layers` times as far.
        memory_gate: gru, input, output, highway, sigtanh; none (TrXL-I) or trxl (the ungated original) (gtrxl).
        memory_gate_bias: b_g, which keeps a newborn gate near the identity; None for 2 (gru) or 1 (the others).
    """

    memory: MemoryName = "none"
    memory_size: int = 0
    memory_layers: int = 0
    memory_heads: int = 4
    memory_length: int = 32
    memory_gate: GateName = "gru"
    memory_gate_bias: float | None = None


class NoMemory(nn.Module):
    """Features pass unchanged; the carry has no columns."""

    carry = 0
    place: Tensor

    def __init__(self, inputs: int):
        nn.Module.__init__(self)
        self.features = inputs
        self.register_buffer("place", torch.empty(0), persistent=False)  # knows the device

    def initial(self, n: int) -> Float[Tensor, "n 0"]:
        return self.place.new_zeros(n, 0)

    def forward(
        self, features: Float[Tensor, "n *T F"], begins: Bool[Tensor, "n *T"], carry: Float[Tensor, "n 0"]
    ) -> tuple[Float[Tensor, "n *T F"], Float[Tensor, "n 0"]]:
        return features, carry


def build(inputs: int, shape: Remembering) -> NoMemory | LSTM | GRU | GTrXL:
    """A fresh memory over `inputs` features, from the global generator. Raises UserError where the shape is no good."""
    size, layers = check(shape)
    if shape.memory == "none":
        return NoMemory(inputs)
    if shape.memory == "gtrxl":
        heads, length = shape.memory_heads, shape.memory_length
        return GTrXL(inputs, size, layers, heads, length, shape.memory_gate, shape.memory_gate_bias)
    return (LSTM if shape.memory == "lstm" else GRU)(inputs, size, layers)


def check(shape: Remembering) -> tuple[int, int]:
    """(size, layers), defaults filled in. Raises UserError, one line, for a memory that cannot be built."""
    for name in ("memory_size", "memory_layers"):
        if getattr(shape, name) < 0:
            raise UserError(f"{name} is {getattr(shape, name)}; needed: a positive number, or 0 for the memory's own")
    size, layers = shape.memory_size or SIZES[shape.memory], shape.memory_layers or LAYERS[shape.memory]
    if shape.memory == "gtrxl":
        _check_attention(shape, size)
    return size, layers


def _check_attention(shape: Remembering, size: int) -> None:
    if shape.memory_length < 1:
        raise UserError(f"memory_length is {shape.memory_length}; a gtrxl looks back at least 1 step (or: memory none)")
    if shape.memory_heads < 1 or size % shape.memory_heads or size % 2:
        wanted = "the size must be even and a multiple of the heads"
        raise UserError(f"a gtrxl of size {size} cannot have {shape.memory_heads} heads; {wanted}")


__all__ = ["GRU", "LSTM", "GTrXL", "Memory", "MemoryName", "MemoryShape", "NoMemory", "Remembering", "build", "check"]
