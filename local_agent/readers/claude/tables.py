"""The reader's own tables in the archive, beside the records they add up to.

Every line that may count is kept as twelve numbers in chunks of its file, losers too, because which line wins may
change when another file is read. Chunks rather than rows: a row costs SQLite more than reading the line did.
"""
from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

SCHEMA = """
CREATE TABLE IF NOT EXISTS claude_files(id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, own TEXT NOT NULL, account TEXT NOT NULL,
  device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, changed INTEGER NOT NULL, place INTEGER NOT NULL,
  head INTEGER NOT NULL, tail INTEGER NOT NULL, slots INTEGER NOT NULL, loose INTEGER NOT NULL, gone INTEGER NOT NULL, title TEXT, skipped TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS claude_folders(path TEXT PRIMARY KEY, changed INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claude_sessions(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS claude_parts(session INTEGER NOT NULL, file INTEGER NOT NULL, cwd TEXT, branch TEXT, last INTEGER NOT NULL,
  context_at INTEGER NOT NULL, context INTEGER NOT NULL, PRIMARY KEY(session, file)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claude_classes(id INTEGER PRIMARY KEY, model TEXT NOT NULL, price_class TEXT NOT NULL, reported INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS claude_chunks(id INTEGER PRIMARY KEY, lines BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS claude_keys(id INTEGER PRIMARY KEY, keys BLOB NOT NULL, places BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS claude_rivals(id INTEGER PRIMARY KEY, keys BLOB NOT NULL, places BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS claude_days(day INTEGER NOT NULL, class INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
  write_5m INTEGER NOT NULL, write_1h INTEGER NOT NULL, read INTEGER NOT NULL, requests INTEGER NOT NULL, cost INTEGER NOT NULL,
  PRIMARY KEY(day, class)) WITHOUT ROWID
"""
"""claude_chunks: id is the file's id times 2^20 plus the chunk's number. Costs are whole pico-dollars; days are UTC days."""

WIDTH = 12
KEY, MARKS, OFFSET, AT, SESSION, CLASS, INPUT, OUTPUT, WRITE_5M, WRITE_1H, READ, COST = range(WIDTH)
PER_CHUNK = 42
"""So many lines fill a page of the file."""
CHUNK_BITS, SLOT_BITS = 20, 26
"""A line's place is its file's id times 2^26 plus its number in the file."""

KIND_MASK, SPEED, NAMELESS, LOOSE = 3, 4, 8, 16
REQUEST_SHIFT = 5
DEAD = 3
"""Instead of a kind: a place where nothing stands any more."""
QUARTER_MS = 900_000
DAY_MS = 86_400_000
PICO = 10**12
SYNTHETIC, UNKNOWN = "<synthetic>", "unknown"
"""Models of lines that the tool wrote itself, and of lines that name none."""

Words = tuple[int, ...]
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
LONGEST_NAME = 200


def plain(name: str) -> str:
    """A name as far as every ledger takes it: a record with a NUL in it is refused whole."""
    return _UNPRINTABLE.sub("", name)[:LONGEST_NAME]


def model_of(name: str) -> str:
    """A model's name; one that is called by the path of its file is called by the last part of it, for paths do not leave."""
    if "/" in name or "\\" in name:
        from ledger.untidy import pathless

        name = pathless(name)
    return plain(name)


def prepare(sql: sqlite3.Connection) -> bool:
    """Make the tables; False if they were there."""
    there = {name for (name,) in sql.execute("SELECT name FROM sqlite_master WHERE name IN ('claude_days', 'claude_rivals')")}
    if len(there) < 2:
        for statement in SCHEMA.split(";"):
            sql.execute(statement)
        if there:
            from local_agent.readers.claude import keys

            keys.fill(sql)
    return not there


def lines_of(sql: sqlite3.Connection, file: int) -> Iterator[tuple[int, Words]]:
    """Every line of a file with its place in it, dead ones too."""
    first = file << CHUNK_BITS
    for id, blob in sql.execute("SELECT id, lines FROM claude_chunks WHERE id BETWEEN ? AND ?", (first, first + (1 << CHUNK_BITS) - 1)).fetchall():
        each = iter(array("q", blob))
        yield from enumerate(zip(*[each] * WIDTH, strict=True), (id - first) * PER_CHUNK)  # the same iterator twelve times: twelve numbers in turn


def tokens_of(words: Words) -> int:
    return sum(words[INPUT:COST])
