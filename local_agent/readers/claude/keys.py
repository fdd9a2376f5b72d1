"""Which lines tell of an answer: by its key, where each of them is kept.

In memory there is one number for each line, and only once a line is to be looked up: a process that finds nothing to read never
loads them. In the archive they stand as columns, one row for each step: the first line about each answer in one table, so that
they are loaded all at once, and its rivals in another. A place in which nothing stands any more may still be named; its line says so.
"""
from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from local_agent.readers.claude.tables import CHUNK_BITS, DEAD, KEY, KIND_MASK, MARKS, PER_CHUNK, SLOT_BITS, WIDTH

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
        self._places: dict[int, Place | tuple[Place, ...]] = dict(zip(*_stored(sql, "claude_keys"), strict=True))
        for key, place in zip(*_stored(sql, "claude_rivals"), strict=True):
            self._places[key] = (*self.places(key), place)
        self._new: dict[str, tuple[array[int], array[int]]] = {table: (array("q"), array("q")) for table in ("claude_keys", "claude_rivals")}

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
        self._tell("claude_rivals" if known else "claude_keys", (key,), (place,))

    def add_new(self, keys: Sequence[int], first: Place) -> list[int]:
        """Lines that stand one behind the other from *first* on. If some of their answers are known already, or stand among these twice,
        only the lines about others are taken, as if they alone stood there; which of all these others are is the answer."""
        places = range(first, first + len(keys))
        held = list(map(self._places.setdefault, keys, places))
        if held == list(places):
            self._tell("claude_keys", keys, places)
            return []
        rivals = [n for n, (place, other) in enumerate(zip(places, held, strict=True)) if place != other]
        gone = set(rivals)
        left = [key for n, key in enumerate(keys) if n not in gone]
        places = range(first, first + len(left))
        self._places.update(zip(left, places, strict=True))
        self._tell("claude_keys", left, places)
        return rivals

    def drop(self, key: int, place: Place) -> None:
        """This line tells of the answer no more."""
        left = tuple(other for other in self.places(key) if other != place)
        if left:
            self._places[key] = left if len(left) > 1 else left[0]
        else:
            self._places.pop(key, None)

    def _tell(self, table: str, keys: Iterable[int], places: Iterable[Place]) -> None:
        for column, numbers in zip(self._new[table], (keys, places), strict=True):
            column.extend(numbers)

    def flush(self, sql: sqlite3.Connection) -> None:
        """Write what this step added."""
        for table, columns in self._new.items():
            if columns[0]:
                _store(sql, table, *columns)
                self._new[table] = array("q"), array("q")


def _stored(sql: sqlite3.Connection, table: str) -> tuple[array[int], array[int]]:
    """Keys and places, in the order in which they came; of many short rows one is made."""
    rows = sql.execute(f"SELECT keys, places FROM {table} ORDER BY id").fetchall()
    keys, places = (array("q", b"".join([row[n] for row in rows])) for n in range(2))
    if len(rows) > MANY_ROWS:
        sql.execute(f"DELETE FROM {table}")
        _store(sql, table, keys, places)
    return keys, places


def _store(sql: sqlite3.Connection, table: str, keys: array[int], places: array[int]) -> None:
    sql.execute(f"INSERT INTO {table}(keys, places) VALUES (?, ?)", (keys.tobytes(), places.tobytes()))


def fill(sql: sqlite3.Connection) -> None:
    """Write the keys of an archive that has none yet: an earlier version read them from the lines themselves."""
    sql.execute("DELETE FROM claude_keys")
    keys = Keys(sql)
    found = sql.execute("SELECT id, lines FROM claude_chunks ORDER BY id")
    while chunks := found.fetchmany(CHUNKS_AT_ONCE):
        for id, blob in chunks:
            words = array("q", blob)
            first = (id >> CHUNK_BITS) << SLOT_BITS | (id & (1 << CHUNK_BITS) - 1) * PER_CHUNK
            for n, (key, marks) in enumerate(zip(words[KEY::WIDTH], words[MARKS::WIDTH], strict=True)):
                if marks & KIND_MASK != DEAD:
                    keys.add(key, first + n)
    keys.flush(sql)
