"""What to do with an archive that was not closed in order, or is damaged.

A damaged file is never repaired in place: it is put aside under another name (the two newest of them
are kept) and whatever can still be read is carried over. The readers' places are left behind on
purpose, so what is still on disk is read again.
"""
from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ledger.errors import LedgerError
from ledger.record import Record

if TYPE_CHECKING:
    from pathlib import Path

OPEN = "open"
"""The note that stands in the archive while a process has it open."""
KEEP = 2
COMPANIONS = ("", "-wal", "-shm")
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_damage(error: BaseException | None) -> bool:
    """Whether the file itself is bad; a lock, a full disk or a missing permission is not the file's fault."""
    while error is not None:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
            return True
        error = error.__cause__
    return False


def is_sound(path: str) -> bool:
    """True for a file that was closed in order, is new, or stands up to a check."""
    if not os.path.exists(path) or os.path.getsize(path) == 0:
        return True
    try:
        with closing(sqlite3.connect(path)) as database:
            if not _left_open(database):
                return True
            return bool(database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError as error:
        return not is_damage(error)


def _left_open(database: sqlite3.Connection) -> bool:
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'agent_notes'").fetchone():
        return False
    return database.execute("SELECT 1 FROM agent_notes WHERE name = ?", (OPEN,)).fetchone() is not None


def set_aside(path: Path, now: int) -> Path:
    """Rename the file and its companions; the third oldest of its kind goes."""
    aside = path.with_name(f"{path.name}.corrupt-{now}")
    for ending in COMPANIONS:
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    for old in _set_aside_before(path)[:-KEEP]:
        for ending in COMPANIONS:
            old.with_name(old.name + ending).unlink(missing_ok=True)
    return aside


def _set_aside_before(path: Path) -> list[Path]:
    prefix = f"{path.name}.corrupt-"
    found = [each for each in path.parent.iterdir() if each.name.startswith(prefix) and each.name[len(prefix) :].isdigit()]
    return sorted(found, key=lambda each: int(each.name[len(prefix) :]))


def salvage(aside: Path, into: sqlite3.Connection) -> list[Record]:
    """The records that can still be read; what people forgot is carried over to *into*."""
    records: list[Record] = []
    try:
        with closing(sqlite3.connect(f"{aside.absolute().as_uri()}?mode=ro", uri=True)) as old:
            into.executemany("INSERT OR REPLACE INTO agent_forgotten VALUES (?, ?, ?)", _readable(old, "kind, id, at", "agent_forgotten", "kind"))
            found = {(kind, id): body for kind, id, body in _readable(old, "kind, id, body", "ledger_rows NOT INDEXED", "rowid")}
            records = [Record(kind, id, body) for (kind, id), body in found.items() if _whole(kind, id, body)]
    except (sqlite3.Error, LedgerError):
        pass
    return records


def _readable(database: sqlite3.Connection, columns: str, table: str, key: str) -> list[tuple[Any, ...]]:
    """Rows from the front up to the damage, and from the back down to it."""
    found: list[tuple[Any, ...]] = []
    for order in ("ASC", "DESC"):
        try:
            for row in database.execute(f"SELECT {columns} FROM {table} ORDER BY {key} {order}"):
                found.append(row)
            return found
        except sqlite3.DatabaseError:
            continue
    return found


def _whole(kind: object, id: object, body: object) -> bool:
    return isinstance(kind, str) and isinstance(id, str) and isinstance(body, str) and body.startswith("{") and body.endswith("}")
