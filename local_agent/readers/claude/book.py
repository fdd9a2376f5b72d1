"""Keeps the lines that were read, decides which of them count, and knows which sessions that changes.

In memory there is one number for each line: where it is kept, and what kind it is. Everything else is in the archive
and is fetched for the few answers that several lines tell of.
"""
from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

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
    QUARTER_MS,
    REQUEST_SHIFT,
    SESSION,
    SPEED,
    WIDTH,
    Words,
    lines_of,
    tokens_of,
)

PRIME = (1 << 61) - 1
REQUEST_TAIL = 7
"""So many bytes at its end tell one request of an answer from another."""
from_bytes = int.from_bytes
SLOT_BITS = 26
SYNTHETIC, UNKNOWN = "<synthetic>", "unknown"
LONG_FROM = 32_000
"""No model costs more below so long a prompt."""
CACHED = 256
"""Sessions whose sums stay in memory: those that are being worked in."""

Threshold = Callable[[str, int], int | None]
Pointer = int
"""(file << SLOT_BITS | slot) << 2 | kind"""


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
        self._synthetic: set[int] = set()
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
        self._synthetic = {n for n, each in enumerate(self.class_list) if each[0] == SYNTHETIC}
        self._plain.clear()
        index = self.index
        for id, blob in sql.execute("SELECT id, lines FROM claude_chunks"):
            words = array("q", blob)
            first = (id >> CHUNK_BITS) << SLOT_BITS | (id & (1 << CHUNK_BITS) - 1) * PER_CHUNK
            keys, pointers = words[KEY::WIDTH], [place << 2 | marks & KIND_MASK for place, marks in enumerate(words[MARKS::WIDTH], first)]
            if index.keys().isdisjoint(keys) and len(set(keys)) == len(keys) and 0 not in keys:
                index.update(zip(keys, pointers, strict=True))
                continue
            for key, pointer in zip(keys, pointers, strict=True):
                if pointer & KIND_MASK != DEAD:
                    known = index.get(key)
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
        self._lines(file, batch.found, batch.times, 0)
        if batch.loose is not None:
            found, at = batch.loose
            file.loose = file.slots
            self._lines(file, [found], [at], LOOSE)

    def _lines(self, file: File, found: list[Found], times: list[int], extra: int) -> None:
        """The hot loop of keeping: lines that have no rival are gathered, and so are the sums of one quarter-hour."""
        index, plain, synthetic = self.index, self._plain, self._synthetic
        place = file.id << SLOT_BITS | file.slots
        gathered: list[int] = []
        run: list[int] | None = None
        run_session = run_slot = day = long_above = -1
        name_before = model_before = None
        session = -1
        for (_, speed, line, message, offset, kind), at in zip(found, times, strict=True):
            usage = message.usage
            name, request, model = message.id, line.requestId, message.model
            marks = extra | kind | (SPEED if speed else 0)
            if name is None:
                key, marks = key_of(f"{file.path}\n{offset}"), marks | NAMELESS
            else:
                key = from_bytes(name.encode(), "big") % PRIME
            if request is not None:
                marks |= from_bytes(request[-REQUEST_TAIL:].encode()[-REQUEST_TAIL:], "big") << REQUEST_SHIFT
            nested = usage.cache_creation  # type: ignore[union-attr]
            if nested is None:
                five, hour = usage.cache_creation_input_tokens, 0  # type: ignore[union-attr]
            else:
                five, hour = nested.ephemeral_5m_input_tokens, nested.ephemeral_1h_input_tokens
            fresh, output, read = usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens  # type: ignore[union-attr]
            cost = -1 if line.costUSD is None else _picos(line)
            if session < 0 or line.sessionId != name_before:
                name_before = line.sessionId
                session = self._session(name_before or file.own)
            prompt = fresh + five + hour + read
            if prompt > LONG_FROM:
                if model != model_before or at // DAY_MS != day:
                    model_before, day = model, at // DAY_MS
                    long_above = self._long_above(model or UNKNOWN, at)
                long = long_above if prompt > long_above else 0
            else:
                long = 0
            kinds = (model, usage.speed, usage.service_tier, usage.inference_geo, long, cost < 0)  # type: ignore[union-attr]
            class_ = plain.get(kinds)
            if class_ is None:
                class_ = plain[kinds] = self._class(kinds)
            if key in index:
                # What is decided here may take back what was gathered a moment ago.
                if run is not None:
                    self._add_run(run_session, run_slot, run)
                    run = None
                self._keep(file, gathered)
                self._contest(file, (key, marks, offset, at, session, class_, fresh, output, five, hour, read, cost))
                place = file.id << SLOT_BITS | file.slots
                continue
            index[key] = place << 2 | kind
            place += 1
            gathered += (key, marks, offset, at, session, class_, fresh, output, five, hour, read, cost)
            quarter, beyond = divmod(at, QUARTER_MS)
            slot = (quarter * 2 + (beyond > 0)) << tally.CLASS_BITS | class_
            if run is not None and slot == run_slot and session == run_session:
                if at < run[0]:
                    run[0] = at
                elif at > run[1]:
                    run[1] = at
                run[2] += fresh
                run[3] += output
                run[4] += five
                run[5] += hour
                run[6] += read
                run[7] += 1
                if cost > 0:
                    run[8] += cost
            else:
                if run is not None:
                    self._add_run(run_session, run_slot, run)
                run_session, run_slot = session, slot
                run = [at, at, fresh, output, five, hour, read, 1, cost if cost > 0 else 0]
            if class_ in synthetic:
                run[7] -= 1
        if run is not None:
            self._add_run(run_session, run_slot, run)
        self._keep(file, gathered)

    def _keep(self, file: File, gathered: list[int]) -> None:
        """Put the gathered lines where their file's lines are kept."""
        start = 0
        while start < len(gathered):
            number, first = divmod(file.slots, PER_CHUNK)
            chunk = self._chunk(file.id << CHUNK_BITS | number, new=first == 0)
            stop = min(len(gathered), start + (PER_CHUNK - first) * WIDTH)
            chunk.extend(gathered[start:stop])
            file.slots += (stop - start) // WIDTH
            start = stop
        gathered.clear()

    def _add_run(self, session: int, slot: int, run: list[int]) -> None:
        """Several lines of one session, quarter-hour and class count from now on."""
        self.touched.add(session)
        if session not in self._anew:
            known = self._tallies.get(session)
            if known is None and session in self.fresh:
                known = self._tallies[session] = {}
            if known is None:
                self._anew.add(session)
            else:
                tally.merge(known, slot, run)
        self._add_day(run[0] // DAY_MS, tally.class_of(slot), run[2:], 1)

    def _contest(self, file: File, words: Words) -> None:
        """A line about an answer that other lines tell of, too."""
        held = self.index[words[KEY]]
        known = held if isinstance(held, tuple) else (held,)
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

    def _class(self, kinds: tuple[str | None, str | None, str | None, str | None, int, bool]) -> int:
        model, speed, tier, geo, long, unreported = kinds
        flags = [name for name, holds in (("batch", tier == "batch"), ("fast", speed == "fast"), (f"long:{long // 1000}", long), ("us", geo == "us")) if holds]
        return self._class_id((model or UNKNOWN, "+".join(flags) or "standard", int(not unreported)))

    def _class_id(self, key: tuple[str, str, int]) -> int:
        id = self.classes.get(key)
        if id is None:
            id = self.classes[key] = len(self.class_list)
            self.class_list.append(key)
            if key[0] == SYNTHETIC:
                self._synthetic.add(id)
            self._new_classes.append((id, *key))
        return id

    def _long_above(self, model: str, at: int) -> int:
        """Above how many tokens of a prompt *model* costs more that day; beyond any prompt if it never does."""
        key = (model, at // DAY_MS)
        threshold = self._long.get(key)
        if threshold is None:
            if len(self._long) > 10_000:
                self._long.clear()
            threshold = self._long[key] = self._threshold(model, at) or 1 << 60
        return threshold

    def _account(self, words: Words, sign: int) -> None:
        """A line counts from now on, or no more."""
        session, requests = words[SESSION], int(words[CLASS] not in self._synthetic)
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
        self._add_day(words[AT] // DAY_MS, words[CLASS], (*words[INPUT:COST], requests, max(words[COST], 0)), sign)

    def _add_day(self, day: int, class_: int, amounts: Sequence[int], sign: int) -> None:
        known = self._days.get((day, class_))
        if known is None:
            known = self._days[day, class_] = [0] * 7
        for n, amount in enumerate(amounts):
            known[n] += sign * amount

    def tally_of(self, session: int) -> tally.Tally:
        """A session's usage; within a step after flush() has written the lines."""
        known = self._tallies.get(session)
        if known is None:
            known = self._tallies[session] = {}
            for words in self.lines(session):
                tally.add(known, words, int(words[CLASS] not in self._synthetic))
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
