"""Children that are killed at an instant, and what the runs they leave behind must have in common."""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

KINDS = ("clock", "disk", "torn")  # instants; soak.py says what they are
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR


def warm() -> None:
    """Import what children need; nothing is learnt here, for PyTorch's gradients do not survive a fork."""
    import gymnasium
    import torch
    import torch._dynamo  # counting a network's operations asks for it, and it takes a second

    import reincarnate.cli.commands
    import reincarnate.cli.train  # noqa: F401

    torch.set_num_threads(1)
    gymnasium.make("CartPole-v1").close()


def child(
    folder: Path, command: list[str], kind: str = "", when: float = 0, part: float = 0.0, count: Path | None = None
) -> int:
    """Run a command in a fork, to be killed at an instant. Returns its exit code, or minus the signal."""
    pid = os.fork()
    if pid == 0:
        os._exit(_act(folder, command, kind, int(when), part, count))
    if kind == "clock":
        time.sleep(when)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _act(folder: Path, command: list[str], kind: str, when: int, part: float, count: Path | None) -> int:
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    seen = {"disk": 0, "torn": 0}
    _watch_changes(seen, when if kind == "disk" else 0)
    _watch_flushes(seen, when if kind == "torn" else 0, part)
    from reincarnate.cli import main

    try:
        main(command)
    except SystemExit as stop:
        return int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        return 70
    if count:
        count.write_text(json.dumps(seen))
    return 0


def _watch_changes(seen: dict[str, int], when: int) -> None:
    """Count what is done to the disk, and die before one of these changes."""

    def hook(event: str, arguments: tuple) -> None:
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
            seen["disk"] += 1
            if seen["disk"] == when:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _watch_flushes(seen: dict[str, int], when: int, part: float) -> None:
    """Count flushes, and die at one, a part of the file having been lost (of metrics.jsonl: of its last line)."""
    flush = os.fsync

    def fsync(handle: int) -> None:
        seen["torn"] += 1
        if seen["torn"] == when:
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            if path.is_file():
                data = path.read_bytes()
                least = data.rstrip(b"\n").rfind(b"\n") + 1 if path.name == "metrics.jsonl" else 0
                os.truncate(path, least + int(part * (len(data) - least)))
            os.kill(os.getpid(), signal.SIGKILL)
        flush(handle)

    os.fsync = fsync


def expect(wanted: int, found: int, folder: Path) -> None:
    if wanted != found:
        raise SystemExit(f"a run in {folder} ended with {found}:\n{(folder / 'log').read_text()[-4000:]}")


# ---- comparing -----------------------------------------------------------------------------------------


def compare(folder: Path) -> list[str]:
    """What differs between what the whole run and the killed one left."""
    whole, killed = essence(folder / "whole"), essence(folder / "killed")
    return sorted(name for name in whole.keys() | killed.keys() if whole.get(name, ...) != killed.get(name, ...))


def essence(where: Path) -> dict[str, Any]:
    """Everything runs leave but for the clock: weights as bytes, records as JSON; and the names of all files."""
    found: dict[str, Any] = {}
    for run in [where] if (where / "done").exists() else sorted(where.glob("s*")):
        for file in run.rglob("*"):
            if file.is_file() and "tfevents" not in file.name:
                found[str(file.relative_to(where))] = _content(file)
    return found


def _content(file: Path) -> Any:
    if file.name == "weights.safetensors":
        return file.read_bytes()
    if file.name in ("agent.json", "result.json"):
        return timeless(json.loads(file.read_text()))
    if file.name == "metrics.jsonl":
        return [timeless(json.loads(line)) for line in file.read_text().splitlines()]
    return None  # that it is there; cards tell the time, and hashes in agent.json speak for the rest


def timeless(value: Any) -> Any:
    """JSON without `seconds`."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key != "seconds"}
    return [timeless(item) for item in value] if isinstance(value, list) else value
