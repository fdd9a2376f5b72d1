"""Lines that are counted here and that ccusage cannot see: their transcript was deleted or written anew since, or lies elsewhere."""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local_agent.readers.claude.pack import key_of
from local_agent.readers.claude.tables import (
    AT,
    DEAD,
    INPUT,
    KEY,
    KIND_MASK,
    MARKS,
    NAMELESS,
    READ,
    SESSION,
    Words,
    lines_of,
    tokens_of,
)
from local_agent.readers.pathtext import path_of
from local_agent.verify.transcript import Seen
from local_agent.verify.units import Piece

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True)
class Unseen:
    """One such line: its answer's key, what it used, and whether its file lies outside of the roots that ccusage reads."""

    key: int
    piece: Piece
    outside: bool


def unseen(sql: sqlite3.Connection, roots: Sequence[Path], lines: Sequence[Seen]) -> list[Unseen]:
    """The lines of an archive that are not in the files that *lines* were read from."""
    there: dict[tuple[str, int], int] = {}
    for line in lines:
        if line.id is not None:
            place = line.path, key_of(line.id)
            there[place] = max(there.get(place, 0), line.tokens)
    inside = tuple(os.path.normpath(root) + os.sep for root in roots)
    names = dict(sql.execute("SELECT id, name FROM claude_sessions"))
    found = []
    for path, gone, words in _lines(sql):
        outside = not path.startswith(inside)
        fuller = tokens_of(words) > there.get((path, words[KEY]), -1)
        if outside or gone or (fuller and not words[MARKS] & NAMELESS):
            counts = words[INPUT : READ + 1]
            found.append(Unseen(words[KEY], Piece(words[AT], words[AT], names[words[SESSION]], (counts[0], counts[1], counts[2], counts[3], counts[4]), 0.0), outside))
    return found


def _lines(sql: sqlite3.Connection) -> Iterator[tuple[str, bool, Words]]:
    for id, path, gone in sql.execute("SELECT id, path, gone FROM claude_files").fetchall():
        for _, words in lines_of(sql, id):
            if words[MARKS] & KIND_MASK != DEAD:
                yield path_of(path), bool(gone), words
