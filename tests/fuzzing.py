"""Damage for importers: files that were valid, with bytes changed where it hurts, and a watch over what opening them does.

Each trial must end in success or in one `UserError` of one line, within time and memory limits; nothing may be
executed, connected to, or written outside the trial's folder.
"""

import gzip
import io
import os
import resource
import signal
import sys
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from reincarnate.errors import UserError

SECONDS = 20  # one trial; the machine may be busy
MEMORY = 1 << 30  # bytes that opening may need beyond what the process has
UNPACKED = 1 << 26  # bytes that are looked into in a compressed file
NUMBERS = [b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x00" * 8, b"\xff\xff\xff\xff\x0f", b"\x80" * 12, b"\x00"]
WORDS = [b"cos\nsystem\n(S'id'\ntR.", b"../../outside", b"/etc/passwd", b"\x80\x04\x95", b"1e999", b"NaN", b"[" * 5000,
         b"999999999999", b"-1", b"\x93NUMPY", b"PK\x03\x04", b"\xdf\xff\xff\xff\xff", b"\xdd\x7f\xff\xff\xff"]  # fmt: skip


@dataclass(frozen=True)
class Target:
    """An importer: valid `files` by name (paths within a folder), and what opens the folder they are put in."""

    name: str
    files: dict[str, bytes]
    open: Callable[[Path], object]


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """One to six changes: bytes overwritten, cut, doubled, moved, or replaced by hostile ones."""
    for _ in range(int(rng.integers(1, 7))):
        content = _change(content, rng)
    return content


def _change(content: bytes, rng: np.random.Generator) -> bytes:
    at, end = sorted(int(rng.integers(len(content) + 1)) for _ in range(2))
    end = min(end, at + 1 + int(rng.integers(64)))
    match int(rng.integers(8)):
        case 0:
            return content[:at] + bytes([int(rng.integers(256))]) + content[at + 1 :]
        case 1:
            return content[:at] + content[end:]
        case 2:
            return content[:end] + content[at:]
        case 3:
            return content[:at] + rng.bytes(int(rng.integers(1, 9))) + content[at:]
        case 4:
            number = NUMBERS[int(rng.integers(len(NUMBERS)))]
            return content[:at] + number + content[at + len(number) :]
        case 5:
            return content[:at] + WORDS[int(rng.integers(len(WORDS)))] + content[end:]
        case 6:
            flipped = bytearray(content)
            for k in rng.integers(len(content), size=3) if content else ():
                flipped[int(k)] ^= 1 << int(rng.integers(8))
            return bytes(flipped)
        case _:
            return content[:at]


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """As `mutate`, more often than not inside: in a member of a zip, in what was compressed, checksums made right."""
    if rng.random() < 0.7:
        if content[:4] == b"PK\x03\x04":
            return _in_zip(content, rng)
        if content[:2] == b"\x1f\x8b":
            return gzip.compress(damage(gzip.decompress(content), rng), 1)
        if content[:2] in (b"\x78\x9c", b"\x78\x01", b"\x78\xda"):
            return zlib.compress(damage(zlib.decompress(content), rng), 1)
    return mutate(content, rng)


def _in_zip(content: bytes, rng: np.random.Generator) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = names[int(rng.integers(len(names)))]
        for name in names:
            inside = old.read(name)
            new.writestr(name, damage(inside, rng) if name == chosen else inside)
    return out.getvalue()


# ---- trials ------------------------------------------------------------------------------------------

FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.", "socket.connect", "ctypes.dlopen",
             "os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.chmod", "os.kill", "pty.", "shutil.")  # fmt: skip


class Watch:
    """An audit hook, which cannot be taken away again: for a process of its own. `seen` is what must not happen."""

    def __init__(self) -> None:
        self.allowed: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple) -> None:
        if self.allowed is None or self._within(args):
            return
        writes = event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event.startswith(FORBIDDEN) or (writes and args[0] != os.devnull):
            self.seen.append(f"{'wrote' if writes else event} {args!r}"[:200])

    def _within(self, args: tuple) -> bool:
        return bool(args) and str(args[0]).startswith(str(self.allowed))


class TooSlow(Exception):
    """A trial took longer than it may."""


def trials(target: Target, count: int, seed: int, folder: Path) -> Counter[str]:
    """`count` damaged copies, each opened. Returns how many "opened", how many were "refused", and what failed."""
    watch, rng, found = Watch(), np.random.default_rng(seed), Counter[str]()
    signal.signal(signal.SIGALRM, _ring)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _open(target, dict(target.files), folder / "whole", watch)  # imports what is needed; and it must open
        _limit_memory()
        for k in range(count):
            name = list(target.files)[int(rng.integers(len(target.files)))]
            files = {**target.files, name: damage(target.files[name], rng)}
            found[_outcome(target, files, folder / "damaged", watch, f"{target.name}, seed {seed}, trial {k}")] += 1
    return found


def _outcome(target: Target, files: dict[str, bytes], folder: Path, watch: Watch, which: str) -> str:
    try:
        _open(target, files, folder, watch)
        end = "opened"
    except UserError as error:
        end = "refused" if "\n" not in str(error) else f"{which}: more than one line: {str(error)[:300]!r}"
    except BaseException as error:
        end = f"{which}: {type(error).__name__}: {str(error)[:200]!r}"
    if watch.seen:
        end = f"{which}: {watch.seen.pop()}"
        watch.seen.clear()
    return end


def _open(target: Target, files: dict[str, bytes], folder: Path, watch: Watch) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    watch.allowed = folder
    signal.alarm(SECONDS)
    try:
        target.open(folder)
    finally:
        signal.alarm(0)
        watch.allowed = None


def _ring(*_: object) -> None:
    raise TooSlow


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def fuzz(target: Target, count: int, seed: int, folder: Path) -> Counter[str]:
    """`trials` in a process of its own; one that dies is an outcome too."""
    context = get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_send, args=(theirs, target, count, seed, folder))
    child.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError:
        found = Counter({f"{target.name}, seed {seed}: the process died": 1})
    child.join()
    return found


def _send(pipe, target: Target, count: int, seed: int, folder: Path) -> None:
    pipe.send(trials(target, count, seed, folder))
    pipe.close()
