"""Shared memory in which members of a population leave their parameters: no locks, the latest message wins.

Each member has two buffers and the number of its newest message, an aligned int64 that only it writes. It writes into
the buffer that the newest message is not in, then raises the number. A reader copies the newest, and takes the copy
only where the number has not moved meanwhile and the checksum fits: a message that is overwritten while it is read, or
whose parts another processor sees out of order, is read again, and is missed at worst.
"""

import zlib
from multiprocessing.shared_memory import SharedMemory
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

VERSION, LEFT = 0, 1  # columns of the table: number of the newest message, whether its member has left
TRIES = 4  # readings of a message that is overwritten meanwhile


class Message(NamedTuple):
    """What a member left: its number, from 1 on, and the vector."""

    version: int
    vector: np.ndarray


@runtime_checkable
class Mail(Protocol):
    """Where members leave messages and find others': this mailbox, or one over a network (`run.ray_members`)."""

    members: int
    dtype: Any

    def post(self, member: int, vector: np.ndarray) -> None:
        """Leave a message."""
        ...

    def latest(self, member: int, since: int = 0) -> Message | None:
        """A member's newest message, None where it has left none after number `since`."""
        ...

    def leave(self, member: int, left: bool = True) -> None:
        """Mark that a member has left, or is back."""
        ...

    def has_left(self, member: int) -> bool:
        """Whether it has."""
        ...


class Mailbox:
    """Room for messages of `size` numbers from each of `members`. Whoever made it also takes it away (`unlink`)."""

    def __init__(self, members: int, size: int, dtype: str = "float32", name: str | None = None):
        self.members, self.size, self.dtype = members, size, np.dtype(dtype)
        table, sums, room = members * 2 * 8, members * 2 * 8, members * 2 * size * self.dtype.itemsize
        self._memory = SharedMemory(name, create=name is None, size=table + sums + room)
        buffer = self._memory.buf
        self._table = np.ndarray((members, 2), np.int64, buffer)
        self._sums = np.ndarray((members, 2), np.int64, buffer, table)
        self._room = np.ndarray((members, 2, size), self.dtype, buffer, table + sums)

    @property
    def address(self) -> tuple[int, int, str, str]:
        """What another process needs to open it: `Mailbox(*address)`."""
        return self.members, self.size, self.dtype.name, self._memory.name

    def post(self, member: int, vector: np.ndarray) -> None:
        """Leave a message, whoever may be reading."""
        number = int(self._table[member, VERSION]) + 1
        self._room[member, number % 2] = vector
        self._sums[member, number % 2] = zlib.crc32(self._room[member, number % 2])
        self._table[member, VERSION] = number

    def latest(self, member: int, since: int = 0) -> Message | None:
        """A copy of a member's newest message, None where it has left none after number `since`."""
        for _ in range(TRIES):
            number = int(self._table[member, VERSION])
            if number <= since:
                return None
            vector, expected = self._room[member, number % 2].copy(), int(self._sums[member, number % 2])
            if int(self._table[member, VERSION]) == number and zlib.crc32(vector) == expected:
                return Message(number, vector)
        return None

    def left_by(self, member: int) -> np.ndarray:
        """The newest vector of a member that is known to have left one."""
        message = self.latest(member)
        assert message is not None, f"{member} has left nothing"
        return message.vector

    def leave(self, member: int, left: bool = True) -> None:
        """Mark that a member has left, so that nobody waits for it, or that somebody has taken its place."""
        self._table[member, LEFT] = left

    def has_left(self, member: int) -> bool:
        """Whether it has."""
        return bool(self._table[member, LEFT])

    def close(self, unlink: bool = False) -> None:
        """Let go of the memory; with `unlink` it is gone once all others have."""
        del self._table, self._sums, self._room
        self._memory.close()
        if unlink:
            self._memory.unlink()
