"""The index of a store: where agents, runs and datasets lie, by hash. Made from manifests, at any time anew."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.atomic import disk_errors
from reincarnate.files.regular import refuse_links
from reincarnate.files.text import clean, printable
from reincarnate.store.scan import Found, Tell, look, scan

NAME = "index.sqlite"
WAIT = 60.0  # seconds for others that write
VERSION = 1
TABLE = """CREATE TABLE IF NOT EXISTS place
(path TEXT PRIMARY KEY, kind TEXT NOT NULL, sha256 TEXT NOT NULL, task TEXT NOT NULL, words TEXT NOT NULL)"""


COLUMNS = "path, kind, sha256, task, words"


class Index:
    """`with Index(store) as index`: many processes may have one open; each change is whole or not at all.

    An index that is damaged, or of another version, is put aside and begun anew; `tell` is given a line about it.
    """

    def __init__(self, store: Path, tell: Tell = lambda _: None):
        self.path = store / NAME
        with disk_errors(store):
            store.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = self._open()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if isinstance(error, sqlite3.OperationalError):  # nothing says that it is damaged
                raise UserError(f"{self.path} cannot be opened: {error}") from error
            aside = self.path.with_name(f"{NAME}.damaged-{os.getpid()}")
            with suppress(FileNotFoundError):  # another process has done it
                os.replace(self.path, aside)
            tell(f"{self.path} was damaged ({error}): put aside as {aside.name}; name the folders of your runs again")
            self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        refuse_links(self.path.parent, [NAME])
        connection = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
        connection.text_factory = lambda text: text.decode(errors="replace")  # what is no text is no place either
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise sqlite3.DatabaseError(f"version {version}, not {VERSION}")
            _check_schema(connection, begun=version == VERSION)
            (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                raise sqlite3.DatabaseError(sound)
            if version == 0:
                connection.execute(TABLE)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            _check_size(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction that no other process interrupts."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def add(self, found: Iterable[Found]) -> None:
        """Note what lies where; what lay there before is forgotten."""
        rows = [(str(x.path), x.kind, x.sha256, x.task, x.words) for x in found]
        with self._change():
            self._connection.executemany("INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?, ?)", rows)

    def forget(self, paths: Iterable[Path]) -> None:
        """Remove places."""
        with self._change():
            self._connection.executemany("DELETE FROM place WHERE path = ?", [(str(path),) for path in paths])

    def all(self) -> list[Found]:
        """Every place that is known, whether or not something lies there still."""
        rows = self._connection.execute(f"SELECT {COLUMNS} FROM place ORDER BY path")
        texts = (row for row in rows if all(isinstance(part, str) and printable(part) for part in row))
        return [Found(Path(path), *rest) for path, *rest in texts if "\0" not in path]

    def gone(self) -> list[Found]:
        """Places from which a folder was moved or deleted."""
        return [found for found in self.all() if not os.path.exists(found.path)]

    def refresh(self, roots: Iterable[Path], tell: Tell = lambda _: None) -> list[Found]:
        """Read every known place and all `roots` again. Returns what is gone from its place, which is forgotten."""
        gone = self.gone()
        found = {x.path: x for known in self.all() for x in look(known.path)}
        found |= {x.path: x for x in scan(roots, tell)}
        self.forget(x.path for x in gone)
        self.add(found.values())
        return gone

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _check_schema(connection: sqlite3.Connection, begun: bool) -> None:
    """DatabaseError: it holds anything but our table. A stranger's view or trigger would be run, and may not end.

    An index that was not begun may hold nothing yet.
    """
    rows = connection.execute("SELECT name, sql FROM sqlite_master LIMIT 3").fetchall()
    made = {name: " ".join(str(sql).split()) for name, sql in rows if sql is not None}  # without: a table's own index
    ours = {"place": " ".join(TABLE.replace("IF NOT EXISTS ", "").split())}
    if made != ours and (begun or rows):
        raise sqlite3.DatabaseError(
            f"it holds {clean(', '.join(map(str, made)), 80) or 'nothing'}, not our table alone"
        )


def _check_size(connection: sqlite3.Connection) -> None:
    """DatabaseError: more places than anybody has, all of which would be looked at."""
    (count,) = connection.execute("SELECT count(*) FROM (SELECT 1 FROM place LIMIT ?)", (limits.PLACES + 1,)).fetchone()
    if count > limits.PLACES:
        raise sqlite3.DatabaseError(f"it holds over {limits.PLACES:,} places")


def register(store: Path, folder: Path) -> str | None:
    """Note a run, as it begins or is finished. Returns why that failed, if it did: no run fails for its index."""
    try:
        with Index(store) as index:
            index.add(look(folder))
    except (sqlite3.Error, OSError, UserError) as error:
        return f"{store / NAME} does not know of {folder} ({error}); `reincarnate lineage index {folder}` tells it"
    return None
