"""What may be given for a teacher, data, weights or an agent, as the address that a record keeps."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from reincarnate.agents.agent import Agent
from reincarnate.data import Dataset
from reincarnate.errors import UserError
from reincarnate.files.regular import refuse_empty


class _Given(type):
    """The type of what a run may be given: on the command line and in records always text."""

    def __instancecheck__(cls, value: object) -> bool:
        known = value is None or isinstance(value, str | Path | Agent | Dataset)
        return known or hasattr(value, "card") or callable(value)


class _Address(metaclass=_Given):
    """An address, or what `address_of` can make one of; or None."""


_Address.__name__ = "an address"  # as `config` names what it expected


_FLAG = PrimitiveConstructorSpec(
    nargs=1,
    metavar="{None}|STR",
    instance_from_str=lambda args: None if args[0] == "None" else args[0],
    is_instance=lambda value: value is None or isinstance(value, str),
    str_from_instance=lambda value: [str(value)],
)
_PATH = PrimitiveConstructorSpec(
    nargs=1,
    metavar="STR",
    instance_from_str=lambda args: args[0],
    is_instance=lambda value: isinstance(value, str),
    str_from_instance=lambda value: [str(value)],
)
if TYPE_CHECKING:
    Address = Any
    Place = Any
else:
    Address = Annotated[_Address, _FLAG]
    Place = Annotated[str | Path, _PATH]


def address_of(value: Any, what: str) -> str | None:
    """The address of an address, a path, an opened teacher, an agent, a dataset, or a function written in a file.

    UserError: it has none, so that nobody could find it again, or an empty one.
    """
    if isinstance(value, str):
        refuse_empty(value, f"the address of the {what}")
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
