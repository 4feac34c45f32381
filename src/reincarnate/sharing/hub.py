"""Agents on the Hugging Face Hub: the folder that is put there, and the folder that comes back, every hash checked."""

import importlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reincarnate.agents.agent import Agent, open_agent
from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.atomic import FORMAT, publish, staging, write_bytes, write_json
from reincarnate.files.finished import videos_of
from reincarnate.files.records import Record, is_hash, load_record
from reincarnate.files.regular import open_regular, read_bounded, within
from reincarnate.files.safe import one_line
from reincarnate.report.runs import load_run
from reincarnate.sharing.hub_card import ADDRESS, CURVE, FILM, hub_card
from reincarnate.store.lineage import Places, lineage_of, read_agent
from reincarnate.store.nodes import ORIGIN
from reincarnate.store.verify import check_agent

FILES = (
    "agent.json",
    "weights.safetensors",
    "card.md",
    "optimizer.safetensors",
    "data/*/manifest.json",
    "data/*/*.npy",
)
"""What an agent consists of; nothing else in a repository is looked at."""


def parse(address: str) -> tuple[str, str | None]:
    """The repository ORG/NAME and the revision of `hf:ORG/NAME[@REVISION]`. Raises UserError where it is none."""
    found = ADDRESS.fullmatch(address)
    if found is None or found[1] or ":" in address.removeprefix("hf:"):
        raise UserError(f"{address!r} is no model on the Hugging Face Hub; write hf:ORG/NAME or hf:ORG/NAME@REVISION")
    return found[2], found[3]


# ---- there -----------------------------------------------------------------------------------------------


def write_folder(agent: Path, repo: str, out: Path, places: Places) -> Agent:
    """Write the folder that a repository is to hold: the agent's files, `README.md`, a picture of its learning.

    Raises UserError where the agent is damaged or `out` exists.
    """
    opened = open_agent(agent)
    check_agent(opened.path)
    if out.exists():
        raise UserError(f"{out} exists already; choose another folder")
    with staging(out.parent) as folder:
        _copy(opened.path, folder)
        run = opened.path.parent if (opened.path.parent / "done").exists() and opened.path.name == "agent" else None
        if run:
            _draw(run, folder / CURVE)
        returns = list(load_run(run).returns) if run else []
        lineage, value = lineage_of(str(opened.path), places), read_agent(opened.path)
        film = _film(opened.path, folder / FILM)
        write_bytes(folder / "README.md", hub_card(lineage, value, returns, repo, run is not None, film).encode())
        publish(folder, out)
    return opened


def _film(agent: Path, file: Path) -> bool:
    """Copy the film of an agent's evaluation, where its run kept one: of the last, or of its best."""
    kept = videos_of(agent.parent)
    if agent.name == "agent-best":
        best = read_agent(agent)["about"].get("evaluation")
        kept = [path for path in kept if int(path.stem) == best]
    if kept:
        write_bytes(file, read_bounded(kept[-1], limits.FILM))
    return bool(kept)


def _draw(run: Path, file: Path) -> None:
    import numpy as np

    from reincarnate.report import figure, save_png

    save_png(figure([load_run(run)], np.random.default_rng(0)), file)


def upload(agent: Path, repo: str, private: bool, places: Places) -> tuple[Agent, str]:
    """Put an agent on the Hub. Returns it and the commit's address. Raises UserError where the Hub refuses."""
    hub = _library()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "agent"
        opened = write_folder(agent, repo, folder, places)
        with _hub_errors(f"hf:{repo}"):
            api = hub.HfApi(library_name="reincarnate")
            api.create_repo(repo, exist_ok=True, private=private)
            done = api.upload_folder(repo_id=repo, folder_path=folder, commit_message=f"Agent {opened.sha256[:12]}")
    return opened, str(done.commit_url)


# ---- and back --------------------------------------------------------------------------------------------


def download(repo: str, revision: str | None, out: Path) -> Agent:
    """Fetch an agent from the Hub. Raises UserError where there is none, or it is not what its hashes say."""
    hub = _library()
    with tempfile.TemporaryDirectory() as parent:
        with _hub_errors(f"hf:{repo}"):
            commit = hub.HfApi(library_name="reincarnate").model_info(repo, revision=revision).sha
            hub.snapshot_download(repo, revision=commit, allow_patterns=list(FILES), local_dir=parent)
        return take(Path(parent), out, f"hf:{repo}@{commit}")


def take(folder: Path, out: Path, address: str) -> Agent:
    """Copy the agent in a folder to `out`, once every hash has been checked; `address` says where it came from.

    Raises UserError where it is damaged, is none, or `out` exists.
    """
    if out.exists():
        raise UserError(f"{out} exists already; choose another --out")
    if not (folder / "agent.json").is_file():
        raise UserError(f"{address} holds no agent of reincarnate's: it has no agent.json")
    with staging(out.parent) as staged:
        _copy(folder, staged)
        sha256 = check_agent(staged)
        write_json(staged / ORIGIN, {"format": FORMAT, "address": address, "sha256": sha256})
        publish(staged, out)
    return open_agent(out)


def _copy(source: Path, target: Path) -> None:
    """An agent's files, those that its manifests name and no other; no link out of the folder is followed."""
    total = 0
    for name in _files(source):
        file, place = within(source, name), target / name
        if not file.is_file():
            continue
        total += file.stat().st_size
        if total > limits.SHARED:
            raise UserError(f"{source}: an agent of over {limits.SHARED >> 30} GiB is not copied")
        place.parent.mkdir(parents=True, exist_ok=True)
        with open_regular(file) as content, place.open("wb") as copy:
            shutil.copyfileobj(content, copy)


def _files(source: Path) -> list[str]:
    """What an agent consists of, by its own word."""
    kept = Record(load_record(within(source, "agent.json")), source / "agent.json").mapping(
        "kept", is_hash, "an object of hashes", {}
    )
    names = ["agent.json", "weights.safetensors", "card.md"]
    names += ["optimizer.safetensors"] if "optimizer" in kept else []
    if "data" in kept:
        folder = f"data/{kept['data'][:16]}"
        columns = Record(load_record(within(source, f"{folder}/manifest.json")), folder).record("columns")
        named = [f"{folder}/{name}.npy" for name in columns if re.fullmatch(r"[a-z_]{1,40}", name)]
        names += [f"{folder}/manifest.json", *named[: limits.COLUMNS]]
    return names


def addresses_in(folder: Path) -> list[str]:
    """What in an agent's manifest and cards tells of this machine: paths from the root or from somebody's home."""
    text = "\n".join(
        read_bounded(folder / name, limits.JSON).decode(errors="replace")
        for name in ("agent.json", "card.md", "README.md")
        if (folder / name).is_file()
    )
    found = re.findall(
        r"(?<![\w.:/~])(?:file://|[a-z]{2,12}:)?(?:/|~/|[A-Za-z]:\\\\)[\w.@+-]+(?:[/\\][\w.@+-]+)+", text
    )
    return sorted(set(found))


def _library() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        hint = 'pip install "reincarnate[hub]"'
        raise UserError(f"huggingface_hub is not installed: {hint}, or use --local DIR and no network") from None


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """One line of whatever the Hub's library raises: it has dozens of kinds, and its network's more."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {type(error).__name__}: {one_line(error)}") from error
