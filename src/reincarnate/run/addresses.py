"""What a run may be given for a teacher, data or weights, as the address that its record keeps."""

import inspect
from pathlib import Path
from typing import Any

from reincarnate.agents.agent import Agent
from reincarnate.data import Dataset
from reincarnate.errors import UserError


def address_of(value: Any, what: str) -> str | None:
    """The address of an address, a path, an opened teacher, an agent, a dataset, or a function written in a file.

    UserError: it has none, so that nobody could find it again.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Agent):
        return f"store:{value.path}"
    if isinstance(value, Dataset):
        return str(value.path)
    uri = getattr(getattr(value, "card", None), "uri", None)
    if isinstance(uri, str):
        return uri
    if callable(value):
        return _of_function(value, what)
    said = f"{value!r}"[:80]
    raise UserError(f"--{what} must be an address, a path, or something opened by reincarnate, not {said}")


def _of_function(value: Any, what: str) -> str:
    """`py:FILE.py:NAME` of a function or class at the top of a file."""
    name, file = getattr(value, "__qualname__", ""), None
    if name.isidentifier():
        try:
            file = inspect.getsourcefile(value)
        except TypeError:
            file = None
    if file is None or not Path(file).is_file() or Path(file).suffix != ".py":
        raise UserError(
            f"--{what}: a record can name a function only where it stands at the top of a file; write it into one "
            f"(in a notebook: %%writefile rule.py) and name it 'py:rule.py:NAME'"
        )
    return f"py:{file}:{name}"
