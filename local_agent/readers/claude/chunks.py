"""Where the lines of files are kept: in chunks, of which those that a step works with are in memory."""
from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from local_agent.readers.claude.tables import CHUNK_BITS, PER_CHUNK, SLOT_BITS, WIDTH, Words

if TYPE_CHECKING:
    import sqlite3

    from local_agent.readers.claude.files import File


def place_of(file: int, slot: int) -> int:
    """Names a line among all lines of all files."""
    return file << SLOT_BITS | slot


class Chunks:
    """For one step; *sql* is its connection."""

    def __init__(self, sql: sqlite3.Connection | None) -> None:
        self._sql = sql
        self._held: dict[int, array[int]] = {}
        self._changed: set[int] = set()

    def add(self, file: File, words: array[int]) -> int:
        """Keep lines behind those of their file; the place of the first."""
        first_place, start = place_of(file.id, file.slots), 0
        while start < len(words):
            number, first = divmod(file.slots, PER_CHUNK)
            chunk = self._writable(file.id << CHUNK_BITS | number, new=first == 0)
            stop = min(len(words), start + (PER_CHUNK - first) * WIDTH)
            chunk.extend(words[start:stop])
            file.slots += (stop - start) // WIDTH
            start = stop
        return first_place

    def words(self, place: int) -> Words:
        id, n = _where(place)
        chunk = self._held.get(id)
        if chunk is None:
            chunk = self._held[id] = self._stored(id)
        return tuple(chunk[n * WIDTH : (n + 1) * WIDTH])

    def replace(self, place: int, words: Words) -> None:
        id, n = _where(place)
        self._writable(id)[n * WIDTH : (n + 1) * WIDTH] = array("q", words)

    def flush(self) -> None:
        assert self._sql is not None
        changed = [(id, self._held[id].tobytes()) for id in sorted(self._changed)]
        self._sql.executemany("INSERT OR REPLACE INTO claude_chunks VALUES (?, ?)", changed)

    def _writable(self, id: int, *, new: bool = False) -> array[int]:
        chunk = self._held.get(id)
        if chunk is None:
            chunk = self._held[id] = array("q") if new else self._stored(id)
        self._changed.add(id)
        return chunk

    def _stored(self, id: int) -> array[int]:
        assert self._sql is not None
        row = self._sql.execute("SELECT lines FROM claude_chunks WHERE id = ?", (id,)).fetchone()
        return array("q", row[0])


def _where(place: int) -> tuple[int, int]:
    """The chunk, and which of its lines."""
    number, n = divmod(place & (1 << SLOT_BITS) - 1, PER_CHUNK)
    return place >> SLOT_BITS << CHUNK_BITS | number, n
