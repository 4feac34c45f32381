"""What a task IS, so that what was measured on it is not taken for another's: registration, arguments, code."""

import functools
import hashlib
import inspect
import re
import sys
import sysconfig
from importlib import import_module, metadata
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

PACKAGES = {"atari": ("ale-py",), "minatar": ("minatar",)}  # of families that do not say for themselves
FILES_LIMIT = 2000  # source files of a package that are hashed
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of an object, in its repr: another in every process


def identity(env: Any) -> dict[str, Any]:
    """A task's identity as JSON values: equal where scores and data measured on one hold for the other.

    It holds the id, the arguments of registration and call, the time limit, and for each piece of code (entry point
    with its base classes, wrappers) the package's version where it is installed, or else the source's hash. Looked up
    anew each time. `env` is as for `envs.spec`. Raises UserError for an unknown task.
    """
    from reincarnate.envs import family_of

    family, named = family_of(env)
    if hasattr(family, "identity"):  # several tasks: each by itself
        return family.identity(named)
    if not getattr(family, "TAKES_SETTINGS", False):
        known = getattr(family, "PACKAGES", PACKAGES.get(family.__name__.rpartition(".")[2], ()))
        packages = family.packages(named) if hasattr(family, "packages") else known
        return {"id": named, "code": {name: version_of(name) for name in packages}}
    registration = family.registered(named)
    entry = registration.entry_point
    found = {
        "id": named.name,
        "kwargs": _value({**registration.kwargs, **named.kwargs}),
        "max_episode_steps": named.max_episode_steps or registration.max_episode_steps,
        "entry_point": entry if isinstance(entry, str) else _name(entry),
        "code": _code_of(_resolved(entry) if isinstance(entry, str) else entry),
    }
    if named.frame_stack != 1 or named.greyscale:
        found["frames"] = [named.frame_stack, named.greyscale]
    wrappers = [(one.entry_point, one.kwargs) for one in registration.additional_wrappers]
    wrappers += [(name, {}) for name in named.wrappers]
    if wrappers:
        found["wrappers"] = [[name, _value(kwargs or {}), _code_of(_resolved(name))] for name, kwargs in wrappers]
    return found


def _resolved(name: str) -> Any:
    """What `module:Class` names."""
    module, _, attribute = name.partition(":")
    found: Any = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', type(thing).__name__)}"


# ---- code --------------------------------------------------------------------------------------------


def _code_of(thing: Any) -> dict[str, str]:
    """Package or module -> version or hash, of a class with its bases, a function, a partial, or an object."""
    found: dict[str, str] = {}
    if isinstance(thing, functools.partial):
        return {**_code_of(thing.func), "partial": _hash(repr(_value([thing.args, thing.keywords])))}
    if isinstance(thing, type):
        for base in thing.__mro__:
            found |= _module_of(base)
    elif isinstance(thing, FunctionType | MethodType):
        found = {**_module_of(thing), _name(thing): _hash(repr(_function(thing)))}
    elif thing is not None:
        found = {
            **_code_of(type(thing)),
            "state": _hash(repr(_value(vars(thing) if hasattr(thing, "__dict__") else ""))),
        }
    return found


def _module_of(thing: Any) -> dict[str, str]:
    """Where a class or function comes from: its package's version, or its source's hash."""
    name = thing.__module__
    file = getattr(sys.modules.get(name), "__file__", None) if name != "__main__" else None  # that may be a notebook
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names and top != "__main__":
        return {}
    if file is not None and _installed(Path(file)):
        return {top: _version_of_module(top)}
    if file is not None and Path(file).is_file():
        return {top: _hash_of_sources(Path(file), name), f"{top}: globals": _hash(repr(_globals(thing)))}
    return {f"{name}:{thing.__qualname__}": _hash(_source(thing) + repr(_globals(thing)))}


def _installed(file: Path) -> bool:
    places = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    resolved = file.resolve()
    return any(place in resolved.parents for place in places) or "site-packages" in resolved.parts


def _hash_of_sources(file: Path, name: str) -> str:
    """Of a module alone, or of every module of the package it is in: tasks are spread over several."""
    depth = name.count(".") + (file.name == "__init__.py")
    root = file.parents[depth - 1] if depth else None
    files = sorted(root.rglob("*.py"))[:FILES_LIMIT] if root else [file]
    digest = hashlib.sha256()
    for one in files:
        digest.update(str(one.relative_to(root) if root else one.name).encode() + b"\0" + one.read_bytes() + b"\0")
    return digest.hexdigest()


def _source(thing: Any) -> str:
    """The text of a class or function, as a notebook has it; its compiled code where there is no text."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        own = sorted(vars(thing).items()) if isinstance(thing, type) else [("", thing)]
        return repr([(name, _value(value)) for name, value in own if not name.startswith("__") or name == "__init__"])


def _globals(thing: Any) -> list[Any]:
    """The plain numbers and texts of its module that its code reads: a cell of a notebook may change them alone."""
    functions = vars(thing).values() if isinstance(thing, type) else [thing]
    functions = [getattr(one, "__func__", one) for one in functions]
    found = {}
    for one in functions:
        if isinstance(one, FunctionType):
            for name in one.__code__.co_names:
                value = one.__globals__.get(name)
                if isinstance(value, str | bool | int | float | tuple | list | dict):
                    found[name] = value
    return sorted((name, _value(value)) for name, value in found.items())


def _function(thing: Any) -> list[Any]:
    """All that a function's result depends on, but for the globals it reads: those are its module's."""
    function = thing.__func__ if isinstance(thing, MethodType) else thing
    cells = [_value(cell.cell_contents) for cell in function.__closure__ or () if _filled(cell)]
    bound = (
        [_value(vars(thing.__self__))] if isinstance(thing, MethodType) and hasattr(thing.__self__, "__dict__") else []
    )
    return [_compiled(function.__code__), _value(function.__defaults__), _value(function.__kwdefaults__), cells, bound]


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _compiled(code: CodeType) -> list[Any]:
    constants = [_compiled(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)]


def _version_of_module(top: str) -> str:
    try:
        return metadata.version(top)
    except metadata.PackageNotFoundError:
        names = _distributions().get(top, [])
        return ", ".join(f"{name} {version_of(name)}" for name in sorted(set(names))) or "unknown"


@functools.cache
def _distributions() -> Any:
    return metadata.packages_distributions()


def version_of(package: str) -> str:
    """An installed distribution's; `none` where there is none: its source may lie on the path alone."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# ---- values ------------------------------------------------------------------------------------------


def _value(value: Any) -> Any:
    """A value as JSON that is the same in every process."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {str(key): _value(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [value.dtype.str, list(value.shape), hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    return _object(value)


def _object(value: Any) -> Any:
    """Code by what it says, other objects by what they hold."""
    if isinstance(value, FunctionType | MethodType):
        return [_name(value), _hash(repr(_function(value)))]
    if isinstance(value, type | functools.partial):
        return [_name(value), _code_of(value)]
    inside = vars(value) if type(value).__repr__ is object.__repr__ and hasattr(value, "__dict__") else None
    try:
        return [_name(type(value)), ADDRESS.sub("", repr(value)) if inside is None else _value(inside)]
    except RecursionError:  # it holds itself
        return [_name(type(value))]
