"""Keeps the lines that were read, decides which of them count, and knows which sessions that changes.

In memory there is one number for each line: where it is kept, and what kind it is. Everything else is in the archive
and is fetched for the few answers that several lines tell of.
"""
from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from zlib import crc32

from local_agent.readers.claude import tally
from local_agent.readers.claude.forms import Line
from local_agent.readers.claude.rank import Rival, settle
from local_agent.readers.claude.scan import Batch, Found
from local_agent.readers.claude.tables import (
    AT,
    CHUNK_BITS,
    CLASS,
    COST,
    DAY_MS,
    DEAD,
    INPUT,
    KEY,
    KIND_MASK,
    LOOSE,
    MARKS,
    NAMELESS,
    OFFSET,
    PER_CHUNK,
    PICO,
    REQUEST_SHIFT,
    SESSION,
    SPEED,
    WIDTH,
    Words,
    lines_of,
    tokens_of,
)

PRIME = (1 << 61) - 1
SLOT_BITS = 26
SYNTHETIC, UNKNOWN = "<synthetic>", "unknown"
CACHED = 64
"""Sessions whose sums stay in memory: those that are being worked in."""

Threshold = Callable[[str, int], int | None]
Pointer = int
"""(file << SLOT_BITS | slot) << 2 | kind"""


@dataclass(slots=True)
class File:
    """A transcript as far as it was read; *own* is the session that its path names."""

    id: int
    path: str
    own: str
    account: str
    device: int = 0
    inode: int = 0
    size: int = 0
    changed: int = 0
    place: int = 0
    head: int = 0
    tail: int = 0
    slots: int = 0
    loose: int = -1
    gone: int = 0
    title: str | None = None
    skipped: dict[str, int] = field(default_factory=dict)


def key_of(name: str) -> int:
    """A message's id as a number. Ids are long and random, so two that fall together are not to be feared."""
    return int.from_bytes(name.encode("utf-8", "surrogatepass"), "big") % PRIME


class Book:
    """Owned by one reader; *sql* is the connection of the step under way."""

    def __init__(self, threshold: Threshold) -> None:
        self._threshold = threshold
        self.index: dict[int, Pointer | tuple[Pointer, ...]] = {}
        self.paths: dict[int, str] = {}
        self.sessions: dict[str, int] = {}
        self.classes: dict[tuple[str, str, int], int] = {}
        self.class_list: list[tuple[str, str, int]] = []
        self._plain: dict[object, int] = {}
        self._long: dict[tuple[str, int], int] = {}
        self._tallies: dict[int, tally.Tally] = {}
        self._begin()

    def _begin(self) -> None:
        self.sql: sqlite3.Connection | None = None
        self._chunks: dict[int, array[int]] = {}
        self._changed: set[int] = set()
        self.touched: set[int] = set()
        self._anew: set[int] = set()
        self.fresh: set[int] = set()
        self._days: dict[tuple[int, int], list[int]] = {}
        self._new_sessions: list[tuple[int, str]] = []
        self._new_classes: list[tuple[int, str, str, int]] = []

    # -- opening

    def load(self, sql: sqlite3.Connection, files: Iterable[File]) -> None:
        """Everything that must be in memory, from the archive as it was committed."""
        self.index.clear()
        self._tallies.clear()
        self._begin()
        self.paths = {file.id: file.path for file in files}
        self.sessions = {name: id for id, name in sql.execute("SELECT id, name FROM claude_sessions")}
        self.class_list = [(model, name, reported) for model, name, reported in sql.execute("SELECT model, price_class, reported FROM claude_classes ORDER BY id")]
        self.classes = {each: n for n, each in enumerate(self.class_list)}
        self._plain.clear()
        index = self.index
        for id, blob in sql.execute("SELECT id, lines FROM claude_chunks"):
            words = array("q", blob)
            first = (id >> CHUNK_BITS) << SLOT_BITS | (id & (1 << CHUNK_BITS) - 1) * PER_CHUNK
            for place, (key, marks) in enumerate(zip(words[KEY::WIDTH], words[MARKS::WIDTH], strict=True), first):
                kind = marks & KIND_MASK
                if kind != DEAD:
                    known = index.get(key)
                    pointer = place << 2 | kind
                    index[key] = pointer if known is None else (*known, pointer) if isinstance(known, tuple) else (known, pointer)

    # -- a step

    def begin(self, sql: sqlite3.Connection) -> None:
        self._begin()
        self.sql = sql

    def take(self, file: File, batch: Batch) -> None:
        """The lines of one reading join those that are known."""
        self.paths[file.id] = file.path
        if file.loose >= 0:
            self._drop(file.id << SLOT_BITS | file.loose)
            file.loose = -1
        for found in batch.found:
            self._line(file, found, 0)
        if batch.loose is not None:
            file.loose = file.slots
            self._line(file, batch.loose, LOOSE)

    def _line(self, file: File, found: Found, marks: int) -> None:
        line, message = found.line, found.message
        usage, name, request = message.usage, message.id, line.requestId
        if name is None:
            key, marks = key_of(f"{file.path}\n{found.offset}"), marks | NAMELESS
        else:
            key = int.from_bytes(name.encode("utf-8", "surrogatepass"), "big") % PRIME
        if request is not None:
            marks |= (crc32(request.encode("utf-8", "surrogatepass")) or 1) << REQUEST_SHIFT
        if found.speed:
            marks |= SPEED
        kind = found.kind
        nested = usage.cache_creation  # type: ignore[union-attr]
        if nested is None:
            five, hour = usage.cache_creation_input_tokens, 0  # type: ignore[union-attr]
        else:
            five, hour = nested.ephemeral_5m_input_tokens, nested.ephemeral_1h_input_tokens
        cost = -1 if line.costUSD is None else _picos(line)
        words = (
            key, marks | kind, found.offset, found.at, self._session(line.sessionId or file.own), self._class(found, five + hour),
            usage.input_tokens, usage.output_tokens, five, hour, usage.cache_read_input_tokens, cost,  # type: ignore[union-attr]
        )  # fmt: skip
        known = self.index.get(key)
        if known is None:
            self.index[key] = self._append(file, words) << 2 | kind
            self._account(words, 1)
        else:
            self._contest(file, words, known if isinstance(known, tuple) else (known,))

    def _contest(self, file: File, words: Words, known: tuple[Pointer, ...]) -> None:
        """A line about an answer that other lines tell of, too."""
        kind, key = words[MARKS] & KIND_MASK, words[KEY]
        here = self._same_line(file, words, known)
        if here is None and kind > min(pointer & KIND_MASK for pointer in known):
            # It cannot count while a better kind of line is there, whatever it says.
            self.index[key] = (*known, self._append(file, words) << 2 | kind)
            return
        before = self._winners(known)
        if here is None:
            known = (*known, self._append(file, words) << 2 | kind)
            self.index[key] = known
        else:
            old = self._words(here >> 2)
            if not _fuller(words, old):
                return
            self._replace(here >> 2, words)
        self._settle(before, self._winners(known))

    def _same_line(self, file: File, words: Words, known: tuple[Pointer, ...]) -> Pointer | None:
        """Where this file's line about the same request is kept, if it has one."""
        for pointer in known:
            if pointer >> SLOT_BITS + 2 == file.id and not words[MARKS] & LOOSE:
                marks = self._words(pointer >> 2)[MARKS]
                if (marks ^ words[MARKS]) & ~SPEED == 0:
                    return pointer
        return None

    def _drop(self, place: int) -> None:
        """A line that was counted in passing is looked at again; it counts no more until then."""
        words = self._words(place)
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
        self._replace(place, (0, DEAD) + (0,) * (WIDTH - 2))
        self._settle(before, after)

    def drop_nameless(self, file: File) -> None:
        """The file is read anew: its lines without an id would count twice."""
        assert self.sql is not None
        for slot, words in list(lines_of(self.sql, file.id)):
            if words[MARKS] & KIND_MASK != DEAD and words[MARKS] & (NAMELESS | LOOSE):
                self._drop(file.id << SLOT_BITS | slot)
        file.loose = -1

    def _winners(self, known: tuple[Pointer, ...]) -> dict[Pointer, Words]:
        if len(known) == 1:
            return {known[0]: self._words(known[0] >> 2)}
        if not known:
            return {}
        lines = {pointer: self._words(pointer >> 2) for pointer in known}
        rivals = [self._rival(pointer, words) for pointer, words in lines.items()]
        return {rival.place: lines[rival.place] for rival in settle(rivals)}

    def _rival(self, pointer: Pointer, words: Words) -> Rival:
        marks = words[MARKS]
        return Rival(
            marks & KIND_MASK, marks >> REQUEST_SHIFT, tokens_of(words), marks & SPEED, self.paths[pointer >> SLOT_BITS + 2], words[OFFSET], pointer
        )

    def _settle(self, before: dict[Pointer, Words], after: dict[Pointer, Words]) -> None:
        for pointer, words in before.items():
            if after.get(pointer) != words:
                self._account(words, -1)
        for pointer, words in after.items():
            if before.get(pointer) != words:
                self._account(words, 1)

    # -- where lines are kept

    def _append(self, file: File, words: Words) -> int:
        number, first = divmod(file.slots, PER_CHUNK)
        chunk = self._chunk(file.id << CHUNK_BITS | number, new=first == 0)
        chunk.extend(words)
        file.slots += 1
        return file.id << SLOT_BITS | file.slots - 1

    def _words(self, place: int) -> Words:
        file, slot = place >> SLOT_BITS, place & (1 << SLOT_BITS) - 1
        number, n = divmod(slot, PER_CHUNK)
        id = file << CHUNK_BITS | number
        chunk = self._chunks.get(id)
        if chunk is None:
            chunk = self._chunks[id] = self._stored(id)
        return tuple(chunk[n * WIDTH : (n + 1) * WIDTH])

    def _replace(self, place: int, words: Words) -> None:
        file, slot = place >> SLOT_BITS, place & (1 << SLOT_BITS) - 1
        number, n = divmod(slot, PER_CHUNK)
        self._chunk(file << CHUNK_BITS | number)[n * WIDTH : (n + 1) * WIDTH] = array("q", words)

    def _chunk(self, id: int, *, new: bool = False) -> array[int]:
        """For writing."""
        chunk = self._chunks.get(id)
        if chunk is None:
            chunk = self._chunks[id] = array("q") if new else self._stored(id)
        self._changed.add(id)
        return chunk

    def _stored(self, id: int) -> array[int]:
        assert self.sql is not None
        row = self.sql.execute("SELECT lines FROM claude_chunks WHERE id = ?", (id,)).fetchone()
        return array("q", row[0])

    # -- what it adds up to

    def _session(self, name: str) -> int:
        id = self.sessions.get(name)
        if id is None:
            id = self.sessions[name] = len(self.sessions) + 1
            self._new_sessions.append((id, name))
            self.fresh.add(id)
        return id

    def session_id(self, name: str) -> int:
        return self._session(name)

    def _class(self, found: Found, written: int) -> int:
        usage, model = found.message.usage, found.message.model or UNKNOWN
        assert usage is not None
        prompt = usage.input_tokens + written + usage.cache_read_input_tokens
        long = self._long_above(model, found.at, prompt) if prompt > 32_000 else 0
        plain = (model, usage.speed, usage.service_tier, usage.inference_geo, long, found.line.costUSD is None)
        id = self._plain.get(plain)
        if id is None:
            flags = [name for name, holds in (
                ("batch", usage.service_tier == "batch"), ("fast", usage.speed == "fast"), (f"long:{long // 1000}", long), ("us", usage.inference_geo == "us")
            ) if holds]  # fmt: skip
            id = self._plain[plain] = self._class_id((model, "+".join(flags) or "standard", int(found.line.costUSD is not None)))
        return id

    def _class_id(self, key: tuple[str, str, int]) -> int:
        id = self.classes.get(key)
        if id is None:
            id = self.classes[key] = len(self.class_list)
            self.class_list.append(key)
            self._new_classes.append((id, *key))
        return id

    def _long_above(self, model: str, at: int, prompt: int) -> int:
        key = (model, at // DAY_MS)
        threshold = self._long.get(key)
        if threshold is None:
            if len(self._long) > 10_000:
                self._long.clear()
            threshold = self._long[key] = self._threshold(model, at) or 0
        return threshold if 0 < threshold < prompt else 0

    def _account(self, words: Words, sign: int) -> None:
        """A line counts from now on, or no more."""
        session, requests = words[SESSION], int(self.class_list[words[CLASS]][0] != SYNTHETIC)
        self.touched.add(session)
        if session not in self._anew:
            known = self._tallies.get(session)
            if known is None and session in self.fresh:
                known = self._tallies[session] = {}
            if sign > 0 and known is not None:
                tally.add(known, words, requests)
            elif known is None or not tally.remove(known, words, requests):
                self._tallies.pop(session, None)
                self._anew.add(session)
        key = (words[AT] // DAY_MS, words[CLASS])
        day = self._days.get(key)
        if day is None:
            day = self._days[key] = [0] * 7
        for n, word in enumerate(words[INPUT:COST]):
            day[n] += sign * word
        day[5] += sign * requests
        day[6] += sign * max(words[COST], 0)

    def tally_of(self, session: int) -> tally.Tally:
        """A session's usage; within a step after flush() has written the lines."""
        known = self._tallies.get(session)
        if known is None:
            known = self._tallies[session] = {}
            for words in self.lines(session):
                tally.add(known, words, int(self.class_list[words[CLASS]][0] != SYNTHETIC))
        return known

    def lines(self, session: int) -> Iterator[Words]:
        """The lines of a session that count."""
        assert self.sql is not None
        for (file,) in self.sql.execute("SELECT file FROM claude_parts WHERE session = ?", (session,)).fetchall():
            for slot, words in lines_of(self.sql, file):
                if words[SESSION] == session and words[MARKS] & KIND_MASK != DEAD and self._is_winner(file << SLOT_BITS | slot, words):
                    yield words

    def _is_winner(self, place: int, words: Words) -> bool:
        known = self.index[words[KEY]]
        return not isinstance(known, tuple) or place in {pointer >> 2 for pointer in self._winners(known)}

    # -- into the archive

    def flush(self) -> None:
        """Write what this step added."""
        assert self.sql is not None
        sql = self.sql
        sql.executemany("INSERT INTO claude_sessions VALUES (?, ?)", self._new_sessions)
        sql.executemany("INSERT INTO claude_classes VALUES (?, ?, ?, ?)", self._new_classes)
        sql.executemany("INSERT OR REPLACE INTO claude_chunks VALUES (?, ?)", [(id, self._chunks[id].tobytes()) for id in sorted(self._changed)])
        sql.executemany(
            "INSERT INTO claude_days VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(day, class) DO UPDATE SET input = input + excluded.input,"
            " output = output + excluded.output, write_5m = write_5m + excluded.write_5m, write_1h = write_1h + excluded.write_1h,"
            " read = read + excluded.read, requests = requests + excluded.requests, cost = cost + excluded.cost",
            [(*key, *day) for key, day in sorted(self._days.items()) if any(day)],
        )  # fmt: skip

    def end(self) -> None:
        """The step was committed. Only the sums of sessions that are being worked in stay in memory."""
        while len(self._tallies) > CACHED:
            del self._tallies[next(iter(self._tallies))]
        for session in self.touched & self._tallies.keys():
            self._tallies[session] = self._tallies.pop(session)
        self._begin()


def _picos(line: Line) -> int:
    """What the line says it cost; a cost that cannot be is none."""
    cost = line.costUSD
    if cost is None or not 0 <= cost < 1_000_000:
        line.costUSD = None
        return -1
    return round(cost * PICO)


def _fuller(new: Words, old: Words) -> bool:
    """Whether of two lines of one file about one request the new one counts."""
    ours, theirs = (tokens_of(new), new[MARKS] & SPEED), (tokens_of(old), old[MARKS] & SPEED)
    return ours > theirs or (ours == theirs and new[OFFSET] < old[OFFSET])
