"""Writing so that nothing is ever half-written: temporary name, flush to disk, rename. And hashing what was written."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reincarnate.errors import UserError

FORMAT = 1  # of every JSON file this version writes; docs/formats.md specifies them


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full: cannot write {path}; free some space and resume") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise UserError(f"cannot write {path}: {error.strerror}; choose another folder") from error
        raise


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


def read_json(path: Path) -> Any:
    """Read a JSON file of ours. Raises UserError when it is missing, torn, or of a newer format."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if isinstance(value, dict) and value.get("format", FORMAT) != FORMAT:
        raise UserError(f"{path} has format {value['format']}; this version reads format {FORMAT}")
    return value


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A temporary folder in `parent`, gone afterwards unless it was published."""
    with disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, target: Path) -> None:
    """Give a complete folder its name in one step. Where the name is taken by equal content, that stays."""
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o755 if file.is_dir() else 0o644)
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def sha256_file(path: Path) -> str:
    """Hash of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hash of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
