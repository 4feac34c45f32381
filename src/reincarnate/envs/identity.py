"""What a task IS, so that what was measured on it is not taken for another's: registration, arguments, code."""

from importlib import import_module
from typing import Any

from reincarnate.envs.code import Code, name_of, version_of

PACKAGES = {"atari": ("ale-py",), "minatar": ("minatar",)}  # of families that do not say for themselves


def identity(env: Any) -> dict[str, Any]:
    """A task's identity as JSON values: equal where scores and data measured on one hold for the other.

    It holds the id, the arguments of registration and call, the time limit, and for each piece of code (entry point
    with its base classes, wrappers, and what of a person's own these name) the package's version where it is
    installed, or else the source's hash. Looked up anew each time. `env` is as for `envs.spec`. Raises UserError for
    an unknown task.
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
    entry, code = registration.entry_point, Code()
    if entry is not None:
        code.made_by(_resolved(entry) if isinstance(entry, str) else entry)
    found = {
        "id": named.name,
        "kwargs": code.value({**registration.kwargs, **named.kwargs}),
        "max_episode_steps": named.max_episode_steps or registration.max_episode_steps,
        "entry_point": entry if isinstance(entry, str) else name_of(entry),
    }
    if named.frame_stack != 1 or named.greyscale:
        found["frames"] = [named.frame_stack, named.greyscale]
    wrappers = [(one.entry_point, one.kwargs) for one in registration.additional_wrappers]
    wrappers += [(name, {}) for name in named.wrappers]
    if wrappers:
        found["wrappers"] = [
            [name, code.value(kwargs or {}), code.made_by(_resolved(name))] for name, kwargs in wrappers
        ]
    return found | {"code": code.told()}


def _resolved(name: str) -> Any:
    """What `module:Class` names."""
    module, _, attribute = name.partition(":")
    found: Any = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
