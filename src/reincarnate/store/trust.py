"""Whose run a folder is: one that began on this machine is resumed as it is, a stranger's runs no code unasked.

A run that begins is sealed: `.seal` in its folder holds a keyed hash of its `config.json`. The key lies in the user's
own state folder and never leaves this machine, so that nobody else can make a seal; a run that was moved keeps its own.
An agent that names code, in its task or its imports, is remembered there by the hash of its record when it is made.
"""

import hashlib
import hmac
import importlib.machinery
import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from reincarnate.agents.places import folder_of
from reincarnate.envs.task import parse
from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.atomic import write_bytes
from reincarnate.files.records import Record, loads
from reincarnate.files.regular import read_bounded, within
from reincarnate.files.safe import sha256
from reincarnate.plugins import imported

SEAL: Final = ".seal"
USUAL_STORE: Final = ".reincarnate"
CODE: Final = re.compile(r"(?:^|[^A-Za-z0-9_])py:")
NOT_ADDRESSES: Final = ("command", "label", "versions")  # of a run's config: nothing opens them


# ---- seals -----------------------------------------------------------------------------------------------


def seal(run: Path) -> None:
    """Mark a run as begun here. Where there is no place for a key (no home), it goes unmarked."""
    key = _key()
    if key is not None:
        write_bytes(run / SEAL, _mark(key, run).encode())


def sealed(run: Path) -> bool:
    """Whether a run began on this machine, and its settings are those it began with."""
    key = _key()
    with suppress(UserError, OSError):
        return key is not None and hmac.compare_digest(read_bounded(within(run, SEAL), 200).decode(), _mark(key, run))
    return False


def _mark(key: bytes, run: Path) -> str:
    return hmac.new(key, read_bounded(within(run, "config.json"), limits.JSON), hashlib.sha256).hexdigest()


def _state() -> Path:
    """Where a user's own files of this kind lie. Raises RuntimeError where there is no home."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "reincarnate"


def _key() -> bytes | None:
    """This user's key on this machine, made when it is first needed; None where there is nowhere to keep it."""
    try:
        folder = _state()
        path = folder / "key"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            fresh = folder / f".key.{os.getpid()}.{secrets.token_hex(4)}"
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
            with suppress(FileExistsError):  # another process was first
                os.link(fresh, path)
            fresh.unlink()
        key = read_bounded(path, 64)
        return key if len(key) == 32 else None
    except (OSError, RuntimeError, UserError):
        return None


# ---- before a run goes on --------------------------------------------------------------------------------


def check(run: Path, config: dict[str, Any], trusted: bool) -> None:
    """Refuse to go on with what a record names before any of it is run.

    UserError: the run did not begin here, and names code or a store of its own, and is not `trusted`; or the code is
    not that with which it began, whoever's it is.
    """
    code = sorted(set(_code_in(config)))
    if not trusted and (code or config.get("store", USUAL_STORE) != USUAL_STORE) and not sealed(run):
        named = f"code ({code[0][:120]})" if code else f"a store ({str(config.get('store'))[:120]})"
        hint = "look at what it names first" if code else "everything is kept in there"
        raise UserError(
            f"{run} names {named}, and nothing says that it began on this machine: {hint}, then `resume {run} --trust`"
        )
    began = config.get("prior")
    hashes = began if isinstance(began, dict) else {}
    expected, teacher = hashes.get("code", hashes.get("teacher")), config.get("teacher")
    if isinstance(teacher, str) and teacher.startswith("py:") and expected is not None:
        found = fingerprint(teacher.removeprefix("py:"))
        if found is not None and found != expected:
            then = f"it was {expected} then and is {found} now; nothing of it was run"
            raise UserError(f"the teacher of {run} has changed since the run began: {then}; put it back to resume")


def _code_in(value: Any, key: str = "") -> Iterator[str]:
    """Whatever in a run's settings names code: a teacher in Python, a task's module, modules to import."""
    if isinstance(value, dict):
        for name, item in value.items():
            if key or name not in NOT_ADDRESSES:
                yield from _code_in(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _code_in(item, key)
    elif isinstance(value, str) and (CODE.search(value) or (key == "env" and _modules(value)) or key == "imports"):
        yield value


def _modules(env: str) -> tuple[str, ...]:
    """The modules that a task's address imports; one that cannot be read is one that nobody imports."""
    try:
        return parse(env).modules
    except UserError:
        return (env,) if ":" in env or "import=" in env else ()


def check_study(file: dict[str, Any], out: Path, trusted: bool) -> None:
    """Refuse to go on with runs in a study's folder that did not begin here, where its file names code."""
    code = sorted(set(_code_in(file)))
    configs = sorted([*out.glob("*/*/config.json"), *out.glob("search/*/*/*/config.json")])
    for config in configs if code and not trusted else ():
        run = config.parent
        if not (run / "done").exists() and not sealed(run):
            named = f"the study names code ({code[0][:120]})"
            raise UserError(
                f"{named}, and nothing says that {run} began on this machine: look at it first, then --trust"
            )


# ---- agents ----------------------------------------------------------------------------------------------


def vouch(agent: Path) -> None:
    """Remember that this agent was made here, where its record names code; elsewhere nothing is written."""
    with suppress(OSError, RuntimeError, UserError):
        record = read_bounded(within(agent, "agent.json"), limits.JSON)
        if any(_named_by(_record(record, agent))):
            place = _state() / "made" / sha256(record)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()


def vouched(agent: Path) -> bool:
    """Whether an agent was made here, and its record is what it was."""
    with suppress(OSError, RuntimeError, UserError):
        return (_state() / "made" / sha256(read_bounded(within(agent, "agent.json"), limits.JSON))).is_file()
    return False


def bring(address: str, trusted: bool) -> bool:
    """Import what an agent of ours says that it needs, by its address. Returns whether the code it names may be run.

    Other teachers name nothing that is imported here. Raises UserError where modules are named by an agent that was
    not made on this machine, and that is not `trusted`.
    """
    agent = _agent_at(address)
    if agent is None:
        return trusted
    known = trusted or vouched(agent)
    imports, _ = _named_by(_record(read_bounded(within(agent, "agent.json"), limits.JSON), agent))
    if imports and not known:
        raise UserError(
            f"{address} needs code ({', '.join(imports)[:120]}), and nothing says that it was made on this machine: "
            f"look at that first, then --trust"
        )
    imported_for(imports, address)
    return known


def refuse_strange_task(address: str, env: str, known: bool) -> None:
    """UserError: an agent's own task is code, and the agent may not be trusted (`bring`)."""
    if (modules := _modules(env)) and not known:
        code = ", ".join(modules)[:120]
        raise UserError(
            f"{address} says that its task is {env[:120]}, which runs code ({code}), and nothing says that it was made "
            f"on this machine: look at that first, then --trust, or name the task with --env"
        )


def imported_for(modules: Sequence[str], who: str) -> None:
    """Import the modules that a record names. Raises UserError that says whose."""
    try:
        imported(modules)
    except UserError as error:
        raise UserError(f"{who} was made with --import {' --import '.join(modules)}: {error}") from error


def _agent_at(address: str) -> Path | None:
    with suppress(OSError, ValueError, UserError):
        path = folder_of(address)
        return next((place for place in (path, path / "agent") if (place / "agent.json").is_file()), None)
    return None


def _record(content: bytes, agent: Path) -> Record:
    return Record(loads(content.decode(), agent / "agent.json"), agent / "agent.json")


def _named_by(record: Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The modules that an agent's record imports, and those of its task."""
    about = record.record("about", {})
    return about.texts("imports", ()), _modules(str(record.record("spec", {}).value.get("id", "")))


# ---- Python --------------------------------------------------------------------------------------------------


def fingerprint(rest: str) -> str | None:
    """The hash of the code of the teacher `py:rest`, none of it imported; None where it is not found. That on its card
    covers its networks' numbers too, where it has some.

    See `teachers.python.fingerprint_of`.
    """
    target, _, query = rest.partition("?")
    place, _, name = target.rpartition(":")
    source = Path(place) if place.endswith(".py") else _source(place)
    if source is None or not source.is_file():
        return None
    from reincarnate.teachers.python import _arguments, fingerprint_of

    return fingerprint_of(read_bounded(source), name, _arguments(rest, query))


def _source(module: str) -> Path | None:
    """Where a module lies. `find_spec` would import the packages that it is in."""
    path, spec = list(sys.path), None
    for i in range(module.count(".") + 1):
        name = ".".join(module.split(".")[: i + 1])
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return Path(spec.origin) if spec and spec.origin else None
