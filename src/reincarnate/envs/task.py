"""Which task is meant: an id, arguments, wrappers, imports and a time limit, and the one string that says it all."""

import hashlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MethodType
from typing import Any
from urllib.parse import quote, unquote

from reincarnate.envs.code import Code
from reincarnate.errors import UserError
from reincarnate.plugins import import_module

RESERVED = ("wrapper", "import", "sees", "max_episode_steps", "frame_stack", "greyscale")  # no arguments
ONCE = RESERVED[3:]  # of these, what is said but once
MOST_FRAMES = 64  # shown as one
BULLET = "pybullet_envs_gymnasium"  # registers HalfCheetahBulletEnv-v0 and its kin for Gymnasium
LOCAL = "local"  # the module of callables that only this process knows
KEPT = "/:,[]{}\"' "  # what an address spells as it is; shells want it quoted anyway

READS_AS_ID = re.compile(r"[\w./+-]+-v\d+(\?.*)?|[\w.]+:[\w.+/-]+(\?.*)?")  # a task's address behind a comma

_callables: dict[str, tuple[Callable[..., Any], dict[str, str]]] = {}  # with their code as they got their name


@dataclass(frozen=True)
class TaskSettings:
    """A task as somebody asks for it.

    `id` is a registered id (CartPole-v1), `module:Id` (the module is imported first: Gymnasium's own form), or
    `module:callable` (a class or function that makes the environment). `kwargs` are its arguments, JSON values.
    `wrappers` are `module:Class`, the first one innermost; `imports` are modules that register something. `sees` are
    the entries of a Dict (or Tuple) that the student sees; empty: all. Teachers may see others (`view`).
    `max_episode_steps` is the time limit in env steps; None leaves the registered one. `frame_stack` observations are
    shown as one, `greyscale` screens in grey (`envs.frames`). Several tasks side by side are one id, their addresses
    joined by commas.
    """

    id: str
    kwargs: dict[str, Any] = field(default_factory=dict, hash=False)
    wrappers: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    max_episode_steps: int | None = None
    sees: tuple[str, ...] = ()
    frame_stack: int = 1
    greyscale: bool = False

    def __post_init__(self):
        _check(self)

    @property
    def parts(self) -> tuple["TaskSettings", ...]:
        """Several tasks each apart; of one task nothing."""
        pieces = divided(self.id)
        return tuple(map(parse, pieces)) if len(pieces) > 1 else ()

    @property
    def module(self) -> str:
        """The module that is imported first, or ""."""
        return self.id.partition(":")[0] if ":" in self.id and not self.parts else ""

    @property
    def name(self) -> str:
        """The id without its module."""
        return self.id.partition(":")[2] if ":" in self.id and not self.parts else self.id

    @property
    def of_bullet(self) -> bool:
        """Whether it is named as PyBullet's tasks are."""
        return "BulletEnv-" in self.name

    @property
    def changed(self) -> bool:
        """Whether its episodes are cut, or it is shown, otherwise than by itself."""
        return bool(self.sees) or self.max_episode_steps is not None or self.frame_stack != 1 or self.greyscale

    @property
    def plain(self) -> bool:
        """Whether it is a registered id and nothing more."""
        return self == TaskSettings(self.name)

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules whose code runs when the task is made because this value names them."""
        named = (self.module, *(wrapper.partition(":")[0] for wrapper in self.wrappers), *self.imports)
        named += tuple(module for part in self.parts for module in part.modules)
        return tuple(dict.fromkeys(name for name in named if name not in ("", LOCAL)))

    @property
    def address(self) -> str:
        """The task as one string, e.g. `tasks:Mine-v0?scale=10&max_episode_steps=50`; a plain id is its own address."""
        pairs = [(key, _written(self.kwargs[key])) for key in sorted(self.kwargs)]
        pairs += [("wrapper", wrapper) for wrapper in self.wrappers]
        pairs += [("import", module) for module in self.imports]
        pairs += [("sees", key) for key in self.sees]
        if self.max_episode_steps is not None:
            pairs.append(("max_episode_steps", str(self.max_episode_steps)))
        pairs += [("frame_stack", str(self.frame_stack))] if self.frame_stack != 1 else []
        pairs += [("greyscale", "true")] if self.greyscale else []
        query = "&".join(f"{key}={quote(value, safe=KEPT)}" for key, value in pairs)
        return f"{self.id}?{query}" if query else self.id

    @property
    def folder(self) -> str:
        """A name for folders: the id; where there is more to say, with the start of its hash."""
        if self.parts:
            return f"{len(self.parts)}-tasks-{hashlib.sha256(self.address.encode()).hexdigest()[:6]}"
        said = re.sub(r"[^A-Za-z0-9.=_-]+", "-", self.id)
        return said if self.plain else f"{said}-{hashlib.sha256(self.address.encode()).hexdigest()[:6]}"


def divided(address: str) -> list[str]:
    """The addresses of several tasks that commas join; of one task that alone.

    A comma inside brackets or quotes joins nothing, nor does one behind a question mark that no task's id follows: it
    is part of an argument.
    """
    pieces, inside, quoted = [""], 0, False
    for letter in address:
        quoted ^= letter == '"'
        inside += 0 if quoted else (letter in "[{") - (letter in "]}")
        if letter == "," and not inside and not quoted:
            pieces.append("")
        else:
            pieces[-1] += letter
    joined = [pieces[0]]
    for piece in pieces[1:]:
        if "?" in joined[-1] and not READS_AS_ID.fullmatch(piece.strip()):
            joined[-1] += f",{piece}"
        else:
            joined.append(piece)
    return joined


def parse(address: str) -> TaskSettings:
    """The task that an address names. Raises UserError for what is none."""
    pieces = divided(address)
    if len(pieces) > 1:
        return TaskSettings(",".join(parse(piece.strip()).address for piece in pieces))
    env_id, _, query = address.partition("?")
    kwargs: dict[str, Any] = {}
    several: dict[str, list[str]] = {key: [] for key in RESERVED}
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"task {address!r}: {pair!r} is no KEY=VALUE")
        if key in several and not (several[key] and key in ONCE):
            several[key].append(unquote(value))
        elif key in several or key in kwargs:
            raise UserError(f"task {address!r} gives {key} twice")
        else:
            kwargs[key] = value_of(unquote(value))
    unless: dict[str, Any] = {"max_episode_steps": None, "frame_stack": 1, "greyscale": False}
    once = {key: value_of(several[key][-1]) if several[key] else default for key, default in unless.items()}
    modules = {"wrappers": tuple(several["wrapper"]), "imports": tuple(several["import"])}
    return TaskSettings(env_id, kwargs, sees=tuple(several["sees"]), **modules, **once)


def settings_of(env: "str | TaskSettings | Callable[..., Any]") -> TaskSettings:
    """A task from its address, its settings, or a callable that makes the environment."""
    if isinstance(env, TaskSettings):
        return env
    if isinstance(env, str):
        return parse(env)
    if callable(env):
        return TaskSettings(_id_of(env))
    raise UserError(f"a task is named by an id, TaskSettings or a callable that makes it, not by {env!r}")


def value_of(text: str) -> Any:
    """What is written as JSON (3, 0.5, true, null, "3", [1, 2]) as that; all else is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _written(value: Any) -> str:
    """The inverse of `value_of`."""
    try:
        return value if isinstance(value, str) and value_of(value) == value else json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise UserError(f"a task's argument must be a JSON value (number, text, list …), not {value!r}") from None


def _check(task: TaskSettings) -> None:
    """Refuse settings that cannot mean anything."""
    if not task.id or task.id.endswith(":"):
        raise UserError(f"{task.id!r} names no task")
    if parts := task.parts:
        _check_parts(task, parts)
    limit = task.max_episode_steps
    if limit is not None and (type(limit) is not int or limit < 1):
        raise UserError(f"{task.id}: --max-episode-steps must be a whole number of at least 1, not {limit!r}")
    if type(task.frame_stack) is not int or not 1 <= task.frame_stack <= MOST_FRAMES:
        raise UserError(f"{task.id}: --frame-stack must be from 1 to {MOST_FRAMES}, not {task.frame_stack!r}")
    if type(task.greyscale) is not bool:
        raise UserError(f"{task.id}: --greyscale is true or false, not {task.greyscale!r}")
    for key in task.kwargs:
        if not isinstance(key, str) or not key.isidentifier() or key in RESERVED:
            raise UserError(f"{task.id}: {key!r} cannot be an argument's name")
    for wrapper in task.wrappers:
        if not all(wrapper.partition(":")):
            raise UserError(f"{task.id}: a wrapper is named module:Class, not {wrapper!r}")


def _check_parts(task: TaskSettings, parts: tuple[TaskSettings, ...]) -> None:
    """Several tasks: each once, and what is to be said of one stands behind its own id."""
    if twice := [part.address for i, part in enumerate(parts) if part in parts[:i]]:
        raise UserError(f"--env names {twice[0]} twice; several tasks side by side are different ones")
    if task.kwargs or task.wrappers or task.imports or task.changed:
        raise UserError(
            f"{task.id} are several tasks: write arguments, wrappers and limits behind each one's own id, ID?key=value"
        )


# ---- what the names stand for ------------------------------------------------------------------------


def _id_of(made_by: Callable[..., Any]) -> str:
    """`module:qualname` where an import finds the callable again; else a name that only this process knows."""
    module, name = getattr(made_by, "__module__", None), getattr(made_by, "__qualname__", type(made_by).__name__)
    if module and module != "__main__" and "<" not in name and _inside(sys.modules.get(module), name) is made_by:
        return f"{module}:{name}"
    short = re.sub(r"[^\w.-]+", "-", name).strip("-")
    return f"{LOCAL}:{_kept(made_by, short)}"


def _kept(made_by: Callable[..., Any], short: str) -> str:
    """The name that a callable has in this process: another one of the same code has it too, else `short-2`, …"""
    known = {name: kept for name, kept in _callables.items() if re.fullmatch(rf"{re.escape(short)}(-\d+)?", name)}
    for name, (one, _) in known.items():
        if one is made_by or (isinstance(made_by, MethodType) and one == made_by):  # obj.make is anew each time
            return name
    code = Code()
    code.made_by(made_by)
    told = code.told()
    same = (name for name, (_, before) in known.items() if before == told)
    name = next(same, f"{short}-{len(known) + 1}" if known else short)
    _callables[name] = made_by, told
    return name


def callable_of(task: TaskSettings) -> Callable[..., Any] | None:
    """What `module:callable` names, if it is one. Raises UserError for another process's callable."""
    if task.module == LOCAL:
        if task.name not in _callables:
            said = "was made by a callable of another process"
            raise UserError(f"{task.id} {said}; put it into a module, and name it module:callable")
        return _callables[task.name][0]
    found = _inside(sys.modules.get(task.module), task.name) if task.module else None
    return found if callable(found) else None


def wrapper_of(name: str) -> Callable[[Any], Any]:
    """The class that `module:Class` names. Raises UserError."""
    module, _, attribute = name.partition(":")
    found = _inside(import_module(module), attribute)
    if not callable(found):
        raise UserError(f"--wrapper {name}: {module} has no class {attribute!r}")
    return found


def _inside(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part, None)
    return module
