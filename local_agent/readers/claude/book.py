"""Keeps the lines that were read, decides which of them count, and knows which sessions that changes.

In memory there is one number for each line: where it is kept. Everything else is in the archive and is fetched for the few
answers that several lines tell of.
"""
from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from local_agent.readers.claude import tally
from local_agent.readers.claude.batch import Batch, Kind
from local_agent.readers.claude.chunks import Chunks, place_of
from local_agent.readers.claude.files import File
from local_agent.readers.claude.keys import Keys, Place
from local_agent.readers.claude.rank import Rival, settle
from local_agent.readers.claude.tables import (
    CLASS,
    DEAD,
    KEY,
    KIND_MASK,
    LOOSE,
    MARKS,
    NAMELESS,
    OFFSET,
    REQUEST_SHIFT,
    SESSION,
    SLOT_BITS,
    SPEED,
    SYNTHETIC,
    UNKNOWN,
    WIDTH,
    Words,
    lines_of,
    model_of,
    tokens_of,
)
from local_agent.readers.claude.totals import Totals

if TYPE_CHECKING:
    import sqlite3



class Book:
    """Owned by one reader; works for one step after the other, each with its connection."""

    def __init__(self) -> None:
        self._keys: Keys | None = None
        self.paths: dict[int, str] = {}
        self.sessions: dict[str, int] = {}
        self.classes: dict[tuple[str, str, int], int] = {}
        self.class_list: list[tuple[str, str, int]] = []
        self.totals = Totals()
        self._kinds: dict[Kind, int] = {}
        self._begin(None)

    def _begin(self, sql: sqlite3.Connection | None) -> None:
        self._sql = sql
        self._chunks = Chunks(sql)
        self._new_sessions: list[tuple[int, str]] = []
        self._new_classes: list[tuple[int, str, str, int]] = []

    # -- opening

    def load(self, sql: sqlite3.Connection, files: Iterable[File]) -> None:
        """What must be in memory, from the archive as it was committed."""
        self._keys = None
        self._kinds.clear()
        self.totals.forget()
        self._begin(None)
        self.paths = {file.id: file.path for file in files}
        self.sessions = {name: id for id, name in sql.execute("SELECT id, name FROM claude_sessions")}
        self.class_list = [(model, name, reported) for model, name, reported in sql.execute("SELECT model, price_class, reported FROM claude_classes ORDER BY id")]
        self.classes = {each: n for n, each in enumerate(self.class_list)}
        self.totals.synthetic = {n for n, each in enumerate(self.class_list) if each[0] == SYNTHETIC}

    @property
    def keys(self) -> Keys:
        """Within a step."""
        if self._keys is None:
            assert self._sql is not None
            self._keys = Keys(self._sql)
        return self._keys

    # -- a step

    def begin(self, sql: sqlite3.Connection) -> None:
        self._begin(sql)
        self.totals.begin()

    def take(self, file: File, batch: Batch) -> None:
        """The lines of one reading join those that are known."""
        self.paths[file.id] = file.path
        if file.loose >= 0:
            self._drop(place_of(file.id, file.loose))
            file.loose = -1
        sessions = [self.session_id(name or file.own) for name in batch.sessions]
        classes = [self._class(kind) for kind in batch.kinds]
        if batch.words:
            _name(batch.words, sessions, classes)
            self._add(file, batch.words, [(sessions[session], tally.with_class(slot, classes), row) for session, slot, row in batch.runs])
        if batch.loose is not None:
            _name(batch.loose, sessions, classes)
            file.loose = file.slots
            self._add(file, batch.loose, tally.runs(batch.loose, self.totals.synthetic))

    def _add(self, file: File, words: array[int], runs: list[tally.Run]) -> None:
        """Lines without a rival are kept and counted all together, the others one by one. *runs* is what all of them add up to."""
        rivals = self.keys.add_new(words[KEY::WIDTH], place_of(file.id, file.slots))
        contested = [tuple(words[n * WIDTH : (n + 1) * WIDTH]) for n in rivals]
        if rivals:
            words = _without(words, rivals)
            runs = tally.runs(words, self.totals.synthetic)
        self._chunks.add(file, words)
        for run in runs:
            self.totals.add_run(*run)
        if contested:
            self._contest(file, contested)

    def _contest(self, file: File, lines: list[Words]) -> None:
        """Lines about answers that other lines tell of, too."""
        others = [words for words in lines if not self._replaces(file, words)]
        first = self._chunks.add(file, array("q", [word for words in others for word in words]))
        for place, words in enumerate(others, first):
            known = self.keys.places(words[KEY])
            self.keys.add(words[KEY], place)
            if not self._changes_nothing(file, words, known):
                self._settle(self._winners(known), self._winners((*known, place)))

    def _replaces(self, file: File, words: Words) -> bool:
        """Whether this file has a line about the same request already; the fuller of the two is kept."""
        if words[MARKS] & LOOSE:
            return False
        known = self.keys.places(words[KEY])
        for place in known:
            if place >> SLOT_BITS == file.id:
                held = self._chunks.words(place)
                if (held[MARKS] ^ words[MARKS]) & ~SPEED == 0:
                    if _order(words) < _order(held):
                        before = self._winners(known)
                        self._chunks.replace(place, words)
                        self._settle(before, self._winners(known))
                    return True
        return False

    def _changes_nothing(self, file: File, words: Words, known: tuple[Place, ...]) -> bool:
        """Whether one of the known lines goes before this one whatever else there is: a better kind, or the same request told of better."""
        marks = words[MARKS]
        for place in known:
            held = self._chunks.words(place)
            if held[MARKS] & KIND_MASK < marks & KIND_MASK:
                return True
            if (held[MARKS] ^ marks) & ~SPEED == 0:
                ours, theirs = _order(words), _order(held)
                if theirs[:2] < ours[:2] or (theirs[:2] == ours[:2] and (self.paths[place >> SLOT_BITS], theirs) < (file.path, ours)):
                    return True
        return False

    def _drop(self, place: Place) -> None:
        """A line that was counted in passing is looked at again; it counts no more until then."""
        words = self._chunks.words(place)
        if words[MARKS] & KIND_MASK == DEAD:
            return
        before = self._winners(self.keys.places(words[KEY]))
        self.keys.drop(words[KEY], place)
        after = self._winners(self.keys.places(words[KEY]))
        self._chunks.replace(place, (0, DEAD) + (0,) * (WIDTH - 2))
        self._settle(before, after)

    def drop_nameless(self, file: File) -> None:
        """The file is read anew: its lines without an id would count twice."""
        assert self._sql is not None
        for slot, words in list(lines_of(self._sql, file.id)):
            if words[MARKS] & KIND_MASK != DEAD and words[MARKS] & (NAMELESS | LOOSE):
                self._drop(place_of(file.id, slot))
        file.loose = -1

    def move(self, file: File, path: str) -> None:
        """The file has another name from now on; by their names files are told apart where their lines are worth the same."""
        assert self._sql is not None
        held = [self.keys.places(words[KEY]) for _, words in lines_of(self._sql, file.id)]
        rivals = [known for known in dict.fromkeys(held) if len(known) > 1]
        before = [self._winners(known) for known in rivals]
        self.paths[file.id] = path
        for known, winners in zip(rivals, before, strict=True):
            self._settle(winners, self._winners(known))

    def _winners(self, known: tuple[Place, ...]) -> dict[Place, Words]:
        lines = {place: self._chunks.words(place) for place in known}
        rivals = [self._rival(place, words) for place, words in lines.items() if words[MARKS] & KIND_MASK != DEAD]
        if len(rivals) > 1:
            rivals = settle(rivals)
        return {rival.place: lines[rival.place] for rival in rivals}

    def _rival(self, place: Place, words: Words) -> Rival:
        marks = words[MARKS]
        return Rival(marks & KIND_MASK, marks >> REQUEST_SHIFT, tokens_of(words), marks & SPEED, self.paths[place >> SLOT_BITS], words[OFFSET], place)

    def _settle(self, before: dict[Place, Words], after: dict[Place, Words]) -> None:
        for place, words in before.items():
            if after.get(place) != words:
                self.totals.account(words, -1)
        for place, words in after.items():
            if before.get(place) != words:
                self.totals.account(words, 1)

    # -- names for sessions and classes

    def session_id(self, name: str) -> int:
        id = self.sessions.get(name)
        if id is None:
            id = self.sessions[name] = len(self.sessions) + 1
            self._new_sessions.append((id, name))
            self.totals.fresh.add(id)
        return id

    def _class(self, kind: Kind) -> int:
        known = self._kinds.get(kind)
        if known is None:
            model, speed, tier, geo, long, unreported = kind
            flags = [name for name, holds in (("batch", tier == "batch"), ("fast", speed == "fast"), (f"long:{long // 1000}", long), ("us", geo == "us")) if holds]
            known = self._kinds[kind] = self._class_id((model_of(model or "") or UNKNOWN, "+".join(flags) or "standard", int(not unreported)))
        return known

    def _class_id(self, key: tuple[str, str, int]) -> int:
        id = self.classes.get(key)
        if id is None:
            id = self.classes[key] = len(self.class_list)
            self.class_list.append(key)
            if key[0] == SYNTHETIC:
                self.totals.synthetic.add(id)
            self._new_classes.append((id, *key))
        return id

    # -- a session's usage

    def tally_of(self, session: int) -> tally.Tally:
        """Within a step after flush() has written the lines."""
        return self.totals.of(session, self.lines)

    def lines(self, session: int) -> Iterator[Words]:
        """The lines of a session that count."""
        assert self._sql is not None
        for (file,) in self._sql.execute("SELECT file FROM claude_parts WHERE session = ?", (session,)).fetchall():
            for slot, words in lines_of(self._sql, file):
                if words[SESSION] == session and words[MARKS] & KIND_MASK != DEAD and self._is_winner(place_of(file, slot), words):
                    yield words

    def _is_winner(self, place: Place, words: Words) -> bool:
        return self.keys.is_alone(words[KEY]) or place in self._winners(self.keys.places(words[KEY]))

    # -- into the archive

    def flush(self) -> None:
        """Write what this step added."""
        assert self._sql is not None
        if self._new_sessions:
            self._sql.executemany("INSERT INTO claude_sessions VALUES (?, ?)", self._new_sessions)
        if self._new_classes:
            self._sql.executemany("INSERT INTO claude_classes VALUES (?, ?, ?, ?)", self._new_classes)
        self._chunks.flush()
        if self._keys is not None:
            self._keys.flush(self._sql)
        self.totals.flush(self._sql)

    def end(self) -> None:
        """The step was committed."""
        self.totals.end()
        self._begin(None)


def _name(words: array[int], sessions: list[int], classes: list[int]) -> None:
    """Turn a batch's own numbers of sessions and classes into those that are kept."""
    for column, names in ((SESSION, sessions), (CLASS, classes)):
        words[column::WIDTH] = array("q", names * (len(words) // WIDTH) if len(names) == 1 else [names[n] for n in words[column::WIDTH]])


def _without(words: array[int], lines: list[int]) -> array[int]:
    """All but some of the lines."""
    left, done = array("q"), 0
    for n in lines:
        left += words[done * WIDTH : n * WIDTH]
        done = n + 1
    return left + words[done * WIDTH :]


def _order(words: Words) -> tuple[int, int, int]:
    """Of two lines of one file about one request the one that is less in this counts."""
    return -tokens_of(words), -(words[MARKS] & SPEED), words[OFFSET]
