"""Fields of records that anybody may have written, each read with a refusal that names the file and the field."""

import math
from pathlib import Path
from typing import Any

from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.records import FORMAT, loads, shown
from reincarnate.files.regular import read_bounded, within


def read_record(path: Path) -> dict[str, Any]:
    """A JSON object of ours. Raises UserError if there is none, or if its format number is unknown."""
    record = parse(read_text(path), path)
    if record.get("format") != FORMAT:
        raise UserError(f"{path} has format {record.get('format')!r}; this version reads format {FORMAT}")
    return record


def read_text(path: Path) -> str:
    """A file's text. Raises UserError if it cannot be read."""
    try:
        return read_bounded(within(path.parent, path.name), limits.METRICS).decode("utf-8")
    except UserError as error:
        raise UserError(f"cannot read {path} ({error}): the run is incomplete") from error
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {path} ({error.__class__.__name__}): the run is incomplete") from error


def parse(text: str, where: Path | str) -> dict[str, Any]:
    """A JSON object from text that came from `where`. Raises UserError if it is anything else."""
    record = loads(text, where, numbers_may_be_none=True)
    if not isinstance(record, dict):
        raise UserError(f"{where} should hold an object, not {type(record).__name__}")
    return record


def get(record: Any, field: str, where: Path | str) -> Any:
    """A field; dots reach into inner objects. Raises UserError if it is absent."""
    for key in field.split("."):
        if not isinstance(record, dict) or key not in record:
            raise UserError(f"{where} has no field {field!r}")
        record = record[key]
    return record


class NotFinite(UserError):
    """A number was expected, and NaN, infinity or something else is there."""


def finite(value: Any, field: str, where: Path | str) -> float:
    """The value as a float. Raises NotFinite for NaN, infinity and whatever is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise NotFinite(f"{where}: {field} is {shown(value)}, not a finite number")
    return float(value)


def number(record: Any, field: str, where: Path | str) -> float:
    """A field that must hold a finite number."""
    return finite(get(record, field, where), field, where)


def integer(record: Any, field: str, where: Path | str) -> int:
    """A field that must hold a whole number."""
    return int(number(record, field, where))


def optional(record: Any, field: str, where: Path | str) -> float | None:
    """A field that must hold a finite number or null."""
    return None if get(record, field, where) is None else number(record, field, where)
