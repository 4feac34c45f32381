"""Damage for importers: files that were valid, with bytes changed where it hurts, and a watch over what opening them does.

Each trial must end in success or in one `UserError` of one line, within time and memory limits; nothing may be
executed, connected to, or written outside the trial's folder.
"""

import copy
import gzip
import io
import json
import os
import re
import resource
import shutil
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
from typing import Any

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
    mend: Callable[[dict[str, bytes]], dict[str, bytes]] | None = None
    """Makes the hashes right again after damage, so that it is found by what it is, not by a hash."""


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
    """As `mutate`, more often than not inside: in a member of a zip, in what was compressed, in a value of JSON, in the
    header of an array or of safetensors; checksums and lengths are made right."""
    if rng.random() < 0.7:
        if content[:4] == b"PK\x03\x04":
            return _in_zip(content, rng)
        if content[:2] == b"\x1f\x8b":
            return gzip.compress(damage(gzip.decompress(content), rng), 1)
        if content[:2] in (b"\x78\x9c", b"\x78\x01", b"\x78\xda"):
            return zlib.compress(damage(zlib.decompress(content), rng), 1)
        if content[:1] == b"{" and (value := _json_of(content)) is not None:
            return _text(spoiled(value, rng))
        if content[8:9] == b"{" and (size := int.from_bytes(content[:8], "little")) < len(content):
            header = _text(spoiled(_json_of(content[8 : 8 + size]) or {}, rng))
            return len(header).to_bytes(8, "little") + header + content[8 + size :]
        if content[:6] == b"\x93NUMPY":
            return _in_npy(content, rng)
    return mutate(content, rng)


# ---- inside JSON -------------------------------------------------------------------------------------

HOSTILE: list = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**39, 10**60, -(10**18), 0.5, -0.0, 1e308, 1e999, float("nan")),
    *("", " ", "\x1b[31m", "[/x]", "\ud800", "\0", "..", "../../outside", "/etc/passwd", "py:evil.py:run", "x" * 5000, "²"),
    *([], {}, [[]], [None], [{}], {"": {}}, {"name": "dqn"}, {"name": []}, ["a", 1], [1e999], [True], "0" * 64, "f" * 64),
]  # fmt: skip


def spoiled(value: Any, rng: np.random.Generator) -> Any:
    """A JSON value with one to three parts replaced by others, taken out, doubled, renamed, or wrapped deep."""
    try:
        return _spoiled(copy.deepcopy(value), rng)
    except RecursionError:  # wrapped again and again
        return HOSTILE[int(rng.integers(len(HOSTILE)))]


def _spoiled(value: Any, rng: np.random.Generator) -> Any:
    for _ in range(int(rng.integers(1, 4))):
        places = _places(value)
        if not places:
            return HOSTILE[int(rng.integers(len(HOSTILE)))]
        owner, key = places[int(rng.integers(len(places)))]
        other, other_key = places[int(rng.integers(len(places)))]
        match int(rng.integers(8)):
            case 0 | 1 | 2:
                owner[key] = copy.deepcopy(HOSTILE[int(rng.integers(len(HOSTILE)))])  # or it is spoiled for ever
            case 3:
                del owner[key]
            case 4:
                owner[key] = copy.deepcopy(other[other_key])
            case 5 if isinstance(owner, dict):
                owner[f"{key}²"] = owner.pop(key)
            case 6:
                for _ in range(int(rng.choice([1, 3, 70, 120]))):
                    owner[key] = [owner[key]] if rng.random() < 0.5 else {"a": owner[key]}
            case _:
                owner[key] = _changed(owner[key], rng)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key in a value, without recursion."""
    found, waiting = [], [value]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        found += [(node, key) for key in keys]
        waiting += [node[key] for key in keys if isinstance(node[key], dict | list)]
    return found


def _changed(value: Any, rng: np.random.Generator) -> Any:
    """A value a little different, of the same kind."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return rng.choice([value + 1, -value, value * 2, value + 0.5, 0]).item() if abs(value) < 1e15 else 0
    if isinstance(value, str):
        return mutate(value.encode(errors="replace"), rng).decode(errors="replace")
    return value * 2 if isinstance(value, list) else {**value, "more": value}


def _json_of(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> bytes:
    """As JSON, however deep."""
    try:
        return json.dumps(value).encode()
    except (RecursionError, ValueError):  # or it lies in itself
        return b"[" * 3000 + b"]" * 3000


def _in_npy(content: bytes, rng: np.random.Generator) -> bytes:
    """Another header of the same length, or other numbers."""
    size = 10 + int.from_bytes(content[8:10], "little")
    if rng.random() < 0.4:
        return content[:size] + mutate(content[size:], rng)
    parts = ["'<f4'", "'|V8'", "'|O'", "'<U4'", "'|b1'", "'>i8'", "'<c16'", "[('a', '<f4')]", "'|u1'", "'<M8[s]'"]
    shapes = ["()", "(True,)", "(-1,)", "(0,)", "(2,)", "(2, 3)", "(1000000000000,)", "(1, 1, 1, 1, 1, 1, 1)", "(6,)"]
    header = content[10:size].decode("latin-1")
    header = (
        re.sub(r"'descr': [^,]+", f"'descr': {parts[int(rng.integers(len(parts)))]}", header)
        if rng.random() < 0.5
        else header
    )
    header = re.sub(r"\([^)]*\)", shapes[int(rng.integers(len(shapes)))], header) if rng.random() < 0.6 else header
    return content[:10] + header[: size - 10].rstrip().ljust(size - 11).encode("latin-1") + b"\n" + content[size:]


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
        if self.allowed is None or self._within(event, args):
            return
        writes = event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event.startswith(FORBIDDEN) or (writes and args[0] != os.devnull):
            self.seen.append(f"{'wrote' if writes else event} {args!r}"[:200])

    def _within(self, event: str, args: tuple) -> bool:
        if not args:
            return False
        path, folder = str(args[0]), next((x for x in reversed(args[1:]) if isinstance(x, int) and x > 2), None)
        if event in ("os.remove", "os.rmdir") and not path.startswith("/") and folder is not None:  # one that is open
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        return path.startswith(str(self.allowed))


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
            if target.mend:
                shutil.rmtree(folder / "damaged", ignore_errors=True)
                files = target.mend(files) if rng.random() < 0.9 else files
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
