"""Where Dopamine's checkpoints lie, and what kind each is: pickles of JAX agents, TensorFlow's, frozen graphs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.regular import open_regular
from reincarnate.files.safe import read_file, sha256
from reincarnate.teachers.dopamine.pickle import read_bundle
from reincarnate.teachers.wire.graphdef import looks_like_graph, read_constants
from reincarnate.teachers.wire.tf1 import looks_like_index, read_variables

ONLINE = r"Online/(?:\w+/)*(Conv|fully_connected|dense)(?:_(\d{1,3}))?/(weights|kernel|biases|bias)"
"""TensorFlow's variables: `Online/Conv_1/weights`, with Keras `kernel`."""
REPLAY = "checkpoint.msgpack"
SENTINEL = "sentinel_checkpoint_complete"


class Checkpoint(NamedTuple):
    """A tree of parameters as flax names them, the kind of file, its sha256, and how it was kept safe."""

    tree: dict[str, Any]
    format: str
    sha256: str
    safety: str
    env_steps: int | None = None


def is_checkpoint(path: Path) -> bool:
    """Whether a file or folder holds a checkpoint of Dopamine, by names and first or last bytes."""
    try:
        if path.is_dir():
            return bool(_numbers(_inside(path)))
        named = re.fullmatch(r"ckpt\.\d+", path.name) and _begins(path, b"\x80")
        return bool(named) or looks_like_index(path) or looks_like_graph(path, "Online/")
    except (OSError, UserError):
        return False


def read_checkpoint(address: str) -> Checkpoint:
    """The checkpoint of `PATH` or `PATH@N`: a folder (its latest complete one, or number N), or one of its files.

    UserError: none there, damaged or hostile, or without parameters.
    """
    path, number = _split(address)
    if path.is_dir():
        path = _chosen(_inside(path), number)
    elif number is not None:
        raise UserError(f"{address}: @{number} picks a checkpoint of a folder, and {path} is none")
    path = _index_of(path)
    if path.suffix == ".index":
        variables, digest = read_variables(path, ONLINE)
        return Checkpoint(tree_of(variables, path), "Dopamine TensorFlow checkpoint", digest, "numbers only")
    if path.suffix == ".pb":
        payload = read_file(path)
        tree = tree_of(read_constants(payload, ONLINE, str(path)), path)
        return Checkpoint(tree, "frozen TensorFlow graph", sha256(payload), "numbers only; no graph was run")
    return _pickled(path)


def _pickled(path: Path) -> Checkpoint:
    if path.name == REPLAY:
        raise UserError(f"{path}: Dopamine's replay buffer; the weights are in the ckpt.N beside its folder")
    payload = read_file(path)
    tree, plain = read_bundle(payload, str(path))
    if tree is None:
        raise UserError(f"{path}: holds no parameters; of TensorFlow's agents they are in tf_ckpt-N.index beside it")
    steps = plain.get("training_steps")
    safe = "of the pickle only numbers were taken; nothing was imported or run"
    count = steps if isinstance(steps, int) and steps > 0 else None
    return Checkpoint(tree, "Dopamine JAX checkpoint", sha256(payload), safe, count)


def _split(address: str) -> tuple[Path, int | None]:
    """The path, and the number behind an @ where the whole is not itself a path."""
    found = re.fullmatch(r"(.+)@(\d{1,9})", address)
    return (Path(found[1]), int(found[2])) if found and not Path(address).exists() else (Path(address), None)


def _inside(folder: Path) -> Path:
    return folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder


def _numbers(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by number; TensorFlow's weights rather than the pickle beside them."""
    found: dict[int, Path] = {}
    for path in folder.iterdir():
        if match := re.fullmatch(r"(ckpt\.|tf_ckpt-)(\d{1,9})(\.index)?", path.name):
            tensorflow = match[1] == "tf_ckpt-"
            if tensorflow == bool(match[3]) and (tensorflow or int(match[2]) not in found):
                found[int(match[2])] = path
    return found


def _chosen(folder: Path, number: int | None) -> Path:
    """The checkpoint of a number, or the latest that is complete: that has a sentinel, where there are any."""
    found = _numbers(folder)
    if not found:
        raise UserError(f"{folder}: no checkpoint of Dopamine: neither ckpt.N nor tf_ckpt-N.index is there")
    if number is None:
        finished = {n for n in found if (folder / f"{SENTINEL}.{n}").exists()}
        return found[max(finished or found)]
    if number not in found:
        known = ", ".join(map(str, sorted(found)[-10:]))
        raise UserError(f"{folder}: there is no checkpoint {number}; there are {known}")
    return found[number]


def _index_of(path: Path) -> Path:
    """The index where a prefix or another file of a TensorFlow checkpoint was named."""
    stem = re.sub(r"\.(data-\d{5}-of-\d{5}|meta)$", "", path.name)
    index = path.with_name(f"{stem}.index")
    return index if index.exists() and (stem != path.name or not path.exists()) else path


def _begins(path: Path, magic: bytes) -> bool:
    with open_regular(path) as file:
        return file.read(len(magic)) == magic


def tree_of(variables: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """TensorFlow's variables as flax names them.

    UserError: there are none of an online network.
    """
    found = [(match, array) for name, array in variables.items() if (match := re.fullmatch(ONLINE, name))]
    first = int(any(match[1] == "dense" for match, _ in found))  # IQN's embedding, before what is fully connected
    tree: dict[str, Any] = {}
    for match, array in found:
        kind, number = ("Conv", 0) if match[1] == "Conv" else ("Dense", first if match[1] != "dense" else 0)
        part = "kernel" if match[3] in ("weights", "kernel") else "bias"
        tree.setdefault(f"{kind}_{number + int(match[2] or 0)}", {})[part] = array
    if not tree:
        raise UserError(f"{path}: holds no variables of a network called 'Online', as Dopamine's do")
    return tree
