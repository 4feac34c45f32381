"""A column being written: an npy file that grows block by block."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.files.atomic import sha256_file

HEADER = 128  # bytes, as NumPy's own: a shape of any number of rows fits
MAGIC = b"\x93NUMPY\x01\x00"


class ColumnFile:
    """An npy file (version 1.0) written front to back; with `rows` known beforehand it is hashed on the way."""

    def __init__(self, path: Path, like: np.ndarray, rows: int | None = None):
        self.path, self.dtype, self.row = path, like.dtype, like.shape[1:]
        self.rows, self._promised = 0, rows
        self._file = open(path, "wb")  # noqa: SIM115  it outlives this call
        header = self._header(rows or 0)
        self._file.write(header)
        self._hash = hashlib.sha256(header)

    def __enter__(self) -> "ColumnFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: np.ndarray) -> None:
        """Write rows [n, …] at the end. ValueError: they are of another dtype or shape."""
        if rows.dtype != self.dtype or rows.shape[1:] != self.row:
            raise ValueError(f"{self.path.name}: {rows.dtype}{list(rows.shape)} after {self.dtype}[…, {self.row}]")
        if rows.size:
            raw = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
            self._file.write(raw)
            if self._promised is not None:
                self._hash.update(raw)
        self.rows += len(rows)

    def finish(self) -> dict[str, Any]:
        """Complete the file. Returns dtype, shape and the file's sha256. ValueError: other rows than promised."""
        if self._promised is not None and self._promised != self.rows:
            raise ValueError(f"{self.path.name}: {self.rows} rows, {self._promised} were promised")
        self._file.seek(0)
        self._file.write(self._header(self.rows))
        self._file.flush()
        digest = sha256_file(self.path) if self._promised is None else self._hash.hexdigest()
        return {"dtype": self.dtype.str, "shape": [self.rows, *self.row], "sha256": digest}

    def _header(self, rows: int) -> bytes:
        fields = f"{{'descr': {self.dtype.str!r}, 'fortran_order': False, 'shape': {(rows, *self.row)!r}, }}".encode()
        return (MAGIC + (HEADER - len(MAGIC) - 2).to_bytes(2, "little") + fields).ljust(HEADER - 1) + b"\n"
