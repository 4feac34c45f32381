"""A lock on a directory: one process writes to it. The system frees it when the process ends, however that happens."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from reincarnate.errors import UserError
from reincarnate.files.atomic import disk_errors

FILE = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # of a file system that has none: then nobody is kept out


class Lock:
    """Held from the moment it is made until `release`. Raises UserError where another process holds it."""

    def __init__(self, folder: Path):
        self._path = folder / FILE
        self._handle: int | None = None
        while self._handle is None or not self._is_there():
            self.release()
            self._take(folder)
        with disk_errors(self._path):
            os.ftruncate(self._handle, 0)
            os.write(self._handle, str(os.getpid()).encode())

    def _is_there(self) -> bool:
        """Whether the file that is locked is still the one with the name: its last owner may have removed it."""
        assert self._handle is not None
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._handle), os.stat(self._path))
        return False

    def _take(self, folder: Path) -> None:
        with disk_errors(self._path):
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return
            owner = os.read(self._handle, 20).decode(errors="replace").strip()
            self.release()
            who = f"process {owner}" if owner.isdigit() else "another process"
            raise UserError(f"{folder} is in use: {who} writes to it; wait for it, or stop it") from None

    def release(self) -> None:
        """Let others in."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def moved(self, folder: Path) -> None:
        """Its folder has another name by now, and is held on."""
        self._path = folder / FILE

    def remove(self) -> None:
        """Take the file away; who made it holds the lock on."""
        with contextlib.suppress(OSError):
            self._path.unlink()


@contextlib.contextmanager
def abandoned(folder: Path) -> Iterator[bool]:
    """Whether a folder was held by a process that has ended; nobody else gets it until this is over.

    False where that cannot be told: it was never held, or the file system has no locks.
    """
    with contextlib.ExitStack() as undo:
        try:
            handle = os.open(folder / FILE, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            undo.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ended = os.path.samestat(os.fstat(handle), os.stat(folder / FILE))  # or it has got its name since
        except OSError:
            ended = False
        yield ended
