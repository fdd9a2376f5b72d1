"""One tracker database on disk, looked at without ever disturbing its writer.

Opened read-only, read in one short transaction, and only when something was committed since. The file
may be locked, replaced, truncated or no database: then looking raises Unreadable, and says why.
"""
from __future__ import annotations

import os
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from local_agent.readers.tracker_dialects import Contents, Unreadable, read

PATIENCE_S = 0.25
"""How long to wait for a writer's lock before calling the tracker unreadable for now."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the disk says about which database this is."""

    device: int
    inode: int
    pages: int

    @property
    def file(self) -> tuple[int, int]:
        return self.device, self.inode


@dataclass(frozen=True, slots=True)
class Scan:
    """One complete scan. *unbroken*: the connection of the scan before it was still open, on the same file."""

    contents: Contents
    evidence: Evidence
    unbroken: bool


class TrackerFile:
    """The file and the connection that is kept open to it: an open file's number is never given to another one."""

    def __init__(self, path: Path, *, patience_s: float = PATIENCE_S) -> None:
        self.path = path
        self._patience_s = patience_s
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] = (0, 0)
        self._signal: object = None
        self._seen: object = None

    def look(self) -> Scan | None:
        """Everything in the database, or None if nothing was committed since the scan that was taken over. Raises Unreadable."""
        found = self._found()
        try:
            return self._scan(found)
        except (sqlite3.Error, OSError) as error:
            if not is_locked(error):
                self.close()
            raise Unreadable(reason(error)) from None

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database, self._seen = None, None

    def seen(self) -> None:
        """The last scan was taken over; until then the same look finds it again."""
        self._seen = self._signal

    def _found(self) -> os.stat_result:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            self.close()
            raise Unreadable("the file is not there") from None
        except OSError as error:
            self.close()
            raise Unreadable(reason(error)) from None
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise Unreadable("not a file")
        return found

    def _scan(self, found: os.stat_result) -> Scan | None:
        if self._file != (found.st_dev, found.st_ino):
            self.close()
        unbroken = self._database is not None
        database = self._database = self._database or self._open()
        self._file = (found.st_dev, found.st_ino)
        # The version is taken before the scan: a commit in between costs one scan more, and none is missed.
        # Size and time catch a file that was written over without SQLite's knowledge.
        signal = (database.execute("PRAGMA data_version").fetchone(), found.st_size, found.st_mtime_ns)
        if signal == self._seen:
            return None
        contents = read(database)
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        self._signal = signal
        return Scan(contents, Evidence(*self._file, pages), unbroken)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            f"file:{quote(os.fsencode(self.path.absolute()))}?mode=ro", uri=True, timeout=self._patience_s, isolation_level=None, check_same_thread=False
        )
        database.text_factory = lambda text: text.decode("utf-8", "replace")
        for pragma in ("query_only=1", "trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
            database.execute(f"PRAGMA {pragma}")
        return database


def is_locked(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def reason(error: Exception) -> str:
    """One line for people."""
    if is_locked(error):
        return "locked by its writer; it will be tried again"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_NOTADB:
        return "not a database"
    return str(error).strip().partition("\n")[0] or error.__class__.__name__
