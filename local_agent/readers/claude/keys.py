"""Which lines tell of an answer: by its key, where each of them is kept.

In memory there is one number for each line, and only once a line is to be looked up: a process that finds nothing to read never
loads them. In the archive they stand as columns, one row for each step. A place in which nothing stands any more may still be
named here; its line says so itself.
"""
from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from local_agent.readers.claude.tables import CHUNK_BITS, KEY, KIND_MASK, MARKS, PER_CHUNK, SLOT_BITS, WIDTH

if TYPE_CHECKING:
    import sqlite3

Place = int
"""Names a line among all lines of all files."""
MANY_ROWS = 500
"""So many steps are told in rows of their own; then they become one."""
CHUNKS_AT_ONCE = 200


class Keys:
    """For one reader; *sql* is the connection of the step under way."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._places: dict[int, Place | tuple[Place, ...]] = {}
        self._new_keys, self._new_places = array("q"), array("q")
        rows = sql.execute("SELECT keys, places FROM claude_keys ORDER BY id").fetchall()
        keys, places = (array("q", b"".join([row[n] for row in rows])) for n in range(2))
        self._hold(keys, places)
        if len(rows) > MANY_ROWS:
            sql.execute("DELETE FROM claude_keys")
            sql.execute("INSERT INTO claude_keys(keys, places) VALUES (?, ?)", (keys.tobytes(), places.tobytes()))

    def _hold(self, keys: array[int], places: array[int]) -> None:
        held = list(map(self._places.setdefault, keys, places))
        if held == list(places):
            return
        for key, place, first in zip(keys, places, held, strict=True):
            if first != place:
                self._places[key] = (*self.places(key), place)

    def places(self, key: int) -> tuple[Place, ...]:
        """Where the lines about an answer are kept; empty if there are none."""
        held = self._places.get(key, ())
        return held if isinstance(held, tuple) else (held,)

    def is_alone(self, key: int) -> bool:
        """Whether one line alone tells of this answer."""
        return not isinstance(self._places[key], tuple)

    def add(self, key: int, place: Place) -> None:
        """One more line about an answer."""
        known = self.places(key)
        self._places[key] = (*known, place) if known else place
        self._tell((key,), (place,))

    def add_new(self, keys: Sequence[int], first: Place) -> list[int]:
        """Lines that stand one behind the other from *first* on. If some of their answers are known already, or stand among these twice,
        only the lines about others are taken, as if they alone stood there; which of all these others are is the answer."""
        places = range(first, first + len(keys))
        held = list(map(self._places.setdefault, keys, places))
        if held == list(places):
            self._tell(keys, places)
            return []
        rivals = [n for n, (place, other) in enumerate(zip(places, held, strict=True)) if place != other]
        gone = set(rivals)
        left = [key for n, key in enumerate(keys) if n not in gone]
        places = range(first, first + len(left))
        self._places.update(zip(left, places, strict=True))
        self._tell(left, places)
        return rivals

    def drop(self, key: int, place: Place) -> None:
        """This line tells of the answer no more."""
        left = tuple(other for other in self.places(key) if other != place)
        if left:
            self._places[key] = left if len(left) > 1 else left[0]
        else:
            self._places.pop(key, None)

    def _tell(self, keys: Iterable[int], places: Iterable[Place]) -> None:
        self._new_keys.extend(keys)
        self._new_places.extend(places)

    def flush(self, sql: sqlite3.Connection) -> None:
        """Write what this step added."""
        if self._new_keys:
            sql.execute("INSERT INTO claude_keys(keys, places) VALUES (?, ?)", (self._new_keys.tobytes(), self._new_places.tobytes()))
            self._new_keys, self._new_places = array("q"), array("q")


def fill(sql: sqlite3.Connection) -> None:
    """Write the keys of an archive that has none yet: an earlier version read them from the lines themselves."""
    found = sql.execute("SELECT id, lines FROM claude_chunks ORDER BY id")
    while chunks := found.fetchmany(CHUNKS_AT_ONCE):
        keys, places = array("q"), array("q")
        for id, blob in chunks:
            words = array("q", blob)
            first = (id >> CHUNK_BITS) << SLOT_BITS | (id & (1 << CHUNK_BITS) - 1) * PER_CHUNK
            alive = [n for n, marks in enumerate(words[MARKS::WIDTH]) if marks & KIND_MASK != KIND_MASK]
            keys.extend([words[n * WIDTH + KEY] for n in alive])
            places.extend([first + n for n in alive])
        sql.execute("INSERT INTO claude_keys(keys, places) VALUES (?, ?)", (keys.tobytes(), places.tobytes()))
