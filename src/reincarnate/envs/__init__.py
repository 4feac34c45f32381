"""Tasks by id, behind one vector face. A new family is one file in this folder and a line in FAMILIES."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from reincarnate.envs.identity import identity
from reincarnate.envs.task import BULLET, TaskSettings, parse, settings_of
from reincarnate.errors import UserError
from reincarnate.plugins import Registry, blaming, having, import_module, imported
from reincarnate.types import TaskSpec, VectorEnv

# prefix of the id -> module with `make(env_id, n, view)`, `spec(env_id)` and `ids()`; the last one takes all else.
# A module that sets TAKES_SETTINGS is given `TaskSettings` instead of the id: arguments, wrappers and a limit.
# One that sets QUERIES reads settings of its own behind the id, `Memory/IMaze-v0?length=20`. It may have SUGGESTED,
# what students there are set to where nobody says otherwise, and `render(env_id, act, path, seed)`.
FAMILIES = Registry(
    "family of tasks",
    {
        "ALE/": "reincarnate.envs.atari",
        "MinAtar/": "reincarnate.envs.minatar",
        "Memory/": "reincarnate.envs.memory",
        "Balloon/": "reincarnate.envs.balloon",
        "MiniGrid-": "reincarnate.envs.partial",
        "popgym-": "reincarnate.envs.partial",
        "dm_control/": "reincarnate.envs.control",
        ",": "reincarnate.envs.several",  # no id begins so: several tasks side by side
        "": "reincarnate.envs.classic",
    },
    "reincarnate.envs",  # entry points of other packages: the prefix is the name, the module the value
    having("make", "spec", "ids"),
)

Env = str | TaskSettings | Callable[..., Any]
"""A task: its id or address, its settings, or a callable that makes the environment."""


def register_family(prefix: str, family: Any) -> None:
    """Let a module (or its name) make the tasks whose ids begin with `prefix`, such as "Mine/". Raises UserError."""
    FAMILIES.register(prefix, import_module(family) if isinstance(family, str) else family)


def _family(task: TaskSettings) -> Any:
    if task.parts:
        return FAMILIES[","]
    fitting = [prefix for prefix in FAMILIES if task.name.startswith(prefix)]
    return FAMILIES[max(fitting, key=len)]


def _known() -> Iterable[str]:
    for prefix in FAMILIES:
        yield from FAMILIES[prefix].ids()


def family_of(env: Env) -> tuple[Any, Any]:
    """The module that makes a task, and what it wants to be told: the id, or the settings where it takes some.

    Raises UserError for an unknown id, with near matches, and for settings that the family does not take.
    """
    task = settings_of(env)
    family = _family(task)
    if getattr(family, "TAKES_SETTINGS", False):
        if family.registered(task) is None:
            _unknown(task)
        return family, task
    imported(task.imports)
    if not task.parts and task.name not in family.ids():
        _unknown(task)
    if getattr(family, "QUERIES", False) or task.parts:
        return family, task.address
    if task.kwargs or task.wrappers or task.changed:
        raise UserError(
            f"{task.name} is played under its own protocol: it takes no arguments, wrappers, views, limit or frames"
        )
    return family, task.name


def _unknown(task: TaskSettings) -> None:
    if task.module:
        raise UserError(f"unknown environment {task.id!r}; {task.module} registers no such id and has no such callable")
    if task.of_bullet:
        raise UserError(
            f"unknown environment {task.id!r}; PyBullet's tasks are registered by {BULLET}, where that is installed"
        )
    near = difflib.get_close_matches(task.name, list(_known()), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}? A" if near else "a"
    raise UserError(
        f"unknown environment {task.id!r}; {hint} task of your own is named module:Id, or registered by --import MODULE"
    )


def make(env: Env, n: int, view: str = "student") -> VectorEnv:
    """`n` copies of a task. `view` is the second pair of eyes some teachers need (Atari: "rgb").

    Raises UserError for an unknown id (with near matches), an unsuitable space, or a view the task does not offer.
    """
    family, named = family_of(env)
    with blaming(FAMILIES, family, f"{settings_of(env).id} cannot be made"):
        return family.make(named, n, view)


def spec(env: Env) -> TaskSpec:
    """What the task looks like, and its protocol, as it is registered now. Raises UserError."""
    family, named = family_of(env)
    with blaming(FAMILIES, family, f"{settings_of(env).id} cannot be looked at"):
        return family.spec(named)


def action_names(env: Env) -> tuple[str, ...] | None:
    """What a task's discrete actions are called, alike in all tasks of its family; None where nobody says."""
    family, named = family_of(env)
    return family.action_names(named) if hasattr(family, "action_names") else None


def remarks(env: Env) -> list[str]:
    """What a person should know of a task before anything starts: no time limit, texts that are left out."""
    family, named = family_of(env)
    return family.remarks(named) if hasattr(family, "remarks") else []


def numbering(env: Env) -> str:
    """What to say of actions where a task's own do not begin at 0, as ours do; "" of all others, and unknown ones."""
    try:
        family, named = family_of(env)
        return family.numbering(named) if hasattr(family, "numbering") else ""
    except UserError:
        return ""


def suggested(env: Env) -> Mapping[str, Any]:
    """Settings with which students begin on a task where nobody says otherwise, by name; of unknown tasks none."""
    return getattr(_family(settings_of(env)), "SUGGESTED", {})


def render(env: Env, act: Callable[[Any], Any], path: Path, seed: int) -> str:
    """Play an episode and write it down as a picture (PNG) or an animation (GIF), by the path's suffix.

    `act` maps observations [1, *O] to actions [1]. Returns a line about the episode. Raises UserError where the task
    has no pictures, or the suffix names neither.
    """
    family, named = family_of(env)
    if not hasattr(family, "render"):
        raise UserError(f"{settings_of(env).id} cannot be drawn here; Balloon/Station-v0 can")
    if path.suffix not in (".png", ".gif"):
        raise UserError(f"--render {path}: a picture ends in .png, an animation in .gif")
    if not path.parent.is_dir():
        raise UserError(f"--render {path}: there is no folder {path.parent}")
    return family.render(named, act, path, seed)


__all__ = [
    "FAMILIES",
    "Env",
    "TaskSettings",
    "action_names",
    "family_of",
    "identity",
    "make",
    "numbering",
    "parse",
    "register_family",
    "remarks",
    "render",
    "settings_of",
    "spec",
    "suggested",
]
