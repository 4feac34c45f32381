"""A ready set of priors: bundles named by one manifest, found where they were shipped or fetched, checked by hash.

A bundle is a task with its protocol, a teacher, perhaps data, the reference scores and the licence. Its hash covers
the task, the protocol and the hashes of what it holds, so that `prior:NAME@HASH` means the same to everybody. What may
be shipped lies beside the manifest; the rest is brought from where a person has it (`priors.bundles.fetch`).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reincarnate.agents.places import ROOTS
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_json
from reincarnate.files.records import Record, is_hash, load_record
from reincarnate.files.regular import content_hash, within

MANIFEST = "manifest.json"
PLACES = "REINCARNATE_PRIORS"  # variable of the environment: folders of fetched bundles, joined as PATH's are
FETCHED = Path(".reincarnate/priors")  # where `fetch` puts them unless told
SHORTEST = 8  # digits of a bundle's hash that must be named


@dataclass(frozen=True)
class Bundle:
    """One entry of the manifest. `files` are hashes by name; `teacher` is an address in which {here} is their folder
    and {root} that of the repository; `reference` the scores of the random policy and of the teacher. `data` says what
    the teacher plays (`env_steps`, `epsilon`, `plays`), which then has the hash `id` (`priors.played`).
    """

    name: str
    task: str
    teacher: str
    files: dict[str, str]
    protocol: dict[str, Any]
    reference: dict[str, Any]
    about: str
    licence: str
    source: str
    data: dict[str, Any] | None = None

    @property
    def hash(self) -> str:
        """What it is, whoever has it: SHA-256 over task, protocol, addresses, files and data."""
        return sha256_json({k: getattr(self, k) for k in ("task", "teacher", "data", "files", "protocol")})

    @property
    def address(self) -> str:
        """What a run or a study names: its teacher, whose hash is checked."""
        return f"prior:{self.name}@{self.hash[:12]}"

    @property
    def played(self) -> dict[str, Any]:
        """What its teacher plays. Raises UserError where the manifest says nothing of that."""
        if self.data is None:
            raise UserError(f"the bundle {self.name} holds no data: leave --data out, and its teacher plays some")
        return self.data

    def folder(self) -> Path | None:
        """Where its files lie here, whole and unchanged; None where they do not. UserError: some have changed."""
        for place in places():
            folder = place / self.name
            if all((folder / file).is_file() for file in self.files):
                self.check(folder)
                return folder
        return None

    def check(self, folder: Path) -> None:
        """Raises UserError where a file there is not what the bundle holds."""
        for file, said in self.files.items():
            if (found := content_hash(within(folder, file))) != said:
                raise UserError(f"{folder / file} is not what the bundle {self.name} holds: {found}, not {said}")

    def here(self) -> str:
        """The address of its teacher as it lies here. Raises UserError where its files are not here."""
        folder = self.folder()
        if folder is None:
            raise UserError(f"the bundle {self.name} is not here: reincarnate priors fetch {self.name} --source PATH")
        return self.teacher.replace("{here}", str(folder)).replace("{root}", str(root().parent))


# ---- the manifest ----------------------------------------------------------------------------------------


def root() -> Path:
    """The folder of the manifest: beside the installed package's modules, or at the root of a checkout."""
    for folder in ROOTS:
        if (folder / MANIFEST).exists():
            return folder
    raise UserError(f"priors/{MANIFEST} is missing from this installation; install reincarnate again")


def places() -> list[Path]:
    """Where bundles are looked for, in order: shipped ones, those of the environment's variable, fetched ones."""
    named = [Path(place) for place in os.environ.get(PLACES, "").split(os.pathsep) if place]
    return [root(), *named, FETCHED]


def bundles() -> dict[str, Bundle]:
    """All that the manifest names. Raises UserError where it is damaged."""
    path = root() / MANIFEST
    return read_manifest(path)


def read_manifest(path: Path) -> dict[str, Bundle]:
    """The bundles of a manifest, by name. Raises UserError, naming the field that is wrong."""
    record = Record(load_record(path), path)
    if record.text("kind") != "priors":
        raise record.refuse("kind", "'priors'", record.get("kind"))
    inner = record.record("bundles")
    return {name: _bundle(name, inner.record(name)) for name in inner}


def _bundle(name: str, told: Record) -> Bundle:
    reference = told.record("reference")
    for who in reference:
        reference.record(who).number("mean")
    return Bundle(
        name=name,
        task=told.text("task"),
        teacher=told.text("teacher"),
        files=told.mapping("files", is_hash, "hashes by file"),
        protocol=told.record("protocol").value,
        reference=reference.value,
        about=told.text("about"),
        licence=told.text("licence"),
        source=told.text("source"),
        data=_data(told),
    )


def _data(told: Record) -> dict[str, Any] | None:
    if told.get("data", None) is None:
        return None
    data = told.record("data")
    data.integer("env_steps", low=1)
    data.number("epsilon")
    data.text("plays")
    data.hash("id")
    return data.value


def find(name: str) -> Bundle:
    """The bundle that `NAME` or `NAME@HASH` names. Raises UserError for an unknown name, or another hash."""
    plain, at, digits = name.partition("@")
    known = bundles()
    if plain not in known:
        raise UserError(f"there is no bundle {plain!r}; there are: {', '.join(known)}")
    bundle = known[plain]
    if at and (len(digits) < SHORTEST or not bundle.hash.startswith(digits)):
        raise UserError(
            f"prior:{name}: this version's {plain} has the hash {bundle.hash[:12]} (name {SHORTEST} digits or more)"
        )
    return bundle
