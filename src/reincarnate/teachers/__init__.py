"""Frozen policies of any origin, behind one narrow protocol. A format is one file and one line in `SCHEMES`."""

import difflib
import re
import shlex
from pathlib import Path
from typing import Any

from reincarnate.agents.addresses import address_of
from reincarnate.errors import UserError
from reincarnate.files.finished import is_run, runs_below
from reincarnate.plugins import Registry, blaming, having
from reincarnate.types import Teacher

SCHEMES = Registry(
    "kind of teacher",
    {
        "store": "reincarnate.teachers.stored",
        "onnx": "reincarnate.teachers.onnx",
        "torchscript": "reincarnate.teachers.torchscript",
        "sb3": "reincarnate.teachers.sb3",
        "py": "reincarnate.teachers.python",
        "cleanrl": "reincarnate.teachers.cleanrl",
        "balloon": "reincarnate.teachers.balloon",
        "dopamine": "reincarnate.teachers.dopamine",
        "pgx": "reincarnate.teachers.pgx",
        "hf": "reincarnate.teachers.hub",
        "several": "reincarnate.teachers.several",
        "view": "reincarnate.teachers.viewed",
        "prior": "reincarnate.priors.bundles",
    },
    "reincarnate.teachers",
    having("open_address"),
)
"""Scheme -> module, in the order in which a bare path is tried. Each has `open_address(rest, actions) -> Teacher`,
where `rest` follows the scheme, and may have `recognises(path) -> bool`."""

FILES = ("onnx", "torchscript", "sb3", "cleanrl", "dopamine", "pgx")
"""Schemes of files that others wrote."""
OWN_WAY = ("pip install", "?", "NaN", "not finite", "infinity")
"""Signs of an error that says itself what to do, or of numbers that are as broken wherever they are loaded."""
WAYS_OUT = (
    "Ways out: twelve lines of yours that load it (docs/teachers.md shows them), "
    "`reincarnate inspect py:my_agent.py:policy --env ID`; or export it where it runs, to "
    "torchscript:FILE.pt by torch.jit.trace(policy, observations).save(…) or onnx:FILE.onnx by torch.onnx.export(…)"
)


def open_teacher(uri: Any, actions: int | None = None) -> Teacher:
    """The teacher that `scheme:rest` names; a bare path is recognised by what lies there.

    `uri` may also be a path, an agent of ours, or a function or class at the top of a file.

    `actions` is the number of actions of the task, for the teachers that cannot know it themselves.
    UserError: an unknown scheme or format, or whatever is wrong with the file.
    """
    uri = address_of(uri, "teacher") or ""
    scheme, colon, rest = uri.partition(":")
    if colon and scheme in SCHEMES:
        if not rest:
            raise UserError(f"{uri!r} names no teacher; write {scheme}:PATH")
        return _open(scheme, rest, actions)
    if Path(uri).exists():
        return _open(recognise(Path(uri)), uri, actions)
    if colon and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+", scheme):
        near = difflib.get_close_matches(scheme.lower(), SCHEMES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}:{rest}? " if near else ""
        raise UserError(f"unknown kind of teacher {scheme!r}: {hint}known are {', '.join(SCHEMES)}")
    raise UserError(f"{uri}: there is no such file; a teacher is a path or one of {', '.join(SCHEMES)} and a path")


def recognise(path: Path) -> str:
    """The scheme of what lies at `path`. UserError: it is not recognised."""
    for name in SCHEMES:
        if getattr(SCHEMES[name], "recognises", lambda _: False)(path):
            return name
    if path.is_dir() and len(zips := sorted(path.glob("*.zip"))) == 1:  # as of an agent of RL Zoo
        raise UserError(f"{path} is a folder: name the file in it, {zips[0]}")
    if is_run(path):
        raise UserError(f"{path} is a run that is not finished: `reincarnate resume {shlex.quote(str(path))}` goes on")
    if runs := runs_below(path):
        raise UserError(f"{path} is a folder of runs: name one of them, as {runs[0]}")
    kinds = ", ".join(SCHEMES)
    raise UserError(f"{path}: not a teacher that can be recognised; name its kind, one of {kinds}. {WAYS_OUT}")


def _open(scheme: str, rest: str, actions: int | None) -> Teacher:
    """Open it; where somebody's file cannot be read, the error names the ways out."""
    kind = SCHEMES[scheme]
    try:
        with blaming(SCHEMES, kind, f"{scheme}:{rest}: cannot be opened"):
            return kind.open_address(rest, actions)
    except UserError as error:
        told = str(error)
        unread = scheme in FILES and WAYS_OUT not in told and not any(sign in told for sign in OWN_WAY)
        if not unread or not Path(rest.partition("?")[0]).exists():
            raise
        raise UserError(f"{told}. {WAYS_OUT}") from error


def register_teacher(scheme: str, kind: Any) -> None:
    """Add a kind of teacher of your own, a module or any object with `open_address` (see `SCHEMES`): `SCHEME:REST`.

    Raises UserError where that cannot be.
    """
    SCHEMES.register(scheme, kind)
