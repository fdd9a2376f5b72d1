"""What is known of each tracker, kept in the archive: its rows as they were last read, and which tracker they belong to.

A path is not a tracker: another database may come to lie there. A tracker is recognised by the rows it shares
with what is known (the same id and the same start); only then does a row that is missing mean that it was deleted.
"""
from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from local_agent.readers.tracker_file import Scan

SCHEMA = """
CREATE TABLE IF NOT EXISTS tracker_files(tracker TEXT PRIMARY KEY, path TEXT NOT NULL, nth INTEGER NOT NULL, pages INTEGER NOT NULL, parted INTEGER NOT NULL DEFAULT 0,
  skipped TEXT NOT NULL DEFAULT '{}') WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tracker_rows(tracker TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, start INTEGER NOT NULL,
  shown_until INTEGER, facts TEXT NOT NULL, PRIMARY KEY(tracker, kind, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tracker_shown ON tracker_rows(shown_until) WHERE shown_until IS NOT NULL;
"""

SESSION, BLOCK = "session", "block"


@dataclass(frozen=True, slots=True)
class Known:
    """One row as it was last read and shown. *id* is the row's own; *shown_until* is when it stops to be shown as active, if it is."""

    kind: str
    id: str
    start: int
    shown_until: int | None
    facts: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which tracker a scan is of, and whether what it lacks was deleted.

    *parted*: what lies there now is an empty database in the tracker's place; what is known of the tracker stays, and what
    comes next belongs to another one unless it shares rows.
    """

    tracker: str
    nth: int
    complete: bool
    parted: bool = False


def prepare(database: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):
        database.execute(statement)


def identity(source: str, path: str, nth: int = 0) -> str:
    """Eight digits that name the *nth* tracker seen at a path; the path itself is not to be read from them."""
    return sha256(f"{source}\0{path}\0{nth}".encode()).hexdigest()[:8]


def recognise(database: sqlite3.Connection, source: str, path: str, scan: Scan, rows: Iterable[tuple[str, int]]) -> Verdict:
    """Decide of which tracker *scan* is; *rows* are the (id, start) of its sessions."""
    trackers = database.execute("SELECT tracker, nth, pages, parted FROM tracker_files WHERE path = ? ORDER BY nth DESC", (path,)).fetchall()
    if not trackers:
        return Verdict(identity(source, path), 0, complete=False)
    newest, nth, pages, parted = trackers[0]
    unbroken, found = scan.unbroken and not parted, set(rows)
    if not _any_session(database, newest):
        return Verdict(newest, nth, complete=True)
    if not found:
        # An emptied table keeps its pages; an empty database put in its place has few, and deletes nothing.
        emptied = unbroken and scan.evidence.pages >= pages
        return Verdict(newest, nth, complete=emptied, parted=not emptied)
    shared = {row[0]: _shared(database, row[0], found) for row in trackers}
    best = max(trackers, key=lambda row: shared[row[0]])
    if shared[best[0]]:
        return Verdict(best[0], best[1], complete=True)
    if unbroken:
        return Verdict(newest, nth, complete=True)
    return Verdict(identity(source, path, nth + 1), nth + 1, complete=False)


def _shared(database: sqlite3.Connection, tracker: str, found: set[tuple[str, int]]) -> int:
    known = database.execute("SELECT id, start FROM tracker_rows WHERE tracker = ? AND kind = ?", (tracker, SESSION))
    return len(found.intersection(known))


def _any_session(database: sqlite3.Connection, tracker: str) -> bool:
    return bool(database.execute("SELECT 1 FROM tracker_rows WHERE tracker = ? AND kind = ? LIMIT 1", (tracker, SESSION)).fetchone())


def rows_of(database: sqlite3.Connection, tracker: str) -> dict[tuple[str, str], Known]:
    found = database.execute("SELECT kind, id, start, shown_until, facts FROM tracker_rows WHERE tracker = ?", (tracker,))
    return {(row[0], row[1]): Known(*row) for row in found}


def keep(database: sqlite3.Connection, tracker: str, row: Known) -> None:
    database.execute(
        "INSERT OR REPLACE INTO tracker_rows(tracker, kind, id, start, shown_until, facts) VALUES (?, ?, ?, ?, ?, ?)",
        (tracker, row.kind, row.id, row.start, row.shown_until, row.facts),
    )


def drop(database: sqlite3.Connection, tracker: str, row: Known) -> None:
    database.execute("DELETE FROM tracker_rows WHERE tracker = ? AND kind = ? AND id = ?", (tracker, row.kind, row.id))


def keep_file(database: sqlite3.Connection, verdict: Verdict, path: str, pages: int, skipped: Mapping[str, int]) -> None:
    database.execute(
        "INSERT OR REPLACE INTO tracker_files(tracker, path, nth, pages, parted, skipped) VALUES (?, ?, ?, ?, ?, ?)",
        (verdict.tracker, path, verdict.nth, pages, verdict.parted, json.dumps(skipped)),
    )


def gone_stale(database: sqlite3.Connection, path: str, now: int) -> list[tuple[str, Known]]:
    """The rows at *path* that are shown as active though their day since the last sign of life is over."""
    found = database.execute(
        "SELECT tracker, kind, id, start, shown_until, facts FROM tracker_rows JOIN tracker_files USING (tracker)"
        " WHERE shown_until <= ? AND path = ?",
        (now, path),
    )
    return [(row[0], Known(*row[1:])) for row in found.fetchall()]


def counted(database: sqlite3.Connection, path: str) -> dict[str, int]:
    """How many sessions and blocks are known of the trackers at *path*; empty if it never held one."""
    if not database.execute("SELECT 1 FROM tracker_files WHERE path = ?", (path,)).fetchone():
        return {}
    found = dict(database.execute(
        "SELECT kind, count(*) FROM tracker_rows JOIN tracker_files USING (tracker) WHERE path = ? GROUP BY kind", (path,)
    ))
    return {"sessions": found.get(SESSION, 0), "blocks": found.get(BLOCK, 0)}


def skipped(database: sqlite3.Connection, path: str) -> dict[str, int]:
    """What the last complete scan at *path* left out, by reason."""
    row = database.execute("SELECT skipped FROM tracker_files WHERE path = ? ORDER BY nth DESC LIMIT 1", (path,)).fetchone()
    found: dict[str, int] = json.loads(row[0]) if row else {}
    return found
