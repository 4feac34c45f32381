"""NPZ archives of strangers: arrays of numbers, never objects, and never more than the archive really holds."""

import io
import math
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.regular import open_regular
from reincarnate.files.safe import MIB, one_line

LIMIT = 4096 * MIB  # of all arrays together, unpacked
HEADER_LIMIT = 1 << 14  # bytes of an npy header


def names(path: Path) -> frozenset[str]:
    """The arrays in an archive, by name; none where it is not one."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return frozenset(name[:-4] for name in archive.namelist() if name.endswith(".npy"))
    except Exception:  # no zip, or a damaged one: not for us to say here
        return frozenset()


def arrays(path: Path, needed: Iterable[str], perhaps: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of these names. UserError: a needed one is missing, damage, objects, or over 4 GiB in all."""
    wanted = {f"{name}.npy": name for name in (*needed, *perhaps)}
    found: dict[str, np.ndarray] = {}
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            room = LIMIT
            for info in archive.infolist():
                if name := wanted.get(info.filename):
                    found[name] = _array(archive, info, room, f"{path}: {name}")
                    room -= found[name].nbytes
    except UserError:
        raise
    except Exception as error:  # a damaged archive fails in many ways: BadZipFile, zlib.error ...
        raise UserError(f"{path}: neither HDF5 nor an NPZ archive, or a damaged one: {one_line(error)}") from None
    if missing := [name for name in needed if name not in found]:
        raise UserError(f"{path}: no array {missing[0]!r}")
    return found


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, room: int, what: str) -> np.ndarray:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{what} is compressed in an unusual way; refused")
    with archive.open(info) as member:
        shape, fortran, dtype = header(member.read, what)
        size = dtype.itemsize * math.prod(shape)
        if size > room:
            raise UserError(f"{what} claims {size / MIB:,.0f} MiB; archives over {LIMIT // MIB} MiB are refused")
        raw = member.read(size + 1)  # reads on only as long as there is something
    if len(raw) != size:
        raise UserError(f"{what} claims to be {dtype}{list(shape)}, which is not what the archive holds")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def header(take: Callable[[int], bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and dtype of the npy file that `take` reads. UserError: not one of numbers."""
    start = take(10)
    more = b"" if start[6:7] == b"\x01" else take(2)
    length = int.from_bytes((start + more)[8:], "little")
    if start[:6] != b"\x93NUMPY" or start[6:7] not in (b"\x01", b"\x02", b"\x03") or length > HEADER_LIMIT:
        raise UserError(f"{what} is not in NumPy's format")
    content = io.BytesIO(start[8:] + more + take(length))
    read = np.lib.format.read_array_header_1_0 if not more else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(content, max_header_size=HEADER_LIMIT)
    except Exception as error:  # the header is parsed as Python's literals, which fail in many ways
        raise UserError(f"{what}: its NumPy header cannot be read: {one_line(error)}") from None
    if dtype.kind not in "fiub" or any(type(size) is not int or size < 0 for size in shape):  # True is an int
        raise UserError(f"{what} holds {dtype}{list(shape)}, not numbers")
    return shape, fortran, dtype
