"""Keeps the lines that were read, decides which of them count, and knows which sessions that changes.

In memory there is one number for each line: where it is kept, and what kind it is. Everything else is in the archive
and is fetched for the few answers that several lines tell of.
"""
from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from local_agent.readers.claude import tally
from local_agent.readers.claude.batch import Batch, Kind
from local_agent.readers.claude.chunks import SLOT_BITS, Chunks, place_of
from local_agent.readers.claude.files import File
from local_agent.readers.claude.rank import Rival, settle
from local_agent.readers.claude.tables import (
    CHUNK_BITS,
    CLASS,
    DEAD,
    KEY,
    KIND_MASK,
    LOOSE,
    MARKS,
    NAMELESS,
    OFFSET,
    PER_CHUNK,
    REQUEST_SHIFT,
    SESSION,
    SPEED,
    SYNTHETIC,
    UNKNOWN,
    WIDTH,
    Words,
    lines_of,
    tokens_of,
)
from local_agent.readers.claude.totals import Totals

if TYPE_CHECKING:
    import sqlite3

Pointer = int
"""A line's place << 2 | its kind."""
LOADED_AT_ONCE = 200
LINE_BYTES = WIDTH * 8


class Book:
    """Owned by one reader; works for one step after the other, each with its connection."""

    def __init__(self) -> None:
        self.index: dict[int, Pointer | tuple[Pointer, ...]] = {}
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
        """Everything that must be in memory, from the archive as it was committed."""
        self.index.clear()
        self._kinds.clear()
        self.totals.forget()
        self._begin(None)
        self.paths = {file.id: file.path for file in files}
        self.sessions = {name: id for id, name in sql.execute("SELECT id, name FROM claude_sessions")}
        self.class_list = [(model, name, reported) for model, name, reported in sql.execute("SELECT model, price_class, reported FROM claude_classes ORDER BY id")]
        self.classes = {each: n for n, each in enumerate(self.class_list)}
        self.totals.synthetic = {n for n, each in enumerate(self.class_list) if each[0] == SYNTHETIC}
        found = sql.execute("SELECT id, lines FROM claude_chunks")
        while chunks := found.fetchmany(LOADED_AT_ONCE):
            self._load_chunks(chunks)

    def _load_chunks(self, chunks: list[tuple[int, bytes]]) -> None:
        words = array("q", b"".join([blob for _, blob in chunks]))
        places: list[int] = []
        for id, blob in chunks:
            first = place_of(id >> CHUNK_BITS, (id & (1 << CHUNK_BITS) - 1) * PER_CHUNK)
            places += range(first << 2, first + len(blob) // LINE_BYTES << 2, 4)
        index, keys, pointers = self.index, words[KEY::WIDTH], [place | marks & KIND_MASK for place, marks in zip(places, words[MARKS::WIDTH], strict=True)]
        distinct = set(keys)
        if len(distinct) == len(keys) and 0 not in distinct and index.keys().isdisjoint(distinct):
            index.update(zip(keys, pointers, strict=True))
            return
        for key, pointer in zip(keys, pointers, strict=True):
            if key not in index:
                index[key] = pointer
            elif pointer & KIND_MASK != DEAD:
                known = index[key]
                index[key] = (*known, pointer) if isinstance(known, tuple) else (known, pointer)
        index.pop(0, None)  # where nothing stands any more

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
        plain, rivals = self._parted(words)
        if rivals:
            runs = tally.runs(plain, self.totals.synthetic)
        first = self._chunks.add(file, plain)
        self.index.update(zip(plain[KEY::WIDTH], _pointers(plain, first), strict=True))
        for run in runs:
            self.totals.add_run(*run)
        for line in rivals:
            self._contest(file, line)

    def _parted(self, words: array[int]) -> tuple[array[int], list[Words]]:
        """Lines whose answer nobody told of before, and those about answers that other lines tell of, too."""
        index, keys = self.index, words[KEY::WIDTH]
        first = set(keys)
        if len(first) == len(keys) and index.keys().isdisjoint(first):
            return words, []
        plain, rivals, done = array("q"), [], 0
        first -= index.keys() & first
        for n, key in enumerate(keys):
            if key in first:
                first.discard(key)
            else:
                plain += words[done * WIDTH : n * WIDTH]
                done = n + 1
                rivals.append(tuple(words[n * WIDTH : done * WIDTH]))
        return plain + words[done * WIDTH :], rivals

    def _contest(self, file: File, words: Words) -> None:
        """A line about an answer that other lines tell of, too."""
        held = self.index[words[KEY]]
        known = held if isinstance(held, tuple) else (held,)
        kind, key = words[MARKS] & KIND_MASK, words[KEY]
        here = self._same_line(file, words, known)
        if here is None:
            after = self.index[key] = (*known, self._keep(file, words) << 2 | kind)
            # It cannot count while a better kind of line is there, whatever it says.
            if kind <= min(pointer & KIND_MASK for pointer in known):
                self._settle(self._winners(known), self._winners(after))
        elif _fuller(words, self._chunks.words(here >> 2)):
            before = self._winners(known)
            self._chunks.replace(here >> 2, words)
            self._settle(before, self._winners(known))

    def _keep(self, file: File, words: Words) -> int:
        return self._chunks.add(file, array("q", words))

    def _same_line(self, file: File, words: Words, known: tuple[Pointer, ...]) -> Pointer | None:
        """Where this file's line about the same request is kept, if it has one."""
        for pointer in known:
            if pointer >> SLOT_BITS + 2 == file.id and not words[MARKS] & LOOSE:
                marks = self._chunks.words(pointer >> 2)[MARKS]
                if (marks ^ words[MARKS]) & ~SPEED == 0:
                    return pointer
        return None

    def _drop(self, place: int) -> None:
        """A line that was counted in passing is looked at again; it counts no more until then."""
        words = self._chunks.words(place)
        if words[MARKS] & KIND_MASK == DEAD:
            return
        known = self.index[words[KEY]]
        pointers = known if isinstance(known, tuple) else (known,)
        before = self._winners(pointers)
        left = tuple(pointer for pointer in pointers if pointer >> 2 != place)
        if left:
            self.index[words[KEY]] = left if len(left) > 1 else left[0]
        else:
            del self.index[words[KEY]]
        after = self._winners(left)
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
        held = [self.index.get(words[KEY]) for _, words in lines_of(self._sql, file.id)]
        rivals = [known for known in dict.fromkeys(held) if isinstance(known, tuple)]
        before = [self._winners(known) for known in rivals]
        self.paths[file.id] = path
        for known, winners in zip(rivals, before, strict=True):
            self._settle(winners, self._winners(known))

    def _winners(self, known: tuple[Pointer, ...]) -> dict[Pointer, Words]:
        words = self._chunks.words
        if len(known) == 1:
            return {known[0]: words(known[0] >> 2)}
        if not known:
            return {}
        lines = {pointer: words(pointer >> 2) for pointer in known}
        rivals = [self._rival(pointer, line) for pointer, line in lines.items()]
        return {rival.place: lines[rival.place] for rival in settle(rivals)}

    def _rival(self, pointer: Pointer, words: Words) -> Rival:
        marks = words[MARKS]
        return Rival(
            marks & KIND_MASK, marks >> REQUEST_SHIFT, tokens_of(words), marks & SPEED, self.paths[pointer >> SLOT_BITS + 2], words[OFFSET], pointer
        )

    def _settle(self, before: dict[Pointer, Words], after: dict[Pointer, Words]) -> None:
        for pointer, words in before.items():
            if after.get(pointer) != words:
                self.totals.account(words, -1)
        for pointer, words in after.items():
            if before.get(pointer) != words:
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
            known = self._kinds[kind] = self._class_id((model or UNKNOWN, "+".join(flags) or "standard", int(not unreported)))
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

    def _is_winner(self, place: int, words: Words) -> bool:
        known = self.index[words[KEY]]
        return not isinstance(known, tuple) or place in {pointer >> 2 for pointer in self._winners(known)}

    # -- into the archive

    def flush(self) -> None:
        """Write what this step added."""
        assert self._sql is not None
        if self._new_sessions:
            self._sql.executemany("INSERT INTO claude_sessions VALUES (?, ?)", self._new_sessions)
        if self._new_classes:
            self._sql.executemany("INSERT INTO claude_classes VALUES (?, ?, ?, ?)", self._new_classes)
        self._chunks.flush()
        self.totals.flush(self._sql)

    def end(self) -> None:
        """The step was committed."""
        self.totals.end()
        self._begin(None)


def _name(words: array[int], sessions: list[int], classes: list[int]) -> None:
    """Turn a batch's own numbers of sessions and classes into those that are kept."""
    for column, names in ((SESSION, sessions), (CLASS, classes)):
        words[column::WIDTH] = array("q", [names[n] for n in words[column::WIDTH]])


def _pointers(words: array[int], first: int) -> list[Pointer]:
    return [place << 2 | marks & KIND_MASK for place, marks in enumerate(words[MARKS::WIDTH], first)]


def _fuller(new: Words, old: Words) -> bool:
    """Whether of two lines of one file about one request the new one counts."""
    ours, theirs = (tokens_of(new), new[MARKS] & SPEED), (tokens_of(old), old[MARKS] & SPEED)
    return ours > theirs or (ours == theirs and new[OFFSET] < old[OFFSET])
