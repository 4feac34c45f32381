"""What a study is: a YAML file unrolled into runs, everything checked before anything starts."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from reincarnate import envs
from reincarnate.config import from_dict, read_yaml
from reincarnate.errors import UserError
from reincarnate.files.records import shown
from reincarnate.methods import METHODS
from reincarnate.run.prepare import Prepared, prepare_all
from reincarnate.run.settings import NAMES, Run, default_student, with_imports
from reincarnate.seeds import MOST, check_seed

KEYS = ("title", "tasks", "methods", "seeds", "run", "search", "by_clock")


@dataclass(frozen=True)
class Cell:
    """One run of a study, and its directory relative to the study's."""

    directory: Path
    run: Run


@dataclass(frozen=True)
class Study:
    """A title and its runs, seed by seed, so that every prefix of the matrix compares all methods."""

    title: str
    cells: tuple[Cell, ...]
    settings: dict[str, Any] = field(default_factory=dict)  # the file's own
    prepared: tuple[Prepared, ...] = ()  # its runs, opened and checked, by whoever read the file


def read_study(path: Path) -> Study:
    """Read a study file.

    Keys: `title`; `search`, a population that looks for settings first (`studies.search`); `run`, settings that all
    runs share; `tasks`, a list of settings (env, teacher …) that go over them; `methods`, a mapping of names to
    settings, `name: {method: qdagger, …}` where it is not the method's own, and
    with `run: {student: …}` where more than the method's settings differ;
    `seeds`, a number or a list; `by_clock: true` where methods have budgets of env steps of their own and are compared
    by their seconds. Raises UserError for an unknown key, method or task, and for a teacher that does
    not fit, naming it.
    """
    file = read_yaml(path)
    _check(path, file)
    seeds = _seeds(path, file.get("seeds", 5))
    begun = cache(partial(default_student, None))  # each agent is opened once, for all methods and seeds
    cells = tuple(
        _cell(path, {**(file.get("run") or {}), **task}, name, settings or {}, seed, begun)
        for seed in seeds
        for task in file["tasks"]
        for name, settings in file["methods"].items()
    )
    one_seed = cells[: len(file["tasks"]) * len(file["methods"])]
    if len({cell.directory for cell in one_seed}) < len(one_seed):
        raise UserError(f"{path}: two methods share the name of a directory; names differ by letters and digits")
    if any(cell.run.population > 1 for cell in cells):
        raise UserError(
            f"{path}: a study's runs learn each for itself (`search` looks for settings by a population); a population "
            "is trained by `train --population`"
        )
    prepared = prepare_all([cell.run for cell in cells])
    return Study(str(file.get("title") or path.stem), cells, file, tuple(prepared))


def _check(path: Path, file: dict[str, Any]) -> None:
    """Refuse a file whose parts are not what they should be."""
    for key in file:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key {key!r}; known: {', '.join(KEYS)}")
    for key, kind, what in (("tasks", list, "a list"), ("methods", dict, "a mapping"), ("run", dict, "a mapping")):
        if not file.get(key) and key != "run":
            raise UserError(f"{path}: {key} is missing or empty")
        if not isinstance(file.get(key) or kind(), kind):
            raise UserError(f"{path}: {key} must be {what}, not {shown(file[key])}")
    if isinstance(file.get("title"), list | dict):
        raise UserError(f"{path}: title must be text, not {shown(file['title'])}")
    if not isinstance(file.get("by_clock", False), bool):
        raise UserError(f"{path}: by_clock must be true or false, not {shown(file['by_clock'])}")
    for name in file["methods"]:
        if not isinstance(name, str):
            raise UserError(f"{path}: the name of a method must be text, not {shown(name)}")
    for name, settings in [("task", task) for task in file["tasks"]] + list(file["methods"].items()):
        if not isinstance({} if settings is None and name != "task" else settings, dict):
            raise UserError(f"{path}: the settings of {_which(name)} must be a mapping, not {shown(settings)}")
        for key, kind, what in (("run", dict, "a mapping"), ("method", str, "a name")):
            if name != "task" and settings and not isinstance(settings.get(key, kind()), kind):
                raise UserError(f"{path}: {key} of {_which(name)} must be {what}, not {shown(settings[key])}")
    ids = [task.get("env", (file.get("run") or {}).get("env")) for task in file["tasks"]]
    for env in ids:
        if not isinstance(env, str | None):
            raise UserError(f"{path}: env must be the id of a task, not {shown(env)}")
        if ids.count(env) > 1:
            raise UserError(f"{path}: two tasks share the env {env!r}; give each a study of its own")


def _which(name: str) -> str:
    return "a task" if name == "task" else f"method {shown(name)}"


def _seeds(path: Path, value: Any) -> list[int]:
    """A number of seeds, or a list of them."""
    seeds = list(range(min(value, MOST + 1))) if type(value) is int else value
    if isinstance(seeds, list) and len(seeds) > MOST:
        raise UserError(f"{path}: over {MOST:,} seeds")
    whole = isinstance(seeds, list) and all(type(seed) is int for seed in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"{path}: seeds must be a number above 0 or a list of different ones, not {value!r}")
    for seed in seeds:
        check_seed(seed, f"{path}: seeds")
    return seeds


def _cell(
    path: Path, shared: dict[str, Any], name: str, settings: dict[str, Any], seed: int, begun: Callable[[str], Any]
) -> Cell:
    """A run; where no student is named, `begun` tells the settings of the agent whose weights the task starts from."""
    method = {"name": settings.get("method", name), **{k: v for k, v in settings.items() if k not in ("method", "run")}}
    weights = shared.get("weights")  # the task's: a method that learns from scratch has the same student
    shared = {**shared, **(settings.get("run") or {})}
    imports = with_imports(shared, str(path))
    if theirs := [key for key in ("method", "seed", "label") if key in shared]:
        raise UserError(f"{path}: {theirs[0]} among a run's settings: a study says that by its methods and seeds")
    if method["name"] not in METHODS:
        raise UserError(f"{path}: {METHODS.unknown(method['name'])}")
    if "env" not in shared:
        raise UserError(f"{path}: a task names no env")
    label = "" if name == method["name"] else name
    try:
        run = from_dict(Run, {**shared, "method": method, "seed": seed, "label": label, "imports": imports}, NAMES)
        if "student" not in shared and (run.weights or weights):
            run = replace(run, student=begun(str(run.weights or weights)))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Cell(Path(envs.parse(run.env).folder) / f"{_plain(name)}-s{seed}", run)


def _plain(name: str) -> str:
    """A name as part of a file's name: letters, their marks, and digits of any script stay."""
    letters = unicodedata.normalize("NFC", name)
    kept = "".join(x if x in ".=_" or unicodedata.category(x)[0] in "LMN" else " " for x in letters)
    return re.sub(" +", "-", kept)
