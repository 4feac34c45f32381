"""What others bring along: modules imported by their name, and names that stand for methods, students, torsos …

A registry holds our own names, those of installed packages (entry points), and those that a module registered which
somebody imported (`--import MODULE`). Nothing of it is loaded before it is asked for.
"""

import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from reincarnate.errors import FAILURES, UserError, reason_of

IMPORTS = "REINCARNATE_IMPORT"  # variable of the environment: modules that register something, by commas

# ---- modules ------------------------------------------------------------------------------------------


def imported(names: Iterable[str]) -> None:
    """Import modules, as a task's or a run's settings name them. Raises UserError for one that is missing or fails."""
    for name in names:
        import_module(name)


def asked_imports() -> tuple[str, ...]:
    """The modules that --import named: what they register is wanted in a study's workers and in records too."""
    return tuple(filter(None, os.environ.get(IMPORTS, "").split(",")))


def go_to(where: Path, imports: Iterable[str]) -> None:
    """Be, in a process elsewhere, where a command is: relative paths are its own, its modules imported. UserError."""
    os.chdir(where)
    imported(imports)


def ask_import(name: str) -> None:
    """Import a module, here and in the processes that this one starts. Raises UserError."""
    import_module(name)
    os.environ[IMPORTS] = ",".join(dict.fromkeys((*asked_imports(), name)))


@contextmanager
def asking() -> Iterator[None]:
    """Within, what --import names is remembered; afterwards it is as it was."""
    before = os.environ.get(IMPORTS)
    try:
        yield
    finally:
        os.environ.pop(IMPORTS, None)
        if before is not None:
            os.environ[IMPORTS] = before


def import_module(name: str) -> ModuleType:
    """A module by its name, from the current folder too. Raises UserError where it is missing, or fails."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # last: nothing there can hide what is installed
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"{name!r} is no name of a module: write --import package.module, without .py")
    try:
        return importlib.import_module(name)
    except UserError as error:
        raise UserError(f"importing {name} failed: {error}") from error
    except FAILURES as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            where = "neither installed nor in this folder (or PYTHONPATH)"
            raise UserError(f"there is no module {name!r}: it is {where}") from error
        raise UserError(f"importing {name} failed: {reason_of(error)}") from error


# ---- names --------------------------------------------------------------------------------------------


class Registry(Mapping[str, Any]):
    """Names and what they stand for, loaded when it is asked for.

    `ours` maps names to "module:Attribute", or to a module. `group` is the group of entry points by which installed
    packages add theirs. `check` returns what is wrong with a thing that is added, or None.
    """

    def __init__(
        self, what: str, ours: Mapping[str, str], group: str, check: Callable[[Any], str | None] = lambda _: None
    ):
        self.what, self.ours, self.group = what, dict(ours), group
        self._check, self._plugged = check, None
        self._loaded: dict[str, Any] = {}
        self._added: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._added:
            return self._added[name]
        if name not in self._loaded:
            if name in self.ours:
                self._loaded[name] = _load(self.ours[name])
            else:
                self._loaded[name] = self._of(self._points()[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.ours, *self._points(), *self._added)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self._added or name in self.ours or name in self._points()

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return id(self)  # one registry equals no other

    def __eq__(self, other: object) -> bool:
        return self is other

    def register(self, name: str, value: Any) -> None:
        """Add one under a name. Raises UserError for a name that is taken and for what cannot be one."""
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][\w.+/-]*", name):
            raise UserError(f"{name!r} cannot be the name of {self.one}: letters, digits and -._/ only")
        known = self._added.get(name)
        if known is not None and _place(known) == _place(value):
            known = None  # its module was imported anew
        if known is not None or name in self.ours or name in self._points():
            by = _place(known) if known is not None else self.ours.get(name) or _said(self._points()[name])
            raise UserError(f"the {self.what} {name!r} of {_place(value)} cannot be registered: {by} has that name")
        if wrong := self._check(value):
            raise UserError(f"{_place(value)} cannot be the {self.what} {name!r}: {wrong}")
        self._added[name] = value

    @property
    def one(self) -> str:
        """What it holds, with its article: "a method", "an exchange"."""
        return f"{'an' if self.what[0] in 'aeiou' else 'a'} {self.what}"

    def find(self, name: Any) -> Any:
        """What a name stands for. Raises UserError for an unknown one, with near matches."""
        if not isinstance(name, str) or name not in self:
            raise UserError(self.unknown(name))
        return self[name]

    def unknown(self, name: Any) -> str:
        """The line for a name that is not known."""
        near = difflib.get_close_matches(str(name), list(self), n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(self)}"
        return f"unknown {self.what} {name!r}; {hint} (one of your own comes with --import MODULE, or with its package)"

    def name_of(self, value: Any) -> str | None:
        """The name under which something is registered; nothing is loaded for it."""
        for name, known in (*self._added.items(), *self._loaded.items()):
            if known is value:
                return name
        place = _place(value)
        return next((name for name, ours in self.ours.items() if _same(ours, place)), None)

    def _points(self) -> Mapping[str, EntryPoint]:
        """The entry points of installed packages by name. Raises UserError where two have a name."""
        if self._plugged is None:
            found: dict[str, EntryPoint] = {}
            for point in entry_points(group=self.group):
                by = self.ours.get(point.name) or (_said(found[point.name]) if point.name in found else None)
                if by and by != _said(point):
                    raise UserError(f"the {self.what} {point.name!r} of {_said(point)} clashes: {by} has that name")
                found[point.name] = point
            self._plugged = found
        return self._plugged

    def _of(self, point: EntryPoint) -> Any:
        try:
            value = point.load()
        except FAILURES as error:
            told = f"the {self.what} {point.name!r} of {_said(point)} cannot be loaded"
            raise UserError(f"{told}: {reason_of(error)}") from error
        if wrong := self._check(value):
            raise UserError(f"{_said(point)} cannot be the {self.what} {point.name!r}: {wrong}")
        return value


@contextmanager
def blaming(registry: Registry, thing: Any, doing: str) -> Iterator[None]:
    """Within, what a thing of somebody else's raises is a UserError that says what was done. Our own faults stay."""
    try:
        yield
    except UserError:
        raise
    except FAILURES as error:
        if registry.name_of(thing) in registry.ours:
            raise
        raise UserError(f"{doing}: {reason_of(error)}") from error


class Names(Mapping[str, Any]):
    """Several registries as one; of a name that two have the first's counts."""

    def __init__(self, *registries: Registry):
        self._registries = registries

    def __getitem__(self, name: str) -> Any:
        found = next((registry for registry in self._registries if name in registry), None)
        if found is None:
            raise KeyError(name)
        return found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for registry in self._registries for name in registry))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return any(name in registry for registry in self._registries)

    def name_of(self, value: Any) -> str | None:
        """The name under which something is registered in any of them."""
        return next(filter(None, (registry.name_of(value) for registry in self._registries)), None)


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def _place(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    where = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(where, '__module__', '?')}:{where.__qualname__}"


def _same(ours: str, place: str) -> bool:
    """Whether a class is the one at `ours`, which may name a package that hands it on."""
    module, _, attribute = ours.partition(":")
    there, _, name = place.partition(":")
    return attribute == name and (there == module or there.startswith(f"{module}."))


def _said(point: EntryPoint) -> str:
    return f"{point.value} (package {point.dist.name})" if point.dist else point.value


# ---- what can be one ------------------------------------------------------------------------------------


def settings_check(*needed: str) -> Callable[[Any], str | None]:
    """A check that something is a frozen dataclass with a default for every field, and has these attributes."""

    def check(kind: Any) -> str | None:
        import dataclasses

        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            return "it must be a frozen dataclass, whose fields are its settings"
        if not kind.__dataclass_params__.frozen:  # pyright: ignore
            return "its dataclass must be frozen: @dataclass(frozen=True)"
        if lacking := [name for name in needed if not hasattr(kind, name)]:
            return f"it has no {', '.join(lacking)}"
        bare = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
        return f"{', '.join(bare)} must have a default" if bare else None

    return check


def having(*needed: str) -> Callable[[Any], str | None]:
    """A check that something has these attributes."""

    def check(value: Any) -> str | None:
        lacking = [name for name in needed if not hasattr(value, name)]
        return f"it has no {', '.join(lacking)}" if lacking else None

    return check
