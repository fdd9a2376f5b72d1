"""How far each transcript was read, whether it is still the same file, and what it says of its sessions.

A transcript is not append-only: resuming and compacting rewrite it. So a place in it counts only while the bytes at its
start and before the place are still those that were read.
"""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING
from zlib import crc32

from local_agent.fastjson import decode, encode
from local_agent.readers import pathtext
from local_agent.readers.claude.batch import Batch
from local_agent.readers.claude.tables import SESSION

if TYPE_CHECKING:
    import sqlite3

    from local_agent.readers.claude.book import Book
    from local_agent.readers.claude.walk import Walk

LENGTH_BITS = 10
LOOSE_PART = -1
"""Marks what only a line without an end tells of a session: it goes when that line is looked at again."""
COLUMNS = "id, path, own, account, device, inode, size, changed, place, head, tail, slots, loose, gone, title, skipped"
_SAVE = f"INSERT OR REPLACE INTO claude_files({COLUMNS}) VALUES ({', '.join('?' * 16)})"
_PART = (
    "INSERT INTO claude_parts VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT(session, file) DO UPDATE SET cwd = coalesce(cwd, excluded.cwd),"
    " last = CASE WHEN excluded.branch IS NULL THEN last ELSE excluded.last END, branch = coalesce(excluded.branch, branch),"
    " context_at = CASE WHEN excluded.context THEN excluded.context_at ELSE max(context_at, 0) END,"
    " context = CASE WHEN excluded.context THEN excluded.context ELSE context END"
)


def mark_of(text: bytes) -> int:
    """A short piece of a file as a number: what it is, and how long."""
    return crc32(text) << LENGTH_BITS | len(text)


class File:
    """A transcript as far as it was read; *own* is the session that its path names."""

    __slots__ = (
        "account", "changed", "device", "gone", "head", "id", "inode", "loose", "own", "path", "place", "size", "skipped", "slots", "tail", "title",
    )  # fmt: skip

    def __init__(
        self, id: int, path: str, own: str, account: str, device: int = 0, inode: int = 0, size: int = 0, changed: int = 0, place: int = 0,
        head: int = 0, tail: int = 0, slots: int = 0, loose: int = -1, gone: int = 0, title: str | None = None, skipped: dict[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.id, self.path, self.own, self.account = id, path, own, account
        self.device, self.inode, self.size, self.changed = device, inode, size, changed
        self.place, self.head, self.tail, self.slots, self.loose = place, head, tail, slots, loose
        self.gone, self.title, self.skipped = gone, title, skipped or {}


class Files:
    """All files ever read. *known* tells a look at a folder entry what need not be read again."""

    def __init__(self) -> None:
        self.by_path: dict[str, File] = {}
        self.known: dict[str, tuple[int, int]] = {}
        self.skipped: Counter[str] = Counter()
        self.touched: set[int] = set()
        self._dirty: dict[str, File] = {}
        self._names: dict[int, str] = {}
        self._next = 1

    def load(self, sql: sqlite3.Connection) -> None:
        rows = sql.execute(f"SELECT {COLUMNS} FROM claude_files").fetchall()
        files = [File(id, pathtext.path_of(path), *rest) for id, path, *rest in rows]
        self.by_path = {file.path: file for file in files}
        self.known = {file.path: (file.size, file.changed) for file in self.by_path.values() if not file.gone}
        self.skipped = Counter()
        for file in self.by_path.values():
            file.skipped = decode(str(file.skipped)) if file.skipped != "{}" else {}  # type: ignore[comparison-overlap]
            if file.skipped:
                self.skipped.update(file.skipped)
        self._next = max((row[0] for row in rows), default=0) + 1
        self._names.clear()
        self.begin()

    def begin(self) -> None:
        self.touched = set()
        self._dirty = {}
        self._parts: list[tuple[object, ...]] = []
        self.loosened: list[int] = []

    def new(self, path: str, own: str, account: str) -> File:
        file = self.by_path[path] = File(self._next, path, own, account)
        self._next += 1
        return file

    # -- is it the same file

    def same(self, handle: int, file: File, status: os.stat_result) -> bool:
        """Whether what was read of *file* still stands there."""
        if file.place == 0:
            return True
        if (status.st_dev, status.st_ino) != (file.device, file.inode) or status.st_size < file.place:
            return False
        head, tail = (mark & (1 << LENGTH_BITS) - 1 for mark in (file.head, file.tail))
        return mark_of(os.pread(handle, head, 0)) == file.head and mark_of(os.pread(handle, tail, file.place - tail)) == file.tail

    def forget_place(self, file: File) -> None:
        """Read it from its start: what it said of lines that were skipped no longer counts."""
        self.skipped.subtract(file.skipped)
        file.place = file.head = file.tail = 0
        file.title, file.skipped = None, {}

    def moved(self, file: File, path: str, own: str, account: str) -> None:
        """The same file under another name."""
        del self.by_path[file.path]
        self.known.pop(file.path, None)
        file.path, file.own, file.account = path, own, account
        self.by_path[path] = file

    # -- what a reading adds

    def keep(self, sql: sqlite3.Connection, book: Book, file: File, batch: Batch) -> None:
        if batch.skipped:
            self.skipped.update(batch.skipped)
            file.skipped = dict(Counter(file.skipped) + Counter(batch.skipped))
        if batch.title and batch.title != file.title:
            file.title = batch.title
            if file.own in book.sessions:
                self.touched.add(book.sessions[file.own])
        if file.gone:
            file.gone = 0
            self.touched |= {session for (session,) in sql.execute("SELECT session FROM claude_parts WHERE file = ?", (file.id,))}
        for name, part in batch.parts.items():
            session = book.session_id(name or file.own)
            self._parts.append((session, file.id, *part))
            self.touched.add(session)
        self._loose_part(book, file, batch)
        self._dirty[file.path] = file
        self.known[file.path] = (file.size, file.changed)

    def _loose_part(self, book: Book, file: File, batch: Batch) -> None:
        """A line without an end counts, but says nothing of its session that the line with its end would not say again."""
        if batch.loose is not None:
            self._parts.append((batch.loose[SESSION], file.id, None, None, 0, LOOSE_PART, 0))

    def flush(self, sql: sqlite3.Connection) -> None:
        if self.loosened:
            sql.executemany(f"DELETE FROM claude_parts WHERE file = ? AND context_at = {LOOSE_PART}", [(id,) for id in self.loosened])
        sql.executemany(_PART, self._parts)
        sql.executemany(_SAVE, [_row(file) for file in self._dirty.values()])

    def missing(self, paths: Iterable[str], walk: Walk) -> list[str]:
        """Known files that a full walk did not meet, though it could look where they were."""
        gone = self.by_path.keys() - set(paths)
        return [path for path in sorted(gone) if walk.would_have_seen(path)]

    def lose(self, sql: sqlite3.Connection, paths: Iterable[str]) -> set[int]:
        """These files are gone. The sessions that were in them."""
        touched = set()
        for path in paths:
            file = self.by_path[path]
            file.gone, file.size, file.changed = 1, -1, 0
            self.known.pop(path, None)
            sql.execute(_SAVE, _row(file))
            touched |= {session for (session,) in sql.execute("SELECT session FROM claude_parts WHERE file = ?", (file.id,))}
        return touched

    def session_name(self, book: Book, session: int) -> str:
        if len(self._names) < len(book.sessions):
            self._names = {id: name for name, id in book.sessions.items()}
        return self._names[session]


def place_of(file: File, batch: Batch) -> None:
    """The file is read up to the end of the batch."""
    if batch.start == 0 and batch.end:
        file.head = mark_of(batch.head)
    if batch.end > batch.start:
        file.tail = mark_of(batch.tail)
    file.place = batch.end


def _row(file: File) -> tuple[object, ...]:
    return (
        file.id, pathtext.kept(file.path), file.own, file.account, file.device, file.inode, file.size, file.changed, file.place, file.head, file.tail,
        file.slots, file.loose, file.gone, file.title, encode(file.skipped).decode() if file.skipped else "{}",
    )  # fmt: skip
