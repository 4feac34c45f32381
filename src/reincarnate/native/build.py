"""Kernels compiled on the machine that runs them, once: a second or two, kept for every later run."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("learning.cpp", "convolution.cpp", "norm.cpp", "optimizer.cpp", "priorities.cpp")
HEADERS = ("vectors.h", "towers.h")
FLAGS = ("-O3", "-std=c++17", "-fno-math-errno", "-shared", "-fPIC")
FOR_THIS_PROCESSOR = "-march=native"
LONGEST = 120  # seconds a compiler may take


def compiler() -> str | None:
    """The C++ compiler: g++, or what the environment's CXX names; None where there is none."""
    return shutil.which(os.environ.get("CXX", "g++"))


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, compiled if they have not been; None where that cannot be done."""
    command = compiler()
    if command is None:
        return None
    try:
        return ctypes.CDLL(str(_built(command)))
    except (OSError, subprocess.SubprocessError):
        return None


def _built(command: str) -> Path:
    """The library's file, made if it is not there. Raises OSError or SubprocessError where it cannot be made."""
    name = f"kernels-{_key(command)}.so"
    folder = _kept_in()
    if folder is None:  # nowhere to keep it: loaded libraries outlive their files
        with tempfile.TemporaryDirectory(prefix="reincarnate-") as passing:
            path = Path(passing) / name
            _compile(command, path)
            ctypes.CDLL(str(path))
            return path
    path = folder / name
    if not path.exists():
        with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as passing:
            _compile(command, Path(passing) / name)
            os.replace(Path(passing) / name, path)  # others may be building it too: whole or not at all
    return path


def _compile(command: str, to: Path) -> None:
    sources = [str(HERE / name) for name in SOURCES]
    subprocess.run(
        [command, *FLAGS, FOR_THIS_PROCESSOR, *sources, "-o", str(to)], check=True, capture_output=True, timeout=LONGEST
    )


def _key(command: str) -> str:
    """What the library is a function of: our sources, the compiler, the processor."""
    parts = [(HERE / name).read_bytes() for name in (*SOURCES, *HEADERS)]
    version = subprocess.run([command, "--version"], check=True, capture_output=True, timeout=LONGEST).stdout
    parts += [version, " ".join((*FLAGS, FOR_THIS_PROCESSOR)).encode(), _processor().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> str:
    """What instructions there are: homes are shared between machines that differ."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            told = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
        return "".join(sorted(set(told)))
    except OSError:
        return platform.processor() + platform.machine()


def _kept_in() -> Path | None:
    """The user's folder for what can be made again; None where nobody but the user could be sure of what is in it."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = (Path(base) if base else Path.home() / ".cache") / "reincarnate"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        safe = (
            folder.is_dir() and not folder.is_symlink() and status.st_uid == os.getuid() and not status.st_mode & 0o022
        )
        return folder if safe and os.access(folder, os.W_OK) else None
    except (OSError, RuntimeError):
        return None
