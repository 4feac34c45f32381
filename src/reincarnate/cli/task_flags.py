"""Flags that say which task is meant, the same for every command: they become part of the address that --env names.

--import MODULE is not of the task: what the module registers may be a method, a student, or many tasks.
"""

from dataclasses import replace
from typing import Any

from reincarnate.envs.task import TaskSettings, parse, value_of
from reincarnate.errors import UserError
from reincarnate.plugins import ask_import, asked_imports, imported

FLAGS = {
    "--env-kwargs.": "KEY VALUE",
    "--wrapper": "module:Class",
    "--sees": "KEY",
    "--import": "MODULE",
    "--max-episode-steps": "N",
    "--frame-stack": "N",
    "--greyscale": "true",
}
ALONE = ("--greyscale",)  # say something without a value


def with_task(args: list[str]) -> list[str]:
    """The arguments with those flags that say something of the task inside --env's value.

    What --import names is imported here and now, and remembered for records and for processes that this one starts
    (`plugins.asked_imports`); it says nothing of the task. Raises UserError for a flag without its value, and for
    settings of a task that no --env names.
    """
    imported(asked_imports())
    rest, given = _taken_out(args)
    for module in (value for flag, value in given if flag == "--import"):
        ask_import(module)
    said = [(flag, value) for flag, value in given if flag != "--import"]
    if not said:
        return rest
    where = _env(rest)
    if where is None:
        raise UserError(f"{said[0][0]} changes a task: name that too, by --env")
    at, address = where
    task = _changed(parse(address), said).address
    rest[at] = f"--env={task}" if rest[at].startswith("--env=") else task
    return rest


def _taken_out(args: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The other arguments, and the flags with their values."""
    rest, said, items = [], [], iter(args)
    for item in items:
        if item == "--":
            return [*rest, item, *items], said
        flag, equals, value = item.partition("=")
        if flag not in FLAGS and not flag.startswith("--env-kwargs."):
            rest.append(item)
            continue
        value = value if equals else "true" if flag in ALONE else next(items, None)
        if value is None or flag == "--env-kwargs." or (not equals and value.startswith("--")):
            raise UserError(f"{flag} needs a value: {FLAGS.get(flag, 'VALUE')}")
        said.append((flag, value))
    return rest, said


def _env(args: list[str]) -> tuple[int, str] | None:
    """Where the value of --env stands, and what it is."""
    for i, item in enumerate(args):
        if item.startswith("--env="):
            return i, item.partition("=")[2]
        if item == "--env" and i + 1 < len(args):
            return i + 1, args[i + 1]
    return None


def _changed(task: TaskSettings, said: list[tuple[str, str]]) -> TaskSettings:
    """The task with what the flags say of it; they win over the address."""
    for flag, value in said:
        changes: dict[str, Any] = {}
        if flag == "--wrapper":
            changes["wrappers"] = (*task.wrappers, value)
        elif flag == "--sees":
            changes["sees"] = (*task.sees, value)
        elif flag in FLAGS:
            changes[flag[2:].replace("-", "_")] = value_of(value)
        else:
            key = flag.partition(".")[2].replace("-", "_")
            changes["kwargs"] = {**task.kwargs, key: value_of(value)}
        task = replace(task, **changes)
    return task
