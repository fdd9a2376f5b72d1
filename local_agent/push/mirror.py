"""What the relay acknowledged, kept beside the truth, so that what must be sent is simply the difference.

There is no outbox: an outbox cannot refill a relay that lost everything. The mirror holds one hash for each record
that the relay has, the place where we stand (lease, number, digest), and the batches that are on their way, at most four:
after a crash they may or may not have arrived, and the relay's next answer tells.

It lives in the archive's file. Losing it costs one snapshot, never data.
"""
from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from ledger.record import EMPTY_DIGEST, MODULUS, Ref, from_hex, to_hex
from local_agent.push.batch import Batch, Change, Place

MOST_IN_FLIGHT = 4
HASHES_KEPT = 1024

SCHEMA = """
CREATE TABLE IF NOT EXISTS mirror_place(one INTEGER PRIMARY KEY CHECK(one = 1), lease TEXT, seq INTEGER NOT NULL, digest TEXT NOT NULL, committed INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS mirror_rows(kind TEXT NOT NULL, id TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mirror_flights(n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, after TEXT NOT NULL, commits INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS mirror_flight_rows(n INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, hash BLOB, PRIMARY KEY(n, kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mirror_stubs(kind TEXT NOT NULL, id TEXT NOT NULL, hash BLOB NOT NULL, code TEXT NOT NULL, held INTEGER NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mirror_aged(kind TEXT NOT NULL, id TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mirror_days(id TEXT PRIMARY KEY, hash BLOB NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mirror_notes(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

OURS = "t.tenant = :tenant AND t.source = :source AND t.lease = (SELECT lease FROM ledger_heads h WHERE h.tenant = :tenant AND h.source = :source)"
IN_MIRROR = "EXISTS (SELECT 1 FROM mirror_rows m WHERE m.kind = {kind} AND m.id = t.id AND m.hash = {hash})"
SET_ASIDE = "EXISTS (SELECT 1 FROM mirror_stubs s WHERE s.kind = {kind} AND s.id = t.id AND s.hash = {hash} AND s.held)"

AS_IT_LEAVES = "CASE WHEN t.kind IN ({kinds}) THEN leaves_as(t.kind, t.id, t.body, t.hash) ELSE t.hash END"
"""The hash of what a row is on its way out: names may have to stay here."""

TO_PUT = f"""
SELECT t.kind, t.id, t.hash, t.body, t.seq, t.rowid FROM ledger_rows t
WHERE {OURS} AND t.seq >= :seq AND (t.seq, t.rowid) >= (:seq, :row) AND t.code IS NULL
  AND NOT {IN_MIRROR.format(kind="t.kind", hash="%(hash)s")} AND NOT {SET_ASIDE.format(kind="t.kind", hash="%(hash)s")}
  AND NOT EXISTS (SELECT 1 FROM mirror_aged a WHERE a.kind = t.kind AND a.id = t.id)
ORDER BY t.seq, t.rowid LIMIT :most
"""
"""What the archive has and the relay has not, from a place on: rows before it were found in order before."""

DAYS_TO_PUT = f"""
SELECT 'day', t.id, t.hash, t.body FROM mirror_days t
WHERE NOT {IN_MIRROR.format(kind="'day'", hash="t.hash")} AND NOT {SET_ASIDE.format(kind="'day'", hash="t.hash")} LIMIT :most
"""

IN_TRUTH = """(EXISTS (SELECT 1 FROM mirror_days d WHERE m.kind = 'day' AND d.id = m.id)
  OR EXISTS (SELECT 1 FROM ledger_rows t WHERE t.tenant = :tenant AND t.source = :source AND t.kind = m.kind AND t.id = m.id AND t.code IS NULL
             AND NOT EXISTS (SELECT 1 FROM mirror_aged a WHERE a.kind = m.kind AND a.id = m.id)))"""
TO_DELETE = f"SELECT m.kind, m.id, m.hash FROM mirror_rows m WHERE NOT {IN_TRUTH} LIMIT :most"
"""A record that is set aside as too large stays in the truth, so what the relay has of it is left alone."""

FORGET_STUBS = f"DELETE FROM mirror_stubs AS m WHERE NOT {IN_TRUTH}"

DELETED_SINCE = f"""
SELECT m.kind, m.id, m.hash FROM mirror_rows m
WHERE (m.kind, m.id) IN (SELECT t.kind, t.id FROM ledger_tombstones t WHERE {OURS} AND t.seq > :seq) AND NOT {IN_TRUTH} LIMIT :most
"""


class Database(Protocol):
    """The part of the archive's store that is used here."""

    def connection(self) -> sqlite3.Connection: ...

    def transaction(self, *, synchronous: str | None = None) -> AbstractContextManager[sqlite3.Connection]: ...


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch that was sent and not answered for certain."""

    n: int
    seq: int
    after: int
    commits: bool


@dataclass(frozen=True, slots=True)
class Stub:
    """A record the relay does not show, and why. *held*: we do not send it until it changes."""

    ref: Ref
    code: str
    held: bool


class Leaving(Protocol):
    """What becomes of records on their way to the relay."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that may not leave as they are."""
        ...

    def outward(self, kind: str, id: str, body: str, hash: int) -> tuple[str, int]: ...


class Mirror:
    """*leaving* makes of a row what may leave; hashes here are always of that, so another rule is just another difference."""

    def __init__(self, database: Database, *, tenant: str, source: str, leaving: Leaving | None = None) -> None:
        self._database, self._leaving = database, leaving
        self._truth = {"tenant": tenant, "source": source}
        kinds = ", ".join(f"'{kind}'" for kind in leaving.kinds) if leaving else ""
        self._to_put_sql = TO_PUT % {"hash": AS_IT_LEAVES.format(kinds=kinds) if kinds else "t.hash"}
        self._hash_of_leaving = lru_cache(maxsize=HASHES_KEPT)(self._leaves_as)
        self.look_again()
        self.prepare()

    def look_again(self) -> None:
        """Compare everything at the next difference, not only what changed since the last one."""
        self._place = (0, 0)
        """Rows before this (seq, rowid) were found equal; later changes always come behind it."""
        self._heard_of: int | None = None
        """Deletions up to this seq are dealt with; None: compare all."""
        self._days_differ = True

    def prepare(self) -> None:
        """Make the tables where they are missing: in a new archive, or in one that was swapped under us."""
        if self._sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'mirror_notes'").fetchone():
            return
        self.look_again()
        with self._database.transaction() as sql:
            for statement in SCHEMA.split(";"):
                sql.execute(statement)

    @property
    def _sql(self) -> sqlite3.Connection:
        return self._database.connection()

    def place(self) -> Place:
        row = self._sql.execute("SELECT lease, seq, digest, committed FROM mirror_place").fetchone()
        return Place(row[0], row[1], from_hex(row[2]), bool(row[3])) if row else Place()

    def flights(self) -> list[Flight]:
        rows = self._sql.execute("SELECT n, seq, after, commits FROM mirror_flights ORDER BY n")
        return [Flight(n, seq, from_hex(after), bool(commits)) for n, seq, after, commits in rows]

    def difference(self, most: int) -> list[Change]:
        """Up to *most* changes that make the relay's copy the truth; deletions come last. Fewer means that is all."""
        # Others write meanwhile: what is put below may be deleted before deletions are looked for, and must count as not looked at then.
        began = self._last()
        found = self._to_put(most)
        if len(found) < most and self._days_differ:
            days = self._sql.execute(DAYS_TO_PUT, {"most": most - len(found)}).fetchall()
            found += [Change(Ref(kind, id), as_hash(hash), body) for kind, id, hash, body in days]
            self._days_differ = bool(days)
        return found + self._to_delete(most - len(found), {change.ref for change in found}, began) if len(found) < most else found

    def _last(self) -> int:
        """The number of the newest change of the truth."""
        return self._sql.execute("SELECT max(seq) FROM ledger_heads WHERE tenant = :tenant AND source = :source", self._truth).fetchone()[0] or 0

    def _to_put(self, most: int) -> list[Change]:
        last = self._last()
        if last < self._place[0]:
            self.look_again()  # the archive went back in time
        seq, row = self._place
        rows = self._ready().execute(self._to_put_sql, {**self._truth, "seq": seq, "row": row, "most": most}).fetchall()
        # Whatever was passed over is equal, and a change to it would get a later number.
        self._place = (rows[0][4], rows[0][5]) if rows else (max(seq, last), row if last <= seq else 0)
        return [self._change(*row[:4]) for row in rows]

    def _ready(self) -> sqlite3.Connection:
        """The connection with the rule for what leaves; connections come and go, so it is told each time."""
        sql = self._sql
        if self._leaving:
            sql.create_function("leaves_as", 4, self._hash_of_leaving, deterministic=True)
        return sql

    def _leaves_as(self, kind: str, id: str, body: str, hash: bytes) -> bytes:
        assert self._leaving
        return as_blob(self._leaving.outward(kind, id, body, as_hash(hash))[1])

    def _change(self, kind: str, id: str, hash: bytes, body: str) -> Change:
        told, number = self._leaving.outward(kind, id, body, as_hash(hash)) if self._leaving else (body, as_hash(hash))
        return Change(Ref(kind, id), number, told)

    def _to_delete(self, most: int, put: Set[Ref], seq: int) -> list[Change]:
        """Deletions but for records that are put at once; with none, all up to *seq* are dealt with."""
        purged = self._sql.execute("SELECT max(purged_seq) FROM ledger_heads WHERE tenant = :tenant AND source = :source", self._truth).fetchone()[0] or 0
        known = self._heard_of if self._heard_of is not None and purged <= self._heard_of else None
        query = TO_DELETE if known is None else DELETED_SINCE
        rows = self._sql.execute(query, {**self._truth, "seq": known or 0, "most": most}).fetchall()
        if not rows:
            self._heard_of = seq
        return [Change(Ref(kind, id), as_hash(hash), None) for kind, id, hash in rows if Ref(kind, id) not in put]

    def acknowledged(self, refs: Sequence[Ref]) -> dict[Ref, int]:
        """The hashes that the relay has of those *refs*."""
        found = {}
        for ref in refs:
            row = self._sql.execute("SELECT hash FROM mirror_rows WHERE kind = ? AND id = ?", (ref.kind, ref.id)).fetchone()
            if row:
                found[ref] = as_hash(row[0])
        return found

    def launch(self, batch: Batch) -> None:
        """Save the batch before it is sent, through to the disk, and with it everything that was read before it."""
        with self._database.transaction(synchronous="FULL") as sql:
            n = sql.execute("SELECT coalesce(max(n), 0) + 1 FROM mirror_flights").fetchone()[0]
            sql.execute("INSERT INTO mirror_flights VALUES(?, ?, ?, ?)", (n, batch.seq, to_hex(batch.after), batch.commit))
            sql.executemany(
                "INSERT INTO mirror_flight_rows VALUES(?, ?, ?, ?)",
                [(n, c.ref.kind, c.ref.id, as_blob(c.hash) if c.body is not None else None) for c in batch.changes],
            )

    def land(self, seq: int, after: str, committed: bool) -> bool:
        """The relay says it stands at (*seq*, *after*): if a batch of ours leads there it becomes the mirror."""
        with self._database.transaction() as sql:
            row = sql.execute("SELECT n FROM mirror_flights WHERE seq = ? AND after = ? ORDER BY n DESC", (seq, after)).fetchone()
            if row is None:
                return False
            landed = {"n": row[0]}
            sql.execute("INSERT OR REPLACE INTO mirror_rows SELECT kind, id, hash FROM mirror_flight_rows WHERE n = :n AND hash IS NOT NULL", landed)
            sql.execute(
                "DELETE FROM mirror_rows WHERE (kind, id) IN (SELECT kind, id FROM mirror_flight_rows WHERE n = :n AND hash IS NULL)", landed
            )
            sql.execute("UPDATE mirror_place SET seq = ?, digest = ?, committed = ?", (seq, after, committed))
            _drop_flights(sql)
            sql.execute(FORGET_STUBS, self._truth)
            return True

    def set_committed(self, committed: bool) -> None:
        """The relay's word on whether it shows this copy."""
        with self._database.transaction() as sql:
            sql.execute("UPDATE mirror_place SET committed = ?", (committed,))

    def drop_flights(self) -> None:
        """The relay refused them for good: the same bytes can never be taken."""
        with self._database.transaction() as sql:
            _drop_flights(sql)

    def begin(self, lease: str | None) -> None:
        """Forget what the relay was believed to have; *lease* is the new one, or None to ask for one."""
        with self._database.transaction() as sql:
            _drop_flights(sql)
            sql.execute("DELETE FROM mirror_rows")
            sql.execute("DELETE FROM mirror_stubs WHERE NOT held")
            sql.execute("INSERT OR REPLACE INTO mirror_place VALUES(1, ?, 0, ?, 0)", (lease, to_hex(EMPTY_DIGEST)))
        self.look_again()

    def set_aside(self, change: Change, code: str) -> None:
        """Do not send this state of this record again, and say why."""
        self._stub([(change.ref, change.hash)], code, held=True)

    def note_refused(self, stubs: Mapping[Ref, str], batch: Batch) -> None:
        """The relay keeps only the hash of these; what it took without complaint is no stub any more."""
        taken = {change.ref: change.hash for change in batch.changes}
        with self._database.transaction() as sql:
            sql.executemany("DELETE FROM mirror_stubs WHERE kind = ? AND id = ?", [(ref.kind, ref.id) for ref in taken])
        for ref, code in stubs.items():
            if ref in taken:
                self._stub([(ref, taken[ref])], code, held=False)

    def _stub(self, found: Sequence[tuple[Ref, int]], code: str, *, held: bool) -> None:
        rows = [(ref.kind, ref.id, as_blob(hash), code[:64], held) for ref, hash in found]
        with self._database.transaction() as sql:
            sql.executemany("INSERT OR REPLACE INTO mirror_stubs VALUES(?, ?, ?, ?, ?)", rows)

    def stubs(self) -> list[Stub]:
        rows = self._sql.execute("SELECT kind, id, code, held FROM mirror_stubs ORDER BY kind, id")
        return [Stub(Ref(kind, id), code, bool(held)) for kind, id, code, held in rows]

    def check(self) -> bool:
        """Whether the digest is the sum over the rows, as it must be."""
        total = sum(as_hash(hash) for (hash,) in self._sql.execute("SELECT hash FROM mirror_rows"))
        return total % MODULUS == self.place().digest

    def note(self, **values: object) -> None:
        """Remember small things for status: when it last worked, what the relay said of itself."""
        with self._database.transaction() as sql:
            sql.executemany("INSERT OR REPLACE INTO mirror_notes VALUES(?, ?)", [(name, str(value)) for name, value in values.items()])

    def notes(self) -> dict[str, str]:
        return dict(self._sql.execute("SELECT name, value FROM mirror_notes"))


def _drop_flights(sql: sqlite3.Connection) -> None:
    sql.execute("DELETE FROM mirror_flight_rows")
    sql.execute("DELETE FROM mirror_flights")


def as_hash(blob: bytes) -> int:
    return int.from_bytes(blob, "big")


def as_blob(hash: int) -> bytes:
    return hash.to_bytes(32, "big")
