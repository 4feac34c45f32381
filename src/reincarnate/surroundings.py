"""What a process finds around it, made harmless: other encodings, no home, a notebook's settings, a caller's torch."""

import atexit
import codecs
import gc
import getpass
import importlib
import io
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_WITHIN = threading.RLock()  # of `own_torch`

PLAIN = {  # letters that we print and some terminals lack
    **{"α": "alpha", "γ": "gamma", "ε": "epsilon", "λ": "lambda", "σ": "sigma", "τ": "tau", "Σ": "sum of "},
    **{"×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "±": "+/-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~"},
    **{
        "→": "->",
        "…": "...",
        "’": "'",
        "‘": "'",
        "“": '"',
        "”": '"',
        "°": " degrees ",
        "²": "^2",
        "∞": "inf",
        "•": "*",
    },
}


def _speller(encoding: str) -> str:
    """The name of an error handler for ASCII: our signs in plain letters, other letters as `encoding` has them."""

    def spelt(error: UnicodeError) -> tuple[str | bytes, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        lacking = error.object[error.start : error.end]
        if not any(letter in PLAIN for letter in lacking):
            return lacking.encode(encoding, "replace"), error.end
        letter = error.object[error.start]
        return (PLAIN.get(letter) or letter.encode(encoding, "replace")), error.start + 1

    name = f"reincarnate-{encoding}"
    codecs.register_error(name, spelt)
    return name


def readable_output() -> None:
    """Let standard output and error print whatever we say, whichever letters their encodings lack.

    Outside UTF our own signs (τ, ×, …) are always spelt in ASCII: the bytes are then the same for every reader.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper) or (stream.errors or "").startswith("reincarnate"):
            continue
        encoding = codecs.lookup(stream.encoding).name
        if encoding.startswith("utf"):
            stream.reconfigure(errors="backslashreplace")
        else:
            stream.reconfigure(encoding="ascii", errors=_speller(encoding))


def home() -> Path:
    """The user's home; where there is none (no HOME, no entry in passwd) a folder for temporary files."""
    try:
        return Path.home()
    except (RuntimeError, KeyError, OSError):
        return Path(tempfile.gettempdir()) / f"reincarnate-{os.getuid()}"


def own_process() -> None:
    """Set up a process that is ours, the command line's: it prints everywhere; libraries find a home and a name."""
    readable_output()
    if not os.environ.get("HOME") and os.path.expanduser("~") == "~":
        os.environ["HOME"] = str(home())
    try:
        getpass.getuser()  # as torch's compiler asks for the place of its cache
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"uid{os.getuid()}"
    # looking for garbage as the process ends, through all of torch, takes half a second; what is not looked at is not
    # finalised, which nothing of ours needs: files are closed where they were opened
    atexit.register(gc.freeze)


def sound_backend() -> None:
    """Import matplotlib, whatever backend the environment names: a notebook's may not be installed here.

    Nothing of ours opens a window, so that the name is forgotten where matplotlib refuses it.
    """
    asked = os.environ.pop("MPLBACKEND", None)
    matplotlib = importlib.import_module("matplotlib")
    if asked:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = asked
            os.environ["MPLBACKEND"] = asked


@contextmanager
def own_torch() -> Iterator[None]:
    """Within, torch is as it comes: float32 on the CPU, with gradients; afterwards as the caller had set it, the number
    of its threads too. One thread of the process is within at a time, another waits.

    A default of float64 or of another device, `no_grad` and `inference_mode` would change what is computed, or end in
    an exception far from their cause; and torch's generator and defaults are the whole process's. Works as a decorator
    too.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(_WITHIN)
        dtype, device = torch.get_default_dtype(), torch.get_default_device()
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_default_dtype(torch.float32)
        stack.callback(torch.set_default_dtype, dtype)
        if device.type != "cpu":  # only then: a context of a device costs time at every call
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


def ungraded(f: Callable[P, R]) -> Callable[P, R]:
    """A function without gradients, as `torch.no_grad()` has it, but for nothing where they are off already.

    Acting is called once per env step, from the loop and through policies that ask each other.
    """

    @wraps(f)
    def call(*args: P.args, **named: P.kwargs) -> R:
        import torch

        if not torch.is_grad_enabled():
            return f(*args, **named)
        torch._C._set_grad_enabled(False)  # what `no_grad` does, in a tenth of its time
        try:
            return f(*args, **named)
        finally:
            torch._C._set_grad_enabled(True)

    return call


def end_with_parent() -> None:
    """Let this process end when the one that started it has gone, and leave Ctrl-C to that one.

    A worker whose study was killed would go on alone, and hold the run that the study, begun again, needs. Ctrl-C
    reaches the whole group of processes; whoever started this one ends it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait_for_end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()


def spawned(target: Callable[..., None], *told: Any, **options: Any) -> tuple[BaseProcess, Connection]:
    """A process that was started anew, and this end of a pipe to it; the other end is what `target` is told first."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *told), **options)
    process.start()
    theirs.close()
    return process, ours


def how_ended(process: BaseProcess) -> str:
    """Of a process that has ended, in words."""
    process.join()
    code = process.exitcode or 0
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def see_ended(process: BaseProcess, grace: float) -> None:
    """Wait so many seconds until a process has ended; one that does not is killed."""
    process.join(grace)
    if process.is_alive():
        process.kill()
        process.join()


def starting_up() -> bool:
    """Whether this process is a worker that is importing the script which started the study.

    The script's own call, if it stands outside `if __name__ == "__main__"`, comes by here a second time.
    """
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))
