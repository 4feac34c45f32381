"""What a study is: a YAML file unrolled into runs, everything checked before anything starts."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reincarnate.config import from_dict, read_yaml
from reincarnate.errors import UserError
from reincarnate.methods import METHODS
from reincarnate.run import NAMES, Run, prepare

KEYS = ("title", "tasks", "methods", "seeds", "run")


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


def read_study(path: Path) -> Study:
    """Read a study file.

    Keys: `title`; `run`, settings that all runs share; `tasks`, a list of settings (env, teacher …) that go over
    them; `methods`, a mapping of names to settings, `name: {method: qdagger, …}` where it is not the method's own, and
    with `run: {student: …}` where more than the method's settings differ;
    `seeds`, a number or a list. Raises UserError for an unknown key, method or task, and for a teacher that does
    not fit, naming it.
    """
    file = read_yaml(path)
    for key in file:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key {key!r}; known: {', '.join(KEYS)}")
    for key in ("tasks", "methods"):
        if not file.get(key):
            raise UserError(f"{path}: {key} is missing or empty")
    ids = [task.get("env", file.get("run", {}).get("env")) for task in file["tasks"]]
    for env in ids:
        if ids.count(env) > 1:
            raise UserError(f"{path}: two tasks share the env {env!r}; give each a study of its own")
    seeds = file.get("seeds", 5)
    seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    cells = tuple(
        _cell(path, {**file.get("run", {}), **task}, name, settings or {}, seed)
        for seed in seeds
        for task in file["tasks"]
        for name, settings in file["methods"].items()
    )
    for cell in cells[: len(file["tasks"]) * len(file["methods"])]:
        prepare(cell.run)
    return Study(str(file.get("title", path.stem)), cells)


def _cell(path: Path, shared: dict[str, Any], name: str, settings: dict[str, Any], seed: int) -> Cell:
    method = {"name": settings.get("method", name), **{k: v for k, v in settings.items() if k not in ("method", "run")}}
    shared = {**shared, **(settings.get("run") or {})}
    if method["name"] not in METHODS:
        raise UserError(f"{path}: unknown method {method['name']!r}; known: {', '.join(METHODS)}")
    if "env" not in shared:
        raise UserError(f"{path}: a task names no env")
    label = "" if name == method["name"] else name
    try:
        run = from_dict(Run, {**shared, "method": method, "seed": seed, "label": label}, NAMES)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Cell(Path(run.env.replace("/", "-")) / f"{_plain(name)}-s{seed}", run)


def _plain(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.=_]+", "-", name)
