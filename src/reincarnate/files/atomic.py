"""Writing so that nothing is ever half-written: temporary name, flush to disk, rename. And hashing what was written."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from reincarnate.errors import UserError
from reincarnate.files.records import FORMAT as FORMAT
from reincarnate.files.regular import content_hash

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NOT_ALLOWED = {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST}
NOT_ALLOWED |= {errno.ENAMETOOLONG, errno.EIO}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into one clear line, whichever library met it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = _number(error)
        if number in NO_ROOM:
            said = f"the disk is full ({os.strerror(number)}): cannot write {path}; free some space and resume"
            raise UserError(said) from error
        if number in NOT_ALLOWED:
            raise UserError(f"cannot write {path}: {os.strerror(number)}; choose another folder") from error
        raise


def _number(error: Exception) -> int:
    """The system's number of an error; 0 where it has none. safetensors says it in words, NumPy how much it wrote."""
    if isinstance(error, OSError):
        short = error.errno is None and re.search(r"requested and \d+ written", str(error))
        return errno.ENOSPC if short else error.errno or 0
    said = re.search(r"os error (\d+)|code: (\d+)", str(error))
    return int(said[1] or said[2]) if said else 0


def flush(*paths: Path) -> None:
    """Wait until files and folders are on the disk itself, so that a machine that stops leaves them too."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: it is there whole, or as it was before."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the order given; NaN is an error."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


@contextmanager
def staging(parent: Path, mark: str = "") -> Iterator[Path]:
    """A temporary folder in `parent`, gone afterwards unless it was published; its name begins with a `mark`."""
    with disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".staging-{mark}", dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, target: Path) -> bool:
    """Give a complete folder its name in one step. Where the name is taken, what has it stays, and this is False."""
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o755 if file.is_dir() else 0o644)
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True


def sha256_file(path: Path) -> str:
    """Hash of a file's content, computed once for as long as its stamp (name, size, times, inode) stays."""
    return content_hash(path)


def sha256_json(value: Any) -> str:
    """Hash of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
