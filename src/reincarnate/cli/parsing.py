"""Flags to values: tyro's parser, with numbers as people write them; a command's flags; JSON for programs."""

import io
import json
import math
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

FLAGS = re.compile(r"^[│|\s]*((?:-\w, )?--[a-z][\w.-]*(?:, --[a-z][\w.-]*)*)", re.M)  # where a line of help begins


def cli(command: Any, args: Sequence[str], prog: str, **more: Any) -> Any:
    """`tyro.cli`, where whole numbers may also be written 1e5, 20_000 or 20,000."""
    return tyro.cli(command, args=args, prog=prog, registry=NUMBERS, **more)


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


def whole_number(text: str) -> int:
    """A whole number as people write it: 100000, 100_000, 100,000, 1e5. Raises ValueError for what is none."""
    plain = text.replace(",", "").replace("_", "")
    try:
        return int(plain)
    except ValueError:
        value = float(plain)
    if not value.is_integer():  # an infinite one is none either
        raise ValueError(f"{text!r} is no whole number")
    return int(value)


NUMBERS = ConstructorRegistry()


@NUMBERS.primitive_rule
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
