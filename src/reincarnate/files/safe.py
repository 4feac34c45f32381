"""Reading strangers' files without running them: bounded zips, tensors by `weights_only`, inert pickles."""

import hashlib
import io
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.pickled import BoundedUnpickler, Inert, check_nesting
from reincarnate.files.records import loads
from reincarnate.files.regular import read_bounded

FILE_LIMIT = limits.FILE
MIB = limits.MIB


def one_line(error: BaseException, limit: int = 160) -> str:
    """What an exception says, cut to one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:limit]


def read_file(path: Path, limit: int = FILE_LIMIT) -> bytes:
    """The whole file. UserError: missing, a folder, a pipe or device, unreadable, or over `limit` bytes."""
    return read_bounded(path, limit)


def sha256(*payloads: bytes) -> str:
    """Hex digest of the payloads, one after the other."""
    digest = hashlib.sha256()
    for payload in payloads:
        digest.update(payload)
    return digest.hexdigest()


def read_members(payload: bytes, limits: dict[str, int], what: str) -> dict[str, bytes]:
    """The members of a zip that `limits` names, each of at most so many bytes; others are never looked at.

    Neither the declared size nor what really comes out may pass the limit, so that a header may lie.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            if min((info.header_offset for info in archive.infolist()), default=0) > 0:
                raise UserError(f"{what}: a damaged zip archive; only an archive inside it is whole")
            wanted = [info for info in archive.infolist() if info.filename in limits]
            if len({info.filename for info in wanted}) < len(wanted):
                raise UserError(f"{what}: holds two members of the same name; it was tampered with")
            return {info.filename: _read_member(archive, info, limits[info.filename], what) for info in wanted}
    except UserError:
        raise
    except Exception as error:  # a damaged archive fails in many ways: BadZipFile, zlib.error ...
        raise UserError(f"{what}: not a zip archive, or a damaged one: {one_line(error)}") from None


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int, what: str) -> bytes:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{what}: member {info.filename!r} is compressed in an unusual way; refused")
    too_large = UserError(f"{what}: member {info.filename!r} is over {limit / MIB:g} MiB unpacked; refused")
    if info.file_size > limit:
        raise too_large
    with archive.open(info) as member:
        content = member.read(limit + 1)
    if len(content) > limit:
        raise too_large
    return content


def parse_json(payload: bytes, what: str) -> dict[str, Any]:
    """A JSON object. UserError where it is anything else."""
    value = loads(payload, what, numbers_may_be_none=True)
    if not isinstance(value, dict):
        raise UserError(f"{what}: a JSON object was expected, not a {type(value).__name__}")
    return value


def read_tensors(payload: bytes, what: str) -> dict[str, Tensor]:
    """The state dict in a file of `torch.save`, on the CPU, read by `weights_only`: nothing in it runs.

    UserError: as `read_saved`, or anything but tensors by name.
    """
    state = read_saved(payload, what)
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UserError(f"{what}: a dictionary of named tensors was expected, not a {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise UserError(f"{what}: {name[:80]!r} is not a plain tensor")
    return dict(state)


def read_saved(payload: bytes, what: str) -> Any:
    """What `torch.save` wrote: tensors, in dictionaries, lists and tuples, among plain values; `weights_only`.

    The shapes are looked at first on the "meta" device, which allocates nothing, so that no file can ask for
    more memory than it is long. UserError: not torch's zip format, more than tensors, shapes beyond the data.
    """
    _check_torch_archive(payload, what)
    _check_skeletons(payload, what)
    for name, tensor in _tensors_in(_load_saved(payload, "meta", what)):
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise UserError(f"{what}: {name[:80]!r} is not a plain tensor")
        room = tensor.storage_offset() + tensor.numel()
        if not tensor.is_contiguous() or room * tensor.element_size() > len(payload):
            raise UserError(f"{what}: {name[:80]} declares shape {tuple(tensor.shape)}, more than the file holds")
    return _load_saved(payload, "cpu", what)


def _tensors_in(value: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested dictionaries, lists and tuples, each container looked at once."""
    waiting, seen = [("", value)], set[int]()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{name}.{key}".lstrip("."), item) for key, item in items]


def _check_torch_archive(payload: bytes, what: str) -> None:
    try:
        if not zipfile.is_zipfile(io.BytesIO(payload)):  # which itself fails on some damage
            raise UserError(f"{what}: not weights in torch's zip format (torch >= 1.6); refused, nothing was run")
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            members = archive.infolist()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: damaged: {one_line(error)}") from None
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    if not stored or sum(member.file_size for member in members) > len(payload):
        raise UserError(f"{what}: its members unpack to more than the file holds; refused")


class _Table(dict):
    """What a dictionary's own kinds become."""

    def __init__(self, *_: Any):
        dict.__init__(self)

    def __setstate__(self, state: Any) -> None:
        """Nothing of it is kept."""


class _Skeleton(BoundedUnpickler):
    """Reads what torch will read, to see whether it is within limits: torch's own reader has none."""

    def find_class(self, module: str, name: str, /) -> Any:
        return _Table if module == "collections" else BoundedUnpickler.find_class(self, module, name)

    def persistent_load(self, pid: Any) -> Inert:
        return Inert(pid)


def _check_skeletons(payload: bytes, what: str) -> None:
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        names = [info.filename for info in archive.infolist() if info.filename.endswith("data.pkl")]
    for name in names:
        content = read_members(payload, {name: len(payload)}, what)[name]
        try:  # a bytearray of a given size is the one thing that torch makes and that is as large as one likes
            check_nesting(_Skeleton(io.BytesIO(content), [r"(?!builtins\.bytearray$).*"]).load())
        except UserError as error:
            raise UserError(f"{what}: {one_line(error)}") from None
        except Exception as error:  # a damaged pickle fails in as many ways as it has opcodes
            raise UserError(f"{what}: damaged weights: {one_line(error)}") from None


def _load_saved(payload: bytes, device: str, what: str) -> Any:
    try:
        return torch.load(io.BytesIO(payload), weights_only=True, map_location=device)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        named = f" ({found.group(1)})" if found else ""
        raise UserError(f"{what}: holds more than tensors{named}; refused, nothing was run") from None
    except Exception as error:  # torch raises whatever its reader meets in damaged bytes
        raise UserError(f"{what}: damaged weights: {one_line(error)}") from None


def unpickle_inert(payload: bytes, allowed: Iterable[str], what: str) -> Any:
    """A pickle's skeleton: plain values as they are, every object an `Inert`; nothing is imported or called.

    `allowed` are regular expressions of the full names that may occur. UserError: any other name, or damage.
    """
    try:
        return check_nesting(BoundedUnpickler(io.BytesIO(payload), allowed).load())
    except UserError as error:
        raise UserError(f"{what}: {one_line(error)}") from None
    except Exception as error:  # a damaged pickle fails in as many ways as it has opcodes
        raise UserError(f"{what}: not a pickle that can be read safely: {one_line(error)}") from None


def inert_array(value: Any) -> np.ndarray:
    """The float64 array that an inert numpy pickle describes. ValueError where it describes none."""
    origin = value.origin.rpartition(".")[2] if isinstance(value, Inert) else ""
    match (origin, value):
        case ("_reconstruct", Inert(state=(_, tuple() as shape, dtype, bool() as fortran, bytes() as raw))):
            order = "F" if fortran else "C"
        case (
            "_frombuffer",
            Inert(args=(bytes() | bytearray() as raw, dtype, tuple() as shape, "C" | "F" as order)),
        ):
            pass
        case _:
            raise ValueError("an array of numbers was expected")
    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN, for the caller to refuse
        return np.frombuffer(raw, _inert_dtype(dtype)).reshape(shape, order=order).astype(np.float64)


def _inert_dtype(value: Any) -> np.dtype:
    match value:
        case Inert(args=("f4" | "f8" as code, *_), state=(_, "<" | ">" | "=" as order, *_)):
            return np.dtype(order + code)
    raise ValueError("an array of floating-point numbers was expected")
