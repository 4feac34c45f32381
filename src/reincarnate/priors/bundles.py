"""Bundles of the ready set (`agents.bundles`) as teachers, and from where a person has them, which changes no byte."""

import shutil
from dataclasses import replace
from pathlib import Path

from reincarnate import envs
from reincarnate.agents.bundles import FETCHED, Bundle, find, root
from reincarnate.errors import UserError
from reincarnate.files.atomic import publish, staging
from reincarnate.files.regular import content_hash
from reincarnate.teachers import open_teacher
from reincarnate.types import Teacher


def open_address(rest: str, actions: int | None = None) -> Teacher:
    """The teacher of a bundle, `prior:NAME@HASH`. Raises UserError where it is not here, or has changed."""
    bundle = find(rest)
    if bundle.protocol != envs.spec(bundle.task).protocol:
        raise UserError(f"prior:{rest} is of another protocol than {bundle.task} has in this version")
    return opened(bundle, actions)


def opened(bundle: Bundle, actions: int | None) -> Teacher:
    """Its teacher. Raises UserError where its files are not here."""
    teacher = open_teacher(bundle.here(), actions)
    teacher.card = replace(teacher.card, uri=bundle.address)
    return teacher


def fetch(name: str, source: Path, out: Path | None = None) -> Path:
    """Bring a bundle's files from a file or folder where a person has them; every hash is checked. Returns its folder.

    One that is here already stays where it is, unless another place is asked for; what is shipped is everywhere.
    A file is found in a folder by its name, at any depth. Raises UserError where one is missing or another; then
    nothing is written.
    """
    bundle = find(name)
    there = bundle.folder()
    if there is not None and (out is None or there.parent in (out, root())):
        return there
    out = out or FETCHED
    if not source.exists():
        raise UserError(f"--source {source} does not exist; {bundle.name} is from {bundle.source}")
    found = {file: _found(bundle, file, said, source) for file, said in bundle.files.items()}
    with staging(out) as folder:
        for file, path in found.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / file)
        bundle.check(folder)
        publish(folder, out / bundle.name)
    return out / bundle.name


def _found(bundle: Bundle, file: str, said: str, source: Path) -> Path:
    """The file of this name and hash."""
    name = Path(file).name
    candidates = [source] if source.is_file() else sorted(path for path in source.rglob(name) if path.is_file())
    for path in candidates:
        if content_hash(path) == said:
            return path
    other = f" of that content (another lies at {candidates[0]})" if candidates else ""
    raise UserError(f"{source} holds no {name}{other}; {bundle.name} needs sha256 {said}, from {bundle.source}")
