"""The agent's own ledger: everything it ever derived, kept though its origin is deleted.

Tools delete their transcripts after a month; a record here stays until a person forgets it. Every
reading step is one transaction: the records, the reader's place in its files and the step's number
are committed together or not at all, so a kill at any moment costs a second reading and nothing else.
"""
from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ledger.errors import Busy, Full, LedgerError, Unusable
from ledger.record import MODULUS, Record, Ref
from ledger.store import AT_ONCE, Head, Row, Tombstone
from ledger.stores.sqlite import SqliteStore
from local_agent import forgotten, rescue
from local_agent.refuge import EnduringStore

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = "local"
"""The tenant under which a machine keeps its own records."""
USAGE = "usage"
RETRY_FULL_MS = 60_000
RENEWED = "models without paths"
"""The note of an archive that holds nothing as earlier versions held it: no model is called by a path."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS agent_notes(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS agent_forgotten(kind TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS agent_declared(tracker TEXT NOT NULL, key TEXT NOT NULL, conversation TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY(tracker, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS agent_declared_by_key ON agent_declared(key);
CREATE INDEX IF NOT EXISTS agent_declared_by_conversation ON agent_declared(conversation) WHERE conversation <> '';
CREATE TABLE IF NOT EXISTS agent_observed(key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS telemetry_sessions(key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID
"""
"""agent_declared: what trackers say of sessions. agent_observed holds only those sessions that a tracker declares, too: of
all others the record itself is what was observed. telemetry_sessions: what was told of sessions by telemetry, to add to."""


class Step:
    """One reading step under way. *sql* is the transaction's connection, for the reader's own tables.

    *fresh* may name sessions that cannot have a record yet, which spares looking for one.
    """

    def __init__(self, sql: sqlite3.Connection, source: str) -> None:
        self.sql, self.source = sql, source
        self.fresh: set[str] = set()
        self.puts: dict[Ref, Record] = {}
        self.gone: set[Ref] = set()

    def put(self, record: Record) -> None:
        """Keep this state of a record. One that a person forgot is not kept; one that did not change costs nothing."""
        self.puts[record.ref] = record
        self.gone.discard(record.ref)

    def get(self, ref: Ref) -> str | None:
        """The body of a record as this step would leave it."""
        if ref in self.puts:
            return self.puts[ref].body
        if ref in self.gone:
            return None
        query = "SELECT body FROM ledger_rows WHERE tenant = ? AND source = ? AND kind = ? AND id = ?"
        row = self.sql.execute(query, (LOCAL, self.source, ref.kind, ref.id)).fetchone()
        return row[0] if row else None

    def delete(self, ref: Ref) -> None:
        """Only for an explicit deletion by tool or person: a file that is gone deletes nothing."""
        self.gone.add(ref)
        self.puts.pop(ref, None)


class Archive:
    """Opens (or makes) the archive at *path*; one that is damaged is set aside and what can be read of it is kept.

    *disk* is "ok" or "full". The step that finds it full raises Full and is made again, in memory: the agent goes on
    reading and pushing there, and comes back to the file when there is room, which is tried each minute. An archive too large
    for memory raises Full until then; what was known stays readable, and nothing is lost: readers read again from where they were.
    *rescued* says how many records were saved from a damaged file, None if there was none.
    """

    def __init__(self, path: Path | str, *, source: str, clock: Callable[[], int]) -> None:
        self._path, self.source, self.clock = os.fspath(path), source, clock
        self.on_change: Callable[[], None] | None = None
        self.rescued: int | None = None
        self._full_until = 0
        self._turn = threading.RLock()
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        self.store = self._open()
        if self.note(RENEWED) is None:
            self._renew()

    @property
    def path(self) -> Path:
        from pathlib import Path

        return Path(self._path)

    @property
    def disk(self) -> str:
        return "full" if self._full_until or self.store.in_memory else "ok"

    # -- opening and closing ----------------------------------------------------------

    def _open(self) -> EnduringStore:
        if not rescue.is_sound(self._path):
            return self._rebuilt()
        try:
            return self._prepared(EnduringStore(self._path))
        except Unusable as error:
            if not rescue.is_damage(error):
                raise
            return self._rebuilt()

    def _rebuilt(self) -> EnduringStore:
        aside = rescue.set_aside(self.path, self.clock())
        store = self._prepared(EnduringStore(self._path))
        with store.transaction() as sql:
            records = rescue.salvage(aside, sql)
            sql.execute("DELETE FROM agent_notes WHERE name = ?", (RENEWED,))
        self.rescued = len(records)
        self._write(store, {record.ref: record for record in records}, set())
        return store

    def _prepared(self, store: EnduringStore) -> EnduringStore:
        try:
            return self._filled(store)
        except Full:
            return self._filled(store)  # the store is in memory now

    def _filled(self, store: EnduringStore) -> EnduringStore:
        with store.transaction() as sql:
            for statement in SCHEMA.split(";"):
                sql.execute(statement)
            sql.execute("INSERT OR REPLACE INTO agent_notes VALUES (?, '1')", (rescue.OPEN,))
        if store.head(LOCAL, self.source) is None:
            with store.transaction() as sql:
                sql.execute("INSERT OR REPLACE INTO agent_notes VALUES (?, '1')", (RENEWED,))
            first = Head(self.source, lease=os.urandom(16).hex(), committed=True, last_seen=self.clock())
            store.apply(LOCAL, None, first)
        return store

    def _renew(self) -> None:
        from local_agent.renewal import name_models_plainly

        with suppress(Full), self.step() as step:  # with the next start, then
            name_models_plainly(step)

    def alias_key(self) -> bytes:
        """Made once: an alias is the same as long as this archive lives."""
        sql = self.store.connection()
        if not sql.execute("SELECT 1 FROM agent_notes WHERE name = 'alias key'").fetchone():
            with self.store.transaction() as sql:
                sql.execute("INSERT OR IGNORE INTO agent_notes VALUES ('alias key', ?)", (os.urandom(32).hex(),))
        return bytes.fromhex(sql.execute("SELECT value FROM agent_notes WHERE name = 'alias key'").fetchone()[0])

    def note(self, name: str) -> str | None:
        """A short text that is kept beside the records."""
        row = self.store.connection().execute("SELECT value FROM agent_notes WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def mend(self) -> None:
        """Once a minute while the disk is full: back to the file, if there is room again."""
        with self._turn:
            if self.store.in_memory and self.clock() >= self._full_until:
                self._full_until = self.clock() + RETRY_FULL_MS
                self.store.come_home()
                self._full_until = 0

    def must_be_kept(self) -> None:
        """For what a person asked for: raises Full if it stands in memory only."""
        try:
            self.store.come_home()
        except Full:
            raise Full("the disk is full, so this was not kept: make room, then the same again") from None

    def close(self) -> None:
        """Leave the file marked as closed in order, so that the next start need not check it."""
        try:
            if self.store.in_memory:
                self.store.come_home()
            with self.store.transaction() as sql:
                sql.execute("DELETE FROM agent_notes WHERE name = ?", (rescue.OPEN,))
        except LedgerError:
            pass  # a check at the next start is all that this costs
        self.store.close()

    # -- writing ----------------------------------------------------------------------

    @contextmanager
    def step(self) -> Iterator[Step]:
        """One transaction. On leaving it the changed records get the next seq and *on_change* is called.

        Raises Full when it finds no room; then nothing of the step was kept.
        """
        with self._turn:
            if self.clock() < self._full_until and not self.store.in_memory:
                raise Full("the disk is full: make room, the agent tries again each minute")
            try:
                with self.store.transaction() as sql:
                    step = Step(sql, self.source)
                    yield step
                    changed = self._write(self.store, step.puts, step.gone)
            except Full:
                self._full_until = self.clock() + RETRY_FULL_MS
                raise
            if not self.store.in_memory:
                self._full_until = 0
        if changed and self.on_change is not None:
            self.on_change()

    def _write(self, store: SqliteStore, puts: dict[Ref, Record], gone: set[Ref]) -> int:
        """Apply what differs from what is there as one change set; how many records that was."""
        if not puts and not gone:
            return 0
        with store.transaction() as sql:
            head = store.head(LOCAL, self.source)
            assert head is not None and head.lease is not None
            unwanted = {Ref(kind, id) for kind, id in sql.execute("SELECT kind, id FROM agent_forgotten")}
            had = self._hashes(store, head.lease, [*puts, *gone])
            seq, now = head.seq + 1, self.clock()
            rows, digest = [], head.digest
            for ref, record in puts.items():
                hash = record.hash
                if had.get(ref) != hash and unwanted.isdisjoint((ref, _whole_of(ref))):
                    rows.append(Row(ref, record.body, hash, head.lease, seq))
                    digest += hash - had.get(ref, 0)
            tombstones = [Tombstone(ref, head.lease, seq, now) for ref in gone if ref in had]
            digest -= sum(had[stone.ref] for stone in tombstones)
            if rows or tombstones:
                after = replace(head, seq=seq, digest=digest % MODULUS, last_seen=max(now, head.last_seen))
                store.apply(LOCAL, head, after, rows, tombstones)
            return len(rows) + len(tombstones)

    def _hashes(self, store: SqliteStore, lease: str, refs: list[Ref]) -> dict[Ref, int]:
        found: dict[Ref, int] = {}
        for start in range(0, len(refs), AT_ONCE):
            found |= store.hashes(LOCAL, self.source, lease, refs[start : start + AT_ONCE])
        return found

    def beat(self, now: int) -> None:
        """Say that this machine is alive: its records are shown as fresh."""
        with self._turn, self.store.transaction():
            head = self.head()
            self.store.apply(LOCAL, head, replace(head, last_seen=max(now, head.last_seen)))

    def forget(self, ref: Ref) -> None:
        """A person's deletion, kept for ever: the record goes, with its older usage and whatever told of it, and never comes back."""
        self.store.connection().execute("PRAGMA secure_delete = ON")
        with self.step() as step:
            same = [Ref(ref.kind, name) for name in forgotten.names_of(step.sql, ref.id)] if ref.kind == "session" else [ref]
            for each in (*same, *self._continuations(ref)):
                step.sql.execute("INSERT OR REPLACE INTO agent_forgotten VALUES (?, ?, ?)", (each.kind, each.id, self.clock()))
                step.delete(each)
            for each in same:
                forgotten.drop(step.sql, each.id)
        with suppress(Busy, Full):  # what stands there now is overwritten: only what had stood there before needs this
            self.store.scour()

    def _continuations(self, ref: Ref) -> list[Ref]:
        if ref.kind != "session":
            return []
        return [row.ref for row in self.store.rows(LOCAL, self.source, kind=USAGE) if _whole_of(row.ref) == ref]

    # -- reading ----------------------------------------------------------------------

    def head(self) -> Head:
        head = self.store.head(LOCAL, self.source)
        assert head is not None
        return head

    def get(self, ref: Ref) -> str | None:
        """The body of one record."""
        row = self.store.get(LOCAL, self.source, ref)
        return row.body if row else None


def _whole_of(ref: Ref) -> Ref:
    """The session that older usage belongs to; any other record is whole by itself."""
    return Ref("session", ref.id.rpartition("/")[0]) if ref.kind == USAGE else ref
