"""Teachers on the Hugging Face Hub: `hf:ORG/NAME[@REVISION][:FILE]`.

Only the files a teacher needs are fetched, through the Hub's own cache, and opened as if they were local: no code of a
repository is ever run. FILE may be left out where one is clearly the agent; what follows it after a ? is for its kind.
"""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from reincarnate.agents.agent import Agent, open_agent
from reincarnate.errors import UserError
from reincarnate.files.safe import one_line
from reincarnate.teachers import SCHEMES, open_teacher, recognise
from reincarnate.teachers.sb3 import belonging
from reincarnate.types import TaskSpec, Teacher

AGENT = "agent.json"
KINDS = (
    rf"(?:.*/)?{AGENT}",
    r".*\.cleanrl_model",
    r".*\.zip",
    r".*\.onnx",
    r".*\.pb",
    r"(?:.*/)?ckpt\.\d+",
    r".*\.index",
)
"""Names of files that agents are kept in."""
NOT_AGENTS = ("train_eval_metrics.zip",)  # the RL Zoo's curves
FINAL = ("RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError", "HFValidationError")
"""What the Hub answers that no cache can mend."""


class Address(NamedTuple):
    """The parts of an address; empty where they were left out."""

    repo: str
    revision: str
    file: str
    query: str


class Snapshot(NamedTuple):
    """A repository at one commit: the names in it, how to get one, and warnings."""

    commit: str
    names: list[str]
    fetch: Callable[[str], Path]
    warnings: tuple[str, ...] = ()


def recognises(path: Path) -> bool:
    """Never: nothing that lies here is on the Hub."""
    return False


def open_address(rest: str, actions: int | None = None) -> Teacher:
    """The teacher in a repository, its card's address pinned to the commit it was taken from.

    Offline (HF_HUB_OFFLINE=1, or no connection) what was fetched before is used. UserError: huggingface_hub is not
    installed, there is no such repository, revision or file, several could be meant, or whatever is wrong with it.
    """
    address, snapshot, name, local = _fetched(rest)
    teacher = open_teacher(f"{recognise(local)}:{local}{address.query}", actions)
    pinned = f"hf:{address.repo}@{snapshot.commit}:{name}{address.query}"
    teacher.card = replace(teacher.card, uri=pinned, warnings=(*teacher.card.warnings, *snapshot.warnings))
    return teacher


def open_weights(rest: str, spec: TaskSpec | None = None) -> Agent:
    """The agent in a repository, to go on from. UserError: as `open_address`, or of a kind that cannot go on."""
    address, _, _, local = _fetched(rest)
    scheme = recognise(local)
    if scheme == "store":
        return open_agent(local)
    opener = getattr(SCHEMES[scheme], "open_weights", None)
    if opener is None:
        raise UserError(f"hf:{rest}: weights of the kind {scheme} cannot be gone on from; it can be a --teacher")
    return opener(f"{local}{address.query}", spec)


def _fetched(rest: str) -> tuple[Address, Snapshot, str, Path]:
    """The parts of an address, the repository, the agent's name in it, and where it lies here."""
    address = read_address(rest)
    snapshot = _snapshot(_library(), address)
    name = address.file or choose(snapshot.names, address.repo)
    needed = companions(name, snapshot.names, f"hf:{rest}", address.query)
    paths = [snapshot.fetch(one) for one in needed]
    return address, snapshot, name, paths[0].parent if PurePosixPath(needed[0]).name == AGENT else paths[0]


def read_address(rest: str) -> Address:
    """UserError: not ORG/NAME[@REVISION][:FILE], or a file outside the repository."""
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?::([^?]+))?(\?.*)?", rest)
    if found is None:
        raise UserError(f"hf:{rest}: write hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:ORG/NAME:FILE")
    repo, revision, file, query = (part or "" for part in found.groups())
    if not inside(file) or not inside(revision):
        raise UserError(f"hf:{rest}: {file or revision!r} does not lie within the repository")
    if file.endswith(".py"):
        raise UserError(f"hf:{rest}: code from a repository is never run; look at it, and name your copy: py:PATH:NAME")
    return Address(repo, revision, file, query)


def inside(name: str) -> bool:
    """Whether a name stays within its folder, on every system."""
    return not (name.startswith(("/", "~")) or re.search(r"\\|^[A-Za-z]:|\x00", name) or ".." in name.split("/"))


def choose(names: Sequence[str], repo: str) -> str:
    """The file that is the agent: the only one of a known kind, or the only one named after the repository.

    Of Dopamine's checkpoints the latest. UserError: none, or several that could be meant.
    """
    found = [name for name in names if any(re.fullmatch(kind, name) for kind in KINDS) and name not in NOT_AGENTS]
    numbered = sorted((name for name in found if _number(name) is not None), key=lambda name: _number(name) or 0)
    found = [name for name in found if name not in numbered[:-1]]
    named = [name for name in found if PurePosixPath(name).stem in repo.split("/")[1]]
    for candidates in (found, named):
        if len(candidates) == 1:
            return candidates[0]
    if not found:
        listed = ", ".join(sorted(names)[:8]) or "nothing"
        raise UserError(f"hf:{repo}: no file of a kind that can be read; it holds {listed}")
    raise UserError(f"hf:{repo}: several agents; name one, hf:{repo}:FILE, of {', '.join(sorted(found)[:8])}")


def _number(name: str) -> int | None:
    found = re.fullmatch(r"(?:.*/)?(?:tf_)?ckpt[.-](\d{1,9})(?:\.index)?", name)
    return int(found[1]) if found else None


def companions(name: str, names: Sequence[str], what: str, query: str = "") -> list[str]:
    """The file, and those beside it that its kind needs, or that its `query` names. UserError: it is not there."""
    folder = f"{name.rstrip('/')}/{AGENT}"
    if folder in names:
        name = folder
    if name not in names:
        listed = ", ".join(sorted(names)[:8]) or "nothing"
        raise UserError(f"{what}: there is no {name}; the repository holds {listed}")
    path = PurePosixPath(name)
    wanted = {
        AGENT: [str(path.with_name("weights.safetensors"))],
        ".zip": belonging.companions(name, names, query),
        ".onnx": [f"{name}.data"],
        ".index": [one for one in names if one.startswith(f"{name.removesuffix('.index')}.data-")],
    }
    return [name, *(one for one in wanted.get(path.name, wanted.get(path.suffix, [])) if one in names)]


# ---- the Hub, and its cache ------------------------------------------------------------------------


def _library() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        hint = 'pip install "reincarnate[hub]"'
        raise UserError(f"teachers on the Hugging Face Hub need the package huggingface_hub: {hint}") from None


def _snapshot(library: Any, address: Address) -> Snapshot:
    """The repository as the Hub has it; as the cache has it where the Hub cannot be reached or must not be."""
    what, constants = f"hf:{address.repo}", importlib.import_module("huggingface_hub.constants")
    if constants.HF_HUB_OFFLINE:
        cached = _cached(Path(constants.HF_HUB_CACHE), address)
        if cached is None:
            raise UserError(f"{what}: nothing of it was fetched before, and HF_HUB_OFFLINE forbids to ask the Hub")
        return cached
    try:
        info = library.HfApi(library_name="reincarnate").model_info(address.repo, revision=address.revision or None)
    except Exception as error:  # the Hub's library has dozens of kinds, and its network's more
        said = f"{type(error).__name__}: {one_line(error)}"
        if type(error).__name__ in FINAL:
            raise UserError(f"{what}: {said}") from None
        cached = _cached(Path(constants.HF_HUB_CACHE), address)
        if cached is None:
            hint = "nothing of it was fetched before; go online once, or name a file that is here"
            raise UserError(f"{what}: the Hub was not reached ({said}), and {hint}") from None
        return cached._replace(warnings=("the Hub was not reached: taken from what was fetched before",))

    def fetch(name: str) -> Path:
        try:
            return Path(library.hf_hub_download(address.repo, name, revision=info.sha))
        except Exception as error:
            raise UserError(f"{what}: {name}: {type(error).__name__}: {one_line(error)}") from None

    return Snapshot(info.sha, [file.rfilename for file in info.siblings or () if inside(file.rfilename)], fetch)


def _cached(cache: Path, address: Address) -> Snapshot | None:
    """What the cache holds of the revision; None where that is nothing."""
    folder, revision = cache / f"models--{address.repo.replace('/', '--')}", address.revision or "main"
    try:
        commit = (folder / "refs" / revision).read_text().strip()
    except OSError:
        commit = revision
    root = folder / "snapshots" / commit
    if not inside(commit) or not root.is_dir():
        return None
    names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()]
    return Snapshot(commit, names, root.joinpath)
