"""The code that a task is made of: classes, functions and modules, and whatever of its own they name, each once."""

import dis
import functools
import hashlib
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from reincarnate.errors import FAILURES

FILES_LIMIT = 2000  # source files of a package that are hashed
DEEPEST = 50  # levels of values within values that are told
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of an object, in its repr: another in every process
PLAIN = str | bool | int | float | tuple | list | dict
OURS = __name__.partition(".")[0]


class Code:
    """What a task is made of, piece by piece: a package's version, or the hash of a module's source, class or function.

    A class counts with its bases, a function with its defaults and what its closure holds. Functions, classes and
    modules that their code names are told too, unless they are installed, the standard library's or this package's.
    Nothing depends on the process: where the same code runs the same is told.
    """

    def __init__(self):
        self._told: dict[str, str] = {}
        self._pieces: list[tuple[str, Any]] = []
        self._called: dict[int, str] = {}  # by the piece's id: it is kept, and so is its id
        self._times: Counter[str] = Counter()

    def told(self) -> dict[str, str]:
        """Package, module, class or function -> version or hash, of all that was named by now."""
        for called, piece in self._pieces:  # they grow on the way
            self._tell(called, piece)
        return self._told

    def made_by(self, thing: Any) -> str:
        """Name what makes or wraps a task: a class, a function, a partial, or any object that can be called."""
        state = []
        while not isinstance(thing, type | FunctionType):
            inner, held = _opened(thing)
            state.append(held)
            thing = type(thing) if inner is None else inner
        called = self.name(thing, always=True)
        if state:
            self._told[f"{called}: state"] = _hash(repr(self.value(state)))
        return called

    def name(self, piece: Any, always: bool = False) -> str:
        """What a class, function or module is called; it is told if it is the task's own, or `always`."""
        if id(piece) in self._called:
            return self._called[id(piece)]
        called = name_of(piece)
        if not always and not _is_own(_module_of(piece)):
            return called
        self._times[called] += 1
        called += f"#{self._times[called]}" if self._times[called] > 1 else ""
        self._called[id(piece)] = called
        self._pieces.append((called, piece))
        return called

    def _tell(self, called: str, piece: Any) -> None:
        module = _module_of(piece)
        top, file = module.partition(".")[0], _file(module)
        if _is_standard(top):
            return
        if _is_installed(module):
            self._told[top] = _version_of_module(top)
            return
        if file and top not in self._told:
            self._told[top] = _hash_of_sources(file, module)
        if not isinstance(piece, ModuleType) and top != OURS:
            told = self._class(piece, file is None) if isinstance(piece, type) else self._function(piece)
            self._told[called] = _hash(repr(told))
        for base in piece.__mro__[1:] if isinstance(piece, type) else ():
            self.name(base, always=True)

    # ---- classes and functions -----------------------------------------------------------------------

    def _class(self, piece: type, whole: bool) -> list[Any]:
        """What its methods depend on; the `whole` class where no file has its source."""
        told: list[Any] = [_source(piece)] if whole else []
        for name, attribute in sorted(vars(piece).items()):
            functions = list(_functions_in(attribute))
            told += [[name, self._function(one) if whole else self._around(one)] for one in functions]
            if isinstance(attribute, type):
                told.append([name, self.name(attribute)])
            elif whole and not functions and not name.startswith("__"):
                told.append([name, self.value(attribute)])
        return told

    def _function(self, function: FunctionType) -> list[Any]:
        return [_compiled(function.__code__), *self._around(function)]

    def _around(self, function: FunctionType) -> list[Any]:
        """All that a function's result depends on, but for its own code."""
        held = [self.value(cell.cell_contents) for cell in function.__closure__ or () if is_filled(cell)]
        defaults = self.value([function.__defaults__, function.__kwdefaults__])
        return [defaults, held, self._globals(function)]

    def _globals(self, function: FunctionType) -> list[Any]:
        """What a function's code names of its module, and of the task's own modules that it names or imports.

        Of these numbers and texts are told as they are now: a cell of a notebook may change them alone.
        """
        names, told = sorted(names_in(function.__code__)), []
        scopes = {"": function.__globals__}
        for module in map(_imported, sorted(_imports_in(function.__code__))):
            self._enter(module, scopes)
        waiting = list(scopes)
        for scope in waiting:
            for name in (name for name in names if name in scopes[scope]):
                found = scopes[scope][name]
                if isinstance(found, ModuleType):
                    waiting += self._enter(found, scopes)
                else:
                    told.append([scope, name, self._global(found)])
        return told

    def _enter(self, module: ModuleType | None, scopes: dict[str, dict[str, Any]]) -> list[str]:
        """Add a module's names to the `scopes`, where it is the task's own and not among them yet."""
        if module is None or module.__name__ in scopes or not _is_own(module.__name__):
            return []
        self.name(module)
        scopes[module.__name__] = vars(module)
        return [module.__name__]

    def _global(self, value: Any) -> Any:
        """Numbers, texts and code as they are; of objects, which change as a task is played, the class."""
        if isinstance(value, PLAIN | type | FunctionType | functools.partial):
            return self.value(value)
        inner, _ = _opened(value)
        return self.name(inner if isinstance(inner, FunctionType) else type(value))

    # ---- values --------------------------------------------------------------------------------------

    def value(self, value: Any, within: tuple[int, ...] = ()) -> Any:
        """A value as JSON that is the same in every process. Code stands there by its name."""
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, float):
            return repr(value)
        if isinstance(value, type | FunctionType | ModuleType):
            return self.name(value)
        if id(value) in within or len(within) > DEEPEST:  # it holds itself
            return name_of(type(value))
        within += (id(value),)
        if isinstance(value, dict):
            return {ADDRESS.sub("", str(key)): self.value(value[key], within) for key in sorted(value, key=str)}
        if isinstance(value, list | tuple):
            return [self.value(item, within) for item in value]
        if isinstance(value, set | frozenset):
            return sorted(repr(self.value(item, within)) for item in value)
        if isinstance(value, np.ndarray) and value.dtype != object:
            return [value.dtype.str, list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
        return self._object(value, within)

    def _object(self, value: Any, within: tuple[int, ...]) -> Any:
        """What is bound to code by both, other objects by what they hold."""
        inner, held = _opened(value)
        if inner is not None:
            return [self.value(inner, within), self.value(held, within)]
        called = self.name(type(value))
        if type(value).__repr__ is object.__repr__ and hasattr(value, "__dict__"):
            return [called, self.value(held, within)]
        try:
            return [called, ADDRESS.sub("", repr(value))]
        except RecursionError:
            return [called]


def name_of(thing: Any) -> str:
    """`module:qualname`; of a module its name, of other objects their class's."""
    if isinstance(thing, ModuleType):
        return thing.__name__
    return f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', type(thing).__name__)}"


def version_of(package: str) -> str:
    """An installed distribution's; `none` where there is none: its source may lie on the path alone."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


# ---- what is inside ----------------------------------------------------------------------------------


def _opened(thing: Any) -> tuple[Any, Any]:
    """The function or class that an object calls, None of most; and what else it holds."""
    if isinstance(thing, functools.partial):
        return thing.func, [thing.args, thing.keywords]
    if isinstance(thing, MethodType):
        return thing.__func__, thing.__self__ if isinstance(thing.__self__, type) else _inside(thing.__self__)
    inside = _inside(thing)
    wrapped = inside.get("__wrapped__")  # functools.cache
    return (wrapped, None) if isinstance(wrapped, FunctionType) else (None, inside)


def _inside(thing: Any) -> dict[str, Any]:
    """An object's attributes; of a class nothing, for its code is told."""
    inside = getattr(thing, "__dict__", None)
    return inside if isinstance(inside, dict) else {}


def _functions_in(attribute: Any) -> Iterator[FunctionType]:
    """The functions of a class's attribute: a method, a static one, a property."""
    if isinstance(attribute, property):
        inside = [attribute.fget, attribute.fset, attribute.fdel]
    elif isinstance(attribute, functools.cached_property | functools.partialmethod):
        inside = [attribute.func]
    elif isinstance(attribute, staticmethod | classmethod):
        inside = [attribute.__func__]
    else:
        inside = [attribute, _opened(attribute)[0]]
    yield from (one for one in inside if isinstance(one, FunctionType))


def is_filled(cell: Any) -> bool:
    """Whether a closure's cell holds anything yet."""
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _compiled(code: CodeType) -> list[Any]:
    return [code.co_code.hex(), _constant(code.co_consts), list(code.co_names), list(code.co_varnames)]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _compiled(value)
    if isinstance(value, tuple):
        return [_constant(one) for one in value]
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def _within(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of all within it."""
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _within(one)


def names_in(code: CodeType) -> set[str]:
    """The globals and attributes that a function's code names, and that of all within it."""
    return {name for one in _within(code) for name in one.co_names}


def _imports_in(code: CodeType) -> set[str]:
    steps = (step for one in _within(code) for step in dis.get_instructions(one))
    return {step.argval for step in steps if step.opname == "IMPORT_NAME"}


def _source(piece: type) -> str:
    """The text of a class, as a notebook or a script has it; "" where there is none."""
    try:
        return inspect.getsource(piece)
    except (OSError, TypeError):
        return ""


# ---- where it comes from -----------------------------------------------------------------------------


def _module_of(piece: Any) -> str:
    return str((piece.__name__ if isinstance(piece, ModuleType) else getattr(piece, "__module__", "")) or "")


def _imported(name: str) -> ModuleType | None:
    """A module that a function imports when it is called; imported here if it is a task's own."""
    if name in sys.modules or not name or _is_standard(name.partition(".")[0]):
        return sys.modules.get(name)
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
        if spec is None or spec.origin is None or _lies_installed(spec.origin):
            return None
        return importlib.import_module(name)
    except FAILURES:  # it will fail as well, or not, when the task is made
        return None


def _is_standard(top: str) -> bool:
    return top in sys.stdlib_module_names and top != "__main__"


def _is_own(module: str) -> bool:
    """Whether a module's code is the task's own: no package's, and nothing that everybody has."""
    top = module.partition(".")[0]
    return top != OURS and not _is_standard(top) and not _is_installed(module)


def _is_installed(module: str) -> bool:
    return any(_lies_installed(str(file)) for name in (module, module.partition(".")[0]) if (file := _file(name)))


def _file(module: str) -> Path | None:
    """Where a module's source is; `__main__` may be a notebook."""
    file = getattr(sys.modules.get(module), "__file__", None) if module != "__main__" else None
    return Path(file) if file and Path(file).is_file() else None


@functools.cache
def _lies_installed(file: str) -> bool:
    places = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    resolved = Path(file).resolve()
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


def _version_of_module(top: str) -> str:
    try:
        return metadata.version(top)
    except metadata.PackageNotFoundError:
        names = _distributions().get(top, [])
        return ", ".join(f"{name} {version_of(name)}" for name in sorted(set(names))) or "unknown"


@functools.cache
def _distributions() -> Any:
    return metadata.packages_distributions()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
