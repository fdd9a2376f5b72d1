"""One SQLite file as a ledger needs it: opened with care, one connection for each thread, errors in plain words.

A file that is deleted or put back to another copy while we run is noticed before the next statement, and
opened anew: what is written into a deleted file is lost with the last process that holds it open.
"""
from __future__ import annotations

import os
import sqlite3
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ledger.errors import Busy, Full, LedgerError, Unusable
from ledger.stores.sqlite_refuge import Refuge, fits

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = 0x53524C31  # "SRL1"
VERSION = 1

SCHEMA = """
CREATE TABLE ledger_heads(
  tenant TEXT NOT NULL, source TEXT NOT NULL, lease TEXT, seq INTEGER NOT NULL, digest TEXT NOT NULL, committed INTEGER NOT NULL,
  pending_lease TEXT, last_timestamp INTEGER NOT NULL, last_seen INTEGER NOT NULL, beat_s INTEGER NOT NULL, agent TEXT NOT NULL,
  purged_seq INTEGER NOT NULL, PRIMARY KEY(tenant, source)) WITHOUT ROWID;
CREATE TABLE ledger_rows(
  rowid INTEGER PRIMARY KEY, tenant TEXT NOT NULL, source TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
  hash BLOB NOT NULL, lease TEXT NOT NULL, seq INTEGER NOT NULL, code TEXT, UNIQUE(tenant, source, kind, id));
CREATE INDEX ledger_rows_by_seq ON ledger_rows(tenant, source, lease, seq);
CREATE TABLE ledger_tombstones(
  rowid INTEGER PRIMARY KEY, tenant TEXT NOT NULL, source TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
  lease TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, UNIQUE(tenant, source, kind, id));
CREATE INDEX ledger_tombstones_by_seq ON ledger_tombstones(tenant, source, lease, seq);
CREATE TABLE ledger_shelf(
  drawer TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, version INTEGER NOT NULL, expires INTEGER,
  PRIMARY KEY(drawer, name)) WITHOUT ROWID;
"""
"""hash is the 32 bytes, big end first. Of one ref there is one row, whatever its lease."""

# A relay settles its file before the log has so many pages, so that who pushes seldom has to.
_PRAGMAS = ("busy_timeout = 5000", "wal_autocheckpoint = 4000", "journal_size_limit = 4194304", "trusted_schema = OFF",
            "cell_size_check = ON", "mmap_size = 0")  # fmt: skip
# Without these a Mac's disk keeps what was "written" in its own cache.
_MAC_PRAGMAS = ("fullfsync = 1", "checkpoint_fullfsync = 1")


class _Connection(sqlite3.Connection):
    """Only a subclass can be referred to weakly."""


class File:
    def __init__(self, path: str | Path, synchronous: str) -> None:
        if synchronous not in ("OFF", "NORMAL", "FULL", "EXTRA"):
            raise ValueError(f"no such synchronous: {synchronous}")
        self.path, self._synchronous = os.fspath(path), synchronous
        self._mine = threading.local()
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._writer: _Connection | None = None
        self._lock = threading.Lock()
        self._identity: tuple[int, int] | None = None
        self._generation = 0
        self._closed = False
        self._refuge: Refuge | None = None

    def prepare(self) -> None:
        """Make or check the file. Raises Unusable for one that is no ledger."""
        with plain_errors(self):
            self._begin()

    def connection(self) -> sqlite3.Connection:
        """This thread's connection to the file that now has the name."""
        self._notice_another_file()
        mine: tuple[int, _Connection] | None = getattr(self._mine, "connection", None)
        if mine is None or mine[0] != self._generation:
            mine = self._mine.connection = (self._generation, self._connect())
        return mine[1]

    def in_transaction(self) -> bool:
        """Whether this thread is within a transaction of its own."""
        mine: tuple[int, _Connection] | None = getattr(self._mine, "connection", None)
        return mine is not None and mine[0] == self._generation and mine[1].in_transaction

    def writer(self) -> sqlite3.Connection:
        """The connection for shared transactions; only the holder of the pen may use it. It alone writes in the
        usual case, so its cache stays warm."""
        self._notice_another_file()
        if self._writer is None:
            self._writer = self._connect()
        return self._writer

    @contextmanager
    def synchronous_for(self, sql: sqlite3.Connection, synchronous: str | None) -> Iterator[None]:
        if synchronous in (None, self._synchronous):
            yield
            return
        sql.execute(f"PRAGMA synchronous = {synchronous}")
        try:
            yield
        finally:
            sql.execute(f"PRAGMA synchronous = {self._synchronous}")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._close_all()
            if self._refuge is not None:
                self._refuge.close()

    def reopen(self) -> None:
        """Let go of all connections: after a failed write to the disk none of them may be trusted."""
        with self._lock:
            self._close_all()

    # -- when the disk is full

    @property
    def in_memory(self) -> bool:
        return self._refuge is not None

    def take_refuge(self) -> bool:
        """Go on in memory with all that is here; False where that cannot be. Nobody may be writing meanwhile."""
        with self._lock:
            if self._closed or self._refuge is not None or not fits(self.path):
                return False
            self._identity = _identity(self.path)
            try:
                self._refuge = Refuge(self.path)
            except sqlite3.Error:
                return False
            self._close_all()
            return True

    def come_home(self) -> None:
        """Write everything back and go on in the file; one that was put in its place meanwhile counts instead.
        Raises sqlite3.Error if there still is no room; then nothing changed. Nobody may be writing meanwhile."""
        with self._lock:
            if self._refuge is None:
                return
            if _identity(self.path) in (None, self._identity):
                self._refuge.copy_back(self.path)
            self._close_all()
            self._refuge.close()
            self._refuge = None
        self._begin()

    def _close_all(self) -> None:
        self._generation += 1
        self._writer = None
        for connection in list(self._open):
            connection.close()

    def _notice_another_file(self) -> None:
        if self._closed:
            raise Unusable("the store is closed")
        if self._refuge is not None or _identity(self.path) == self._identity:
            return
        with self._lock:
            if _identity(self.path) != self._identity:
                self._close_all()
                self._begin()

    def _begin(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        except OSError as error:
            raise Unusable(f"{self.path}: {(error.strerror or 'unusable').lower()}: name another place for the store") from error
        with suppress(OSError):  # what keeps a file from being made is met, and told, when it is opened
            # Other users of this computer read nothing here; its journals get the same mode from SQLite.
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self._connect().close()
        self._identity = _identity(self.path)

    def _connect(self) -> _Connection:
        place = self._refuge.uri if self._refuge else self.path
        connection = sqlite3.connect(place, timeout=5, isolation_level=None, check_same_thread=False, factory=_Connection, uri=self._refuge is not None)
        try:
            for pragma in (*_PRAGMAS, f"synchronous = {self._synchronous}", *(_MAC_PRAGMAS if sys.platform == "darwin" else ())):
                connection.execute(f"PRAGMA {pragma}")
            _make_or_check(connection, self.path)
            if self._refuge is None and connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            connection.close()
            raise
        self._open.add(connection)
        return connection


def _make_or_check(sql: sqlite3.Connection, path: str) -> None:
    if _is_ledger(sql, path):
        return
    sql.execute("BEGIN IMMEDIATE")
    try:
        if not _is_ledger(sql, path):
            for statement in SCHEMA.split(";"):
                sql.execute(statement)
            sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            sql.execute(f"PRAGMA user_version = {VERSION}")
        sql.execute("COMMIT")
    except BaseException:
        if sql.in_transaction:
            sql.execute("ROLLBACK")
        raise


def _is_ledger(sql: sqlite3.Connection, path: str) -> bool:
    """False for an empty database, which may become a ledger; raises Unusable for what must not be touched."""
    whose = sql.execute("PRAGMA application_id").fetchone()[0]
    version = sql.execute("PRAGMA user_version").fetchone()[0]
    if whose == APPLICATION_ID and version > VERSION:
        raise Unusable(f"{path} was written by a newer version (schema {version}, this one knows {VERSION}): upgrade")
    if whose == APPLICATION_ID:
        return True
    if whose or version or sql.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise Unusable(f"{path} is the database of something else: name another file")
    return False


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def plain_errors(file: File) -> Iterator[None]:
    """SQLite's errors as ours; a statement that is wrong in itself stays what it is."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        if "closed database" not in str(error):
            raise
        raise Busy(f"{file.path} was just opened anew: the same again") from error
    except sqlite3.Error as error:
        raise _meaning(error, file) from error


def _meaning(error: sqlite3.Error, file: File) -> LedgerError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT):
        return Busy(f"{file.path} is locked by another program: end it, or wait until it has done its work")
    if code == sqlite3.SQLITE_FULL or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE:
        return Full(f"no room on the disk of {file.path}: free some")
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL):
        # A failed fsync may have lost pages that SQLite believes written, so nothing it remembers counts.
        file.reopen()
        return Busy(f"the disk of {file.path} fails ({error}): look at it", retry_after=5)
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        file.reopen()  # once somebody has put a sound file in its place, it is seen without a restart
        return Unusable(f"{file.path} is damaged or not a database ({error}): move it away, agents refill a new one")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return Unusable(f"{file.path} cannot be opened for writing ({error}): check its folder and its owner")
    return Unusable(f"{file.path}: {error}")
