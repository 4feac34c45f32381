"""HDF5 files of strangers: columns of numbers stored in the file itself, and nothing larger than it can hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.data.readers.flat import listed
from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.regular import open_regular
from reincarnate.files.safe import one_line

MAGIC = b"\x89HDF\r\n\x1a\n"
EXPANSION = 1100  # deflate's limit is 1032; a column that claims more of its stored bytes is a trap
COLUMN_LIMIT = 1 << 32  # bytes of a column that is read whole


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do."""
    try:
        with open_regular(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError, UserError):
        return False


def root_names(path: Path) -> frozenset[str] | None:
    """The names at the top of an HDF5 file; None where h5py is missing. Empty for any other file."""
    if not is_hdf5(path):
        return frozenset()
    try:
        import h5py
    except ImportError:
        return None
    try:
        with h5py.File(path, "r") as file:
            return frozenset(file)
    except Exception:  # damaged: whoever reads it says so
        return frozenset()


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An HDF5 file. UserError: h5py is missing, or whatever goes wrong with the file while it is open."""
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path} needs h5py: pip install 'reincarnate[hdf5]'") from None
    if not is_hdf5(path):
        raise UserError(f"{path}: not an HDF5 file, or a damaged one")
    try:
        with h5py.File(path, "r") as file:
            _check_links(file, path)
            yield file
    except UserError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{path}: not an HDF5 file, or a damaged one: {one_line(error)}") from None


def _check_links(file: Any, path: Path) -> None:
    """UserError: a name in the file stands for something elsewhere, or there are too many names."""
    import h5py

    count = 0

    def look(name: bytes, link: Any) -> str | None:
        nonlocal count
        count += 1
        if link.type != h5py.h5l.TYPE_HARD:  # pyright: ignore[reportAttributeAccessIssue]
            return f"{name.decode(errors='replace')[:80]} is a link to another place or file"
        return f"it has over {limits.LINKS:,} names" if count > limits.LINKS else None

    wrong = file.id.links.visit(look, info=True)
    if wrong is not None:
        raise UserError(f"{path}: {wrong}; refused")


def column(group: Any, name: str, what: str) -> Any:
    """A dataset of numbers, not yet read. UserError: missing, or not stored in this very file, or too large for it."""
    import h5py

    what = f"{what}: {name}"
    link = group.get(name, getlink=True)
    if link is None:
        raise UserError(f"{what} is missing")
    if isinstance(link, h5py.ExternalLink):
        raise UserError(f"{what} is a link to another file; refused")
    found = group[name]
    if not isinstance(found, h5py.Dataset):
        raise UserError(f"{what} is a group of {listed(found)}; plain arrays are needed")
    if found.is_virtual or found.external:
        raise UserError(f"{what} is kept in another file; refused")
    if found.shape is None or found.dtype.kind not in "fiub":
        raise UserError(f"{what} holds {found.dtype}, not numbers")
    if found.nbytes > EXPANSION * found.id.get_storage_size():
        raise UserError(f"{what} claims to be {list(found.shape)}, more than the file holds")
    return found


def whole(group: Any, name: str, what: str, rows: int | None = None) -> np.ndarray:
    """A column of at most 4 GiB, read. UserError: as `column`, or not of so many rows."""
    found = column(group, name, what)
    if found.ndim == 0 or found.nbytes > COLUMN_LIMIT:
        raise UserError(
            f"{what}: {name} is {list(found.shape)}; a column of at most {COLUMN_LIMIT >> 30} GiB is needed"
        )
    if rows is not None and len(found) != rows:
        raise UserError(f"{what}: {name} has {len(found)} rows, others {rows}")
    return found[()]


def scalar(group: Any, name: str, what: str) -> int:
    """A single whole number or boolean. UserError: as `column`, or anything else."""
    found = column(group, name, what)
    if found.shape != () or found.dtype.kind not in "iub":
        raise UserError(f"{what}: {name} is {found.dtype}{list(found.shape)}, not a whole number")
    return int(found[()])


def rows_of(found: Any) -> Any:
    """A reader of a column's rows, from and to."""
    return lambda low, high: found[low:high]
