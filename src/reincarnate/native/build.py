"""Kernels compiled on the machine that runs them, once: a second or two, kept for every later run."""

import ctypes
import hashlib
import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("learning.cpp", "convolution.cpp", "norm.cpp", "optimizer.cpp", "priorities.cpp")
HEADERS = ("vectors.h", "towers.h")
FLAGS = ("-O3", "-std=c++17", "-fno-math-errno", "-shared", "-fPIC", "-march=native")
LONGEST = 120  # seconds a compiler may take
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
FAILURES = (OSError, RuntimeError, subprocess.SubprocessError, ValueError)
"""Of a compiler, a cache, a home that is none."""


def compiler() -> list[str] | None:
    """The command of the C++ compiler: g++, or what the environment's CXX says; None where there is none."""
    command = shlex.split(os.environ.get("CXX") or "g++") or ["g++"]
    return command if shutil.which(command[0]) else None


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, compiled if they have not been; None where that cannot be done."""
    try:
        command = compiler()
        return None if command is None else _loaded(command)
    except FAILURES:
        return None


def _loaded(command: list[str]) -> ctypes.CDLL:
    key = _key(command)
    folder = _kept_in()
    if folder is not None:
        try:
            return ctypes.CDLL(str(_found(folder, key) or _built(command, folder, key)))
        except FAILURES:
            pass  # a full disk, one that nothing can be loaded from
    with tempfile.TemporaryDirectory(prefix="reincarnate-") as passing:  # what is loaded outlives its file
        return ctypes.CDLL(str(_built(command, Path(passing), key)))


def _found(folder: Path, key: str) -> Path | None:
    """The library that was kept, if it is whole and nobody else's: a damaged one would end the process."""
    for path in folder.glob(f"kernels-{key}-*.so"):
        status = path.lstat()
        own = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & OTHERS_WRITE
        if own and path.name == _name(key, path.read_bytes()):
            return path
    return None


def _built(command: list[str], folder: Path, key: str) -> Path:
    """The library, made and kept in a folder under what it holds: whole or not at all."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as passing:
        made = Path(passing) / "kernels.so"
        _run([*command, *FLAGS, *(str(HERE / name) for name in SOURCES), "-o", str(made)])
        made.chmod(0o500)
        path = folder / _name(key, made.read_bytes())
        if path.is_dir() and not path.is_symlink():
            raise OSError(f"{path} is a folder")
        with made.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(made, path)
    return path


def _name(key: str, content: bytes) -> str:
    return f"kernels-{key}-{hashlib.sha256(content).hexdigest()[:16]}.so"


def _run(command: list[str]) -> bytes:
    """What a command prints. It and what it started end with its time. Raises OSError or SubprocessError."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **quiet, start_new_session=True) as process:  # pyright: ignore
        try:
            out, errors = process.communicate(timeout=LONGEST)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, out, errors)
    return out


def _key(command: list[str]) -> str:
    """What the library is a function of: our sources, the compiler, the instructions that this processor has."""
    parts = [(HERE / name).read_bytes() for name in (*SOURCES, *HEADERS)]
    parts += [_run([*command, "--version"]), " ".join((*command, *FLAGS)).encode(), _processor(command)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor(command: list[str]) -> bytes:
    """What the compiler defines for it: homes are shared between machines that differ."""
    return _run([*command, "-march=native", "-dM", "-E", "-x", "c++", os.devnull])


def _kept_in() -> Path | None:
    """The user's folder for what can be made again; None where somebody else could write to it."""
    try:
        base = os.environ.get("XDG_CACHE_HOME", "")
        folder = (Path(base) if base else Path.home() / ".cache") / "reincarnate"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        safe = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & OTHERS_WRITE
        return folder if safe and os.access(folder, os.W_OK) else None
    except (OSError, RuntimeError):
        return None
