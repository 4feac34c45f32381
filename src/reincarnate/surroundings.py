"""What a process finds around it, made harmless: other encodings, no home, a notebook's settings, a caller's torch."""

import codecs
import getpass
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

PLAIN = {  # letters that we print and some terminals lack
    **{"α": "alpha", "γ": "gamma", "ε": "epsilon", "λ": "lambda", "σ": "sigma", "τ": "tau", "Σ": "sum of "},
    **{"×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "±": "+/-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~"},
    **{"→": "->", "…": "...", "’": "'", "‘": "'", "“": '"', "”": '"', "°": " degrees ", "²": "^2", "∞": "inf", "•": "*"},
}


def _spelt(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: letters that an encoding lacks, in letters that all have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter, "?") for letter in lacking), error.end


codecs.register_error("reincarnate", _spelt)


def readable_output() -> None:
    """Let standard output and error print whatever we say, whichever letters their encodings lack."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and getattr(stream, "errors", "") == "strict":
            stream.reconfigure(errors="reincarnate")  # pyright: ignore[reportAttributeAccessIssue]
        elif hasattr(stream, "reconfigure") and stream is sys.stderr:  # Python's own choice is \\u03c4
            stream.reconfigure(errors="reincarnate")  # pyright: ignore[reportAttributeAccessIssue]


def home() -> Path:
    """The user's home; where there is none (no HOME, no entry in passwd) a folder for temporary files."""
    try:
        return Path.home()
    except (RuntimeError, KeyError, OSError):
        return Path(tempfile.gettempdir()) / f"reincarnate-{os.getuid()}"


def own_process() -> None:
    """Set up a process that is ours, the command line's: libraries find a home, a user's name and no notebook."""
    readable_output()
    os.environ["MPLBACKEND"] = "agg"  # nothing here opens a window; a notebook's backend may not be installed
    if not os.environ.get("HOME") and os.path.expanduser("~") == "~":
        os.environ["HOME"] = str(home())
    try:
        getpass.getuser()  # as torch's compiler asks for the place of its cache
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"uid{os.getuid()}"


def sound_backend() -> None:
    """Forget a backend of matplotlib that is not installed here: notebooks leave theirs to commands of other Pythons.

    To be called before matplotlib is imported, which fails otherwise.
    """
    kind, _, module = os.environ.get("MPLBACKEND", "").partition("://")
    if kind == "module" and importlib.util.find_spec(module.partition(".")[0]) is None:
        del os.environ["MPLBACKEND"]


@contextmanager
def own_torch() -> Iterator[None]:
    """Within, torch is as it comes: float32 on the CPU, with gradients; afterwards as the caller had set it.

    A default of float64 or of another device, `no_grad` and `inference_mode` would change what is computed, or end in
    an exception far from their cause. Works as a decorator too.
    """
    import torch

    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    with ExitStack() as stack:
        torch.set_default_dtype(torch.float32)
        stack.callback(torch.set_default_dtype, dtype)
        if device.type != "cpu":
            torch.set_default_device(None)  # a context, `with torch.device(…)`, stays, and costs time at each call
            if torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
            else:
                stack.callback(torch.set_default_device, device)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


class _Callable(ModuleType):
    """A module that may be called as its function `main`: `from reincarnate.cli import main` names both."""

    def __call__(self, *args: Any) -> Any:
        return self.main(*args)


def callable_module(name: str) -> None:
    """Let a module be called as its `main`."""
    importlib.import_module(name).__class__ = _Callable
