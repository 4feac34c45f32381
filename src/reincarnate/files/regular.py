"""Files that are files: no pipe, no device, no link that leads out of a folder. And their hashes, computed once."""

import hashlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from reincarnate.errors import UserError
from reincarnate.files import limits

YOUNG = 100_000_000  # ns; clocks of file systems tick every few ms
Stamp = tuple[str, int, int, int, int, int]
_HASHES: dict[Stamp, str] = {}


def open_regular(path: Path) -> BinaryIO:
    """A file to read from; links to it are followed. OSError as `open` raises; UserError: a pipe, device or socket."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # of a pipe, open would wait for a writer
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(21, os.strerror(21), str(path))
        if not stat.S_ISREG(mode):
            raise UserError(f"{path}: not a file but {_kind(mode)}; refused")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bounded(path: Path, most: int = limits.FILE) -> bytes:
    """The whole file. UserError: missing, a folder, no file, unreadable, or over `most` bytes."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size  # not the limit: a reader sets aside all that it is asked for
            payload = file.read(min(size, most) + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a name with a zero in it
        raise UserError(f"{str(path)[:80]!r}: no name of a file: {error}") from None
    if len(payload) > most:
        raise UserError(f"{path}: over {most / limits.MIB:g} MiB, which is more than such a file may hold")
    return payload


def _kind(mode: int) -> str:
    for test, word in ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket")):
        if test(mode):
            return word
    return "a device"


# ---- folders ---------------------------------------------------------------------------------------------


def within(folder: Path, name: str | Path) -> Path:
    """The file `name` of a folder, which lies in it. UserError: the name, or a link, leads out of the folder.

    The Hub's cache keeps its files as links to another of its own folders, which counts as the same one.
    """
    path = folder / name
    if os.path.isabs(name) or ".." in Path(name).parts:
        raise UserError(f"{str(name)[:80]!r} does not lie within {folder}; refused")
    try:
        real, root = path.resolve(), _root(folder).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{str(path)[:200]}: cannot be read: {error}") from None
    if real != root and root not in real.parents:
        raise UserError(f"{path} is a link out of its folder (to {real}); refused")
    return path


def _root(folder: Path) -> Path:
    """The folder, or of one in a cache of the Hub the repository's: links lead from `snapshots` to `blobs` there."""
    for above in (folder, *folder.parents):
        if above.parent.name == "snapshots" and (above.parent.parent / "blobs").is_dir():
            return above.parent.parent
    return folder


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """UserError where one of these names in a folder is a link, or no file and no folder: nothing is written there."""
    for name in names:
        path = folder / name
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if stat.S_ISLNK(mode):
            raise UserError(f"{path} is a link (to {os.readlink(path)}); nothing is written or deleted through links")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UserError(f"{path} is {_kind(mode)}, not a file; refused")


def refuse_empty(text: str, what: str) -> None:
    """UserError for a name of nothing, which would be read as the current folder's."""
    if not text.strip():
        raise UserError(f"{what} is empty; for the current folder write ./")


def refuse_dangling(path: Path) -> None:
    """UserError where a path is, or leads through, a link to what is not there: nothing can be made in its place."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise UserError(f"{place} is a link to what is not there, {os.readlink(place)}; remove it, or make that")


# ---- hashes ----------------------------------------------------------------------------------------------


def content_hash(path: Path) -> str:
    """SHA-256 of a file, computed once for as long as name, size, times and inode stay. Errors as `open_regular`."""
    with open_regular(path) as file:
        stamp = _stamp(path, os.fstat(file.fileno()))
        if stamp not in _HASHES:
            digest = hashlib.file_digest(file, "sha256")  # pyright: ignore[reportArgumentType]
            found = digest.hexdigest()
            state = os.fstat(file.fileno())
            young = time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) < YOUNG
            if young or _stamp(path, state) != stamp:  # a change right after would leave the same stamp
                return found
            _HASHES[stamp] = found
        return _HASHES[stamp]


def _stamp(path: Path, stat: os.stat_result) -> Stamp:
    return (os.path.abspath(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)
