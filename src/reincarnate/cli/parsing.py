"""Flags to values: tyro's parser, with numbers as people write them; a command's flags; JSON for programs."""

import functools
import inspect
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from reincarnate.errors import UserError
from reincarnate.files.numbers import whole_number
from reincarnate.files.regular import refuse_empty

BOX = "│╭╮╰╯|+ "  # what a parser draws around its lines
EDGE = re.compile(r"[╭╰]─")  # its upper one holds a title that the text says again
RULE = re.compile(r"[─-]{5,}")
FLAGS = re.compile(r"^[│|\s]*((?:-\w, )?--[a-z][\w.-]*(?:, --[a-z][\w.-]*)*)", re.M)  # where a line of help begins


def cli(command: Any, args: Sequence[str], prog: str, **more: Any) -> Any:
    """`tyro.cli`, where whole numbers may also be written 1e5, 20_000 or 20,000, and no path is empty.

    A function is called once its arguments are whole. UserError: they are not; one line says which.
    """
    if not inspect.isfunction(command):
        return _parsed(command, args, prog, more)
    asked = list[tuple[tuple[Any, ...], dict[str, Any]]]()

    @functools.wraps(command)
    def kept(*values: Any, **named: Any) -> None:
        asked.append((values, named))

    _parsed(kept, args, prog, more)
    (values, named) = asked[0]
    return command(*values, **named)


def _parsed(command: Any, args: Sequence[str], prog: str, more: dict[str, Any]) -> Any:
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(command, args=args, prog=prog, registry=KINDS, **more)
    except SystemExit as end:
        if end.code in (0, None):
            raise
        told = in_a_line(said.getvalue())
        mark = " " if told.endswith("?") else "; "
        raise UserError(f"{told}{mark}`{prog} --help` tells what there is") from None


def in_a_line(text: str) -> str:
    """What a parser says in a box of several lines: what is wrong, and which flags are near."""
    parts: list[list[str]] = [[]]
    lines = text.splitlines()
    titled = not any(map(EDGE.match, lines))  # in ASCII a box has no edges: its title is a part
    for line in (line.strip(BOX) for line in lines if not EDGE.match(line)):
        parts = [*parts, []] if RULE.fullmatch(line) else [*parts[:-1], [*parts[-1], line]]
    told = [" ".join(filter(None, part)) for part in parts if any(part)][titled:]
    wrong = (told[0] if told else "the arguments cannot be read").rstrip(".")
    near = next((part for part in parts if any(line.startswith("Perhaps you meant") for line in part)), [])
    flags = [line.split()[0] for line in near if line.startswith("--")]
    return f"{wrong}; did you mean {' or '.join(flags[:3])}?" if flags else wrong


def print_json(value: Any) -> None:
    """JSON for programs on standard output; what is no number becomes null."""
    print(json.dumps(finite(value), indent=1, allow_nan=False))


def finite(value: Any) -> Any:
    """JSON values with null for what is infinite or no number."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flags_of(command: Callable[[list[str]], object], args: list[str]) -> list[str]:
    """Every flag that a command's help lists; nothing of it is run."""
    with redirect_stdout(io.StringIO()) as said, suppress(SystemExit):
        command([*args, "--help"])
    listed = (flag for line in FLAGS.findall(said.getvalue()) for flag in line.split(", "))
    return sorted({flag for flag in listed if flag.startswith("--")})


KINDS = ConstructorRegistry()


@KINDS.primitive_rule
def _whole(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda args: whole_number(args[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


@KINDS.primitive_rule
def _whole_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Several: `64 64` or `64,64`; where there may be several a comma parts them, so each is written without."""
    if info.type != tuple[int, ...]:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[INT [INT ...]]",
        instance_from_str=lambda args: tuple(whole_number(one) for arg in args for one in arg.split(",")),
        is_instance=lambda value: isinstance(value, tuple) and all(isinstance(one, int) for one in value),
        str_from_instance=lambda value: [str(one) for one in value],
    )


@KINDS.primitive_rule
def _path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    if info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda args: path_of(args[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


def path_of(text: str) -> Path:
    """A path. Raises UserError for an empty one: it would be the current folder, which nobody has named."""
    refuse_empty(text, "a path")
    return Path(text)
