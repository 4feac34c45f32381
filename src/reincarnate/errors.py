"""The one exception whose message is meant for the person at the keyboard."""

import re

LONGEST = 2000  # letters of a message, whatever it quotes
flags = False  # whether the person types flags: `--env-steps` is then what others know as the argument env_steps
FLAG = re.compile(r"(?<![\w-])(?<!install )--(?=[a-z])([a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)*)")


class UserError(Exception):
    """Bad input: one line that says what was wrong, with what, and what to do. The command line exits with 2.

    It is one line whatever names from strangers' files it quotes: what cannot be printed becomes a space, and it is
    cut at 2,000 letters. Where `flags` is not set it speaks of arguments: of env_steps, not of `--env-steps`.
    """

    def __str__(self) -> str:
        said = super().__str__() if flags else as_arguments(super().__str__())
        cut = said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"
        return "".join(letter if letter.isprintable() else " " for letter in cut)


FAILURES = (Exception, SystemExit)
"""What a person's own code may raise as it is called by ours: `sys.exit()` there must not end us without a word."""


def reason_of(error: BaseException, limit: int = LONGEST) -> str:
    """What one of them was, on one line; of what it says so many letters at most."""
    told = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        told = f"sys.exit({'' if error.code is None else repr(error.code)}) was called"
    return f"{type(error).__name__}: {told[:limit]}"


def as_arguments(text: str) -> str:
    """A message with arguments for flags: `--env-steps` is env_steps; commands in backticks stay as they are."""
    parts = text.split("`")
    return "`".join(FLAG.sub(_argument, part) if i % 2 == 0 else part for i, part in enumerate(parts))


def _argument(found: re.Match[str]) -> str:
    """`--wean.no-sticky` is what Python calls wean.sticky=False."""
    *owners, name = found[1].split(".")
    off = name.startswith("no-")
    return ".".join([*owners, name.removeprefix("no-")]).replace("-", "_") + ("=False" if off else "")
