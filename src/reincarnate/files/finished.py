"""`done`, the last file of a finished run: the hashes of its records, so that nothing in them changes unseen."""

import json
import os
import re
from pathlib import Path
from typing import Final

from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_file, write_bytes
from reincarnate.files.records import FORMAT, Record, load_record
from reincarnate.files.regular import within

DONE: Final = "done"
COVERED: Final = ("config.json", "metrics.jsonl", "result.json")
AGENTS: Final = ("agent/agent.json", "agent-best/agent.json")  # which hold the hashes of all else in their folders
SMALL: Final = 1 << 16  # bytes
VIDEOS: Final = "videos"  # the folder of a run's films


def write_done(folder: Path) -> None:
    """Finish a run: from now on its records are what they are."""
    hashes = {name: sha256_file(folder / name) for name in (*COVERED, *AGENTS) if (folder / name).exists()}
    write_bytes(folder / DONE, (json.dumps({"format": FORMAT, "kind": "done", "sha256": hashes}) + "\n").encode())


def check_done(folder: Path) -> None:
    """UserError: a record of a finished run has changed since, or an agent's was exchanged; it may be taken elsewhere.

    Runs of before say nothing (an empty `done`), or nothing of their agents.
    """
    path = within(folder, DONE)
    if os.stat(path).st_size == 0:
        return
    said = Record(load_record(path, SMALL), path).record("sha256")
    for name in (*COVERED, *(other for other in said if other not in COVERED)):
        file, expected = within(folder, name), said.hash(name, None)
        found = sha256_file(file) if file.is_file() else None
        if found != expected and not (found is None and name in AGENTS):
            raise UserError(
                f"{file} has changed since the run was finished: {_short(found)}, it was {_short(expected)}"
            )


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, finished or begun: it has its settings and has written a line."""
    return (folder / "config.json").is_file() and (folder / "metrics.jsonl").is_file()


def refuse_inside_a_run(path: Path) -> None:
    """UserError where a folder is a run's, or lies within one: reports do not look for others there."""
    for folder in (path.absolute(), *path.absolute().parents):
        if is_run(folder):
            inside = "is" if folder == path.absolute() else f"lies within {folder},"
            raise UserError(f"{path} {inside} a run, which keeps nothing but its own; choose another --out")


def runs_below(folder: Path) -> list[Path]:
    """Runs right below a folder, sorted; links and hidden ones are left alone."""
    return sorted(file.parent for file in folder.glob("[!.]*/config.json") if not file.parent.is_symlink())


def _short(sha256: str | None) -> str:
    return f"{sha256[:12]}…" if sha256 else "missing"


def videos_of(run: Path) -> list[Path]:
    """A run's films, by the number of the evaluation that each belongs to; of what is no run, none."""
    if not (run / "config.json").is_file() or (run / VIDEOS).is_symlink():
        return []
    found = (path for path in (run / VIDEOS).glob("*.gif") if re.fullmatch(r"\d{4,9}\.gif", path.name))
    return sorted(path for path in found if path.is_file() and not path.is_symlink())
