"""NumPy arrays in gzip files, read front to back in pieces: nothing is unpacked that was not asked for."""

import math
import zlib
from pathlib import Path

import numpy as np

from reincarnate.data.readers import npz
from reincarnate.errors import UserError
from reincarnate.files.regular import open_regular
from reincarnate.files.safe import MIB, one_line

PIECE = 1 << 16  # compressed bytes unpacked at once: at most 66 MB come out, for deflate expands no more than 1032-fold
EXPANSION = 1032
SMALL = 512 * MIB  # an array that is read whole
ROW = 16 * MIB
GZIP = 31  # zlib's word for gzip's wrapping, checksum included


class GzipArray:
    """A file of `gzip(np.save(array))`, from which rows are taken in their order. UserError: damage, other contents."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = open_regular(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or one_line(error)}") from None
        self._inflate, self._out = zlib.decompressobj(GZIP), memoryview(b"")
        try:
            self.shape, fortran, self.dtype = npz.header(self.read, str(path))
            if not self.shape:
                self.shape = (1,)
            self.row = self.dtype.itemsize * math.prod(self.shape[1:])  # bytes
            if (fortran and len(self.shape) > 1) or not 0 < self.row <= ROW:
                raise UserError(f"{path}: an array of shape {list(self.shape)} in an order that cannot be streamed")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "GzipArray":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, size: int) -> bytes:
        """So many bytes; fewer where there are no more."""
        parts = []
        while size > 0 and self._more():
            parts.append(bytes(self._out[:size]))
            self._out = self._out[size:]
            size -= len(parts[-1])
        return b"".join(parts)

    def take(self, rows: int) -> np.ndarray:
        """The next `rows` rows. UserError: there are fewer."""
        taken = np.empty((rows, *self.shape[1:]), self.dtype)
        room = taken.reshape(-1).view(np.uint8).data if taken.size else memoryview(bytearray())
        at = 0
        while at < len(room):
            if not self._more():
                raise UserError(f"{self.path} is cut short")
            n = min(len(room) - at, len(self._out))
            room[at : at + n] = self._out[:n]
            self._out, at = self._out[n:], at + n
        return taken

    def finish(self) -> None:
        """UserError: there is more than the array, or the file's checksum is wrong."""
        if self._more():
            raise UserError(f"{self.path} holds more than the array it names")

    def _more(self) -> bool:
        """Whether there is something unpacked, after unpacking another piece if need be."""
        while not self._out:
            if self._inflate.eof:
                rest = (self._inflate.unused_data or self._file.read(PIECE)).lstrip(b"\0")
                if not rest:
                    return False
                self._inflate = zlib.decompressobj(GZIP)  # gzip files may follow one another
            elif not (rest := self._file.read(PIECE)):
                raise UserError(f"{self.path} is cut short")
            try:
                self._out = memoryview(self._inflate.decompress(rest))
            except zlib.error as error:
                raise UserError(f"{self.path}: damaged: {one_line(error)}") from None
        return True


def read_array(path: Path) -> np.ndarray:
    """A small array, whole. UserError: over 512 MiB, or more than the file can hold."""
    with GzipArray(path) as file:
        size = file.row * file.shape[0]
        if size > SMALL or size > EXPANSION * path.stat().st_size:
            raise UserError(
                f"{path} claims to be {file.dtype}{list(file.shape)}, more than it can hold or than is read"
            )
        taken = file.take(file.shape[0])
        file.finish()
        return taken


def read_bytes(path: Path, limit: int) -> bytes:
    """What was compressed, not an array. UserError: over `limit` bytes unpacked, or damaged."""
    out, inflate = bytearray(), zlib.decompressobj(GZIP)
    try:
        with open_regular(path) as file:
            while not inflate.eof and (piece := file.read(PIECE)):
                out += inflate.decompress(piece)
                if len(out) > limit:
                    raise UserError(f"{path} is over {limit // MIB} MiB unpacked; refused")
    except (OSError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from None
    if not inflate.eof:
        raise UserError(f"{path} is cut short")
    return bytes(out)
