"""The ledger in one SQLite file: the relay's on a host of its own, and the agent's archive.

What apply() returned from is on the disk. Threads that push at the same time share one transaction, and so one
wait for the disk: whoever holds the write lock commits for all who queue behind. Readers never wait for writers.
"""
from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock, RLock
from typing import TYPE_CHECKING

from ledger.errors import Conflict
from ledger.record import Ref, to_hex
from ledger.store import TOMBSTONE_MS, Document, Head, Row, Tombstone
from ledger.stores import sqlite_shelf as shelf
from ledger.stores.sqlite_file import File, plain_errors

if TYPE_CHECKING:
    from pathlib import Path

SWEPT_AT_ONCE = 500
WORTH_SETTLING = 200
"""Rows; see settle()."""

_HEAD = "source, lease, seq, digest, committed, pending_lease, last_timestamp, last_seen, beat_s, agent, purged_seq"
_ROW = "r.kind, r.id, r.body, r.hash, r.lease, r.seq, r.code"
_VISIBLE = (
    "FROM ledger_rows r LEFT JOIN ledger_heads h ON h.tenant = r.tenant AND h.source = r.source"
    " WHERE r.tenant = ? AND r.source = ? AND (h.committed IS NOT 1 OR r.lease = h.lease)"
)
_PUT = (
    "INSERT INTO ledger_rows(tenant, source, kind, id, body, hash, lease, seq, code) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT(tenant, source, kind, id) DO UPDATE SET body = excluded.body, hash = excluded.hash, lease = excluded.lease,"
    " seq = excluded.seq, code = excluded.code"
)
_BURY = "INSERT OR REPLACE INTO ledger_tombstones(tenant, source, kind, id, lease, seq, at) VALUES(?, ?, ?, ?, ?, ?, ?)"
_REF = "tenant = ? AND source = ? AND kind = ? AND id = ?"


class _Change:
    """One call of apply() on its way through the queue."""

    def __init__(self, tenant: str, before: Head | None, after: Head, puts: Sequence[Row], gone: Sequence[Tombstone]) -> None:
        self.tenant, self.before, self.after, self.puts, self.gone = tenant, before, after, puts, gone
        self.done = False
        self.error: Exception | None = None


class SqliteStore:
    """*path* is made if it is not there. *synchronous* NORMAL loses the last moments in a power cut, never more."""

    durable = True

    def __init__(self, path: str | Path, *, synchronous: str = "FULL") -> None:
        self._file = File(path, synchronous)
        self._pen = RLock()
        self._queue: list[_Change] = []
        self._queue_lock = Lock()
        self._unsettled = 0
        """About how many rows were written since settle()."""
        self._file.prepare()

    @property
    def path(self) -> Path:
        from pathlib import Path

        return Path(self._file.path)

    def close(self) -> None:
        with self._pen:
            self._file.close()

    @property
    def in_memory(self) -> bool:
        """Whether it lives in memory for now, because the disk takes nothing more."""
        return self._file.in_memory

    def take_refuge(self) -> bool:
        """Go on in memory; False where that cannot be (too large, or not even readable)."""
        with self._pen:
            return self._file.take_refuge()

    def come_home(self) -> None:
        """Back to the file with everything; raises Full while there still is no room."""
        with self._pen, plain_errors(self._file):
            self._file.come_home()

    def connection(self) -> sqlite3.Connection:
        """This thread's connection, for tables that live beside the store's own (theirs begin with ledger_)."""
        return self._file.connection()

    @contextmanager
    def transaction(self, *, synchronous: str | None = None) -> Iterator[sqlite3.Connection]:
        """Everything within, apply() too, is committed together or not at all. *synchronous* holds for this one
        transaction. A transaction within a transaction of the same thread is part of the outer one."""
        with self._pen, plain_errors(self._file):
            sql = self._file.connection()
            if sql.in_transaction:
                yield sql
                return
            with self._file.synchronous_for(sql, synchronous), _one_transaction(sql):
                yield sql

    def apply(self, tenant: str, before: Head | None, after: Head, puts: Sequence[Row] = (), gone: Sequence[Tombstone] = ()) -> None:
        change = _Change(tenant, before, after, puts, gone)
        if self._file.in_transaction():
            with self.transaction() as sql:
                _write(sql, change)
            return
        with self._queue_lock:
            self._queue.append(change)
        with self._pen:
            if not change.done:
                self._write_all()
        if change.error:
            raise change.error

    def _write_all(self) -> None:
        """Write for everybody who queues, in one transaction."""
        with self._queue_lock:
            changes, self._queue = self._queue, []
        try:
            self._commit(changes)
        except Exception as error:
            # One bad change must not spoil the others': each alone, if there were several.
            for change in changes:
                self._write_alone(change, error if len(changes) == 1 else None)
        for change in changes:
            change.done = True

    def _write_alone(self, change: _Change, error: Exception | None) -> None:
        try:
            if error:
                raise error
            self._commit([change])
        except Exception as reason:
            change.error = reason

    def _commit(self, changes: Sequence[_Change]) -> None:
        for change in changes:
            change.error = None
        with plain_errors(self._file), _one_transaction(self._file.writer()) as sql:
            for change in changes:
                try:
                    _write(sql, change)
                    self._unsettled += 1 + len(change.puts)
                except Conflict as conflict:  # seen before anything was written
                    change.error = conflict

    # -- reading

    @contextmanager
    def _glance(self) -> Iterator[sqlite3.Connection]:
        """For a short look before a write. Nobody writing, it is had by the writer's connection, which remembers what it wrote: any other
        one reads the file's pages anew after each change."""
        is_free = not self._file.in_transaction() and self._pen.acquire(blocking=False)
        try:
            with plain_errors(self._file):
                yield self._file.writer() if is_free else self._file.connection()
        finally:
            if is_free:
                self._pen.release()

    def head(self, tenant: str, source: str) -> Head | None:
        with self._glance() as sql:
            return _head(sql, tenant, source)

    def heads(self, tenant: str) -> list[Head]:
        return [_as_head(row) for row in self._all(f"SELECT {_HEAD} FROM ledger_heads WHERE tenant = ? ORDER BY source", tenant)]

    def tenants(self) -> list[str]:
        return [str(name) for (name,) in self._all("SELECT DISTINCT tenant FROM ledger_heads ORDER BY tenant")]

    def hashes(self, tenant: str, source: str, lease: str, refs: Sequence[Ref]) -> dict[Ref, int]:
        found: dict[Ref, int] = {}
        with self._glance() as sql:
            for kind in {ref.kind for ref in refs}:
                ids = [ref.id for ref in refs if ref.kind == kind]
                query = f"SELECT id, hash FROM ledger_rows WHERE tenant = ? AND source = ? AND kind = ? AND lease = ? AND id IN ({','.join('?' * len(ids))})"
                found |= {Ref(kind, id): int.from_bytes(hash, "big") for id, hash in sql.execute(query, (tenant, source, kind, lease, *ids))}
        return found

    def changes(self, tenant: str, source: str, lease: str, after: int) -> tuple[list[Row], list[Tombstone]]:
        newer = "WHERE r.tenant = ? AND r.source = ? AND r.lease = ? AND r.seq > ? ORDER BY r.seq, r.kind, r.id"
        place = (tenant, source, lease, after)
        with plain_errors(self._file), _one_snapshot(self._file.connection()) as sql:
            rows = sql.execute(f"SELECT {_ROW} FROM ledger_rows r {newer}", place).fetchall()
            stones = sql.execute(f"SELECT r.kind, r.id, r.lease, r.seq, r.at FROM ledger_tombstones r {newer}", place).fetchall()
        return [_as_row(row) for row in rows], [Tombstone(Ref(kind, id), *rest) for kind, id, *rest in stones]

    def rows(self, tenant: str, source: str, *, kind: str | None = None) -> Iterator[Row]:
        only = "" if kind is None else " AND r.kind = ?"
        found = self._all(f"SELECT {_ROW} {_VISIBLE}{only} ORDER BY r.kind, r.id", tenant, source, *([kind] if kind is not None else []))
        return map(_as_row, found)

    def get(self, tenant: str, source: str, ref: Ref) -> Row | None:
        found = self._all(f"SELECT {_ROW} {_VISIBLE} AND r.kind = ? AND r.id = ?", tenant, source, ref.kind, ref.id)
        return _as_row(found[0]) if found else None

    def _all(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with plain_errors(self._file):
            return self._file.connection().execute(query, values).fetchall()

    # -- upkeep

    def sweep(self, tenant: str, source: str, *, now: int) -> int:
        with self.transaction() as sql:
            head = _head(sql, tenant, source)
            if head is None:
                return 0
            rows = _sweep_rows(sql, tenant, head) if head.committed else 0
            return rows + _sweep_tombstones(sql, tenant, head, now)

    def forget(self, tenant: str, source: str) -> int:
        with self.transaction() as sql:
            for table in ("ledger_heads", "ledger_tombstones"):
                sql.execute(f"DELETE FROM {table} WHERE tenant = ? AND source = ?", (tenant, source))
            return sql.execute("DELETE FROM ledger_rows WHERE tenant = ? AND source = ?", (tenant, source)).rowcount

    def scour(self) -> bool:
        """Leave no trace of what was removed: in the file, in its free pages, in its log. False: somebody is reading, so the log
        is emptied a little later."""
        with self._pen, plain_errors(self._file):
            sql = self._file.connection()
            sql.execute("PRAGMA secure_delete = ON")
            sql.execute("VACUUM")
            return bool(sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)

    def settle(self) -> None:
        """Carry what was written from the log to its place in the file, if it is much, while others write on: where nobody calls this, one
        of them has to do it in the end, and all wait for him."""
        if self._unsettled < WORTH_SETTLING:
            return
        self._unsettled = 0
        with plain_errors(self._file):
            self._file.connection().execute("PRAGMA wal_checkpoint(PASSIVE)")

    # -- the shelf

    def take(self, drawer: str, name: str, *, now: int) -> Document | None:
        with plain_errors(self._file):
            return shelf.take(self._file.connection(), drawer, name, now)

    def put(self, drawer: str, name: str, value: Mapping[str, object], *, now: int, expect: int | None = None, expires: int | None = None) -> int:
        with self.transaction() as sql:
            return shelf.put(sql, drawer, name, value, now, expect, expires)

    def drop(self, drawer: str, name: str, *, expect: int | None = None) -> bool:
        with self.transaction() as sql:
            return shelf.drop(sql, drawer, name, expect)

    def list(self, drawer: str, prefix: str = "", *, now: int) -> Iterator[tuple[str, Document]]:
        with plain_errors(self._file):
            return iter(shelf.find(self._file.connection(), drawer, prefix, now))


@contextmanager
def _one_transaction(sql: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        sql.execute("BEGIN IMMEDIATE")  # may fail when it has begun already
        yield sql
        sql.execute("COMMIT")
    except BaseException:
        if sql.in_transaction:  # after a full disk SQLite may have rolled back by itself
            sql.execute("ROLLBACK")
        raise


@contextmanager
def _one_snapshot(sql: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    if sql.in_transaction:
        yield sql
        return
    sql.execute("BEGIN")
    try:
        yield sql
    finally:
        sql.execute("COMMIT")


def _write(sql: sqlite3.Connection, change: _Change) -> None:
    tenant, source = change.tenant, change.after.source
    if _head(sql, tenant, source) != change.before:
        raise Conflict("the head moved on since it was read: read it again")
    head = change.after
    sql.execute(
        f"INSERT OR REPLACE INTO ledger_heads(tenant, {_HEAD}) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (tenant, source, head.lease, head.seq, to_hex(head.digest), int(head.committed), head.pending_lease,
         head.last_timestamp, head.last_seen, head.beat_s, head.agent, head.purged_seq),
    )  # fmt: skip
    if change.gone:
        refs = [(tenant, source, stone.ref.kind, stone.ref.id) for stone in change.gone]
        sql.executemany(f"DELETE FROM ledger_rows WHERE {_REF}", refs)
        sql.executemany(_BURY, [(*ref, stone.lease, stone.seq, stone.at) for ref, stone in zip(refs, change.gone, strict=True)])
    if change.puts:
        if sql.execute("SELECT 1 FROM ledger_tombstones WHERE tenant = ? AND source = ? LIMIT 1", (tenant, source)).fetchone():
            sql.executemany(f"DELETE FROM ledger_tombstones WHERE {_REF}", [(tenant, source, row.ref.kind, row.ref.id) for row in change.puts])
        sql.executemany(_PUT, [
            (tenant, source, row.ref.kind, row.ref.id, row.body, row.hash.to_bytes(32, "big"), row.lease, row.seq, row.code)
            for row in change.puts
        ])  # fmt: skip


def _sweep_rows(sql: sqlite3.Connection, tenant: str, head: Head) -> int:
    found = "SELECT rowid FROM ledger_rows WHERE tenant = ? AND source = ? AND lease <> ? LIMIT ?"
    return sql.execute(f"DELETE FROM ledger_rows WHERE rowid IN ({found})", (tenant, head.source, head.lease, SWEPT_AT_ONCE)).rowcount


def _sweep_tombstones(sql: sqlite3.Connection, tenant: str, head: Head, now: int) -> int:
    over = "tenant = ? AND source = ? AND (at <= ? OR (? AND lease <> ?))"
    old = sql.execute(f"SELECT rowid, lease, seq FROM ledger_tombstones WHERE {over} LIMIT ?",
                      (tenant, head.source, now - TOMBSTONE_MS, head.committed, head.lease, SWEPT_AT_ONCE)).fetchall()  # fmt: skip
    sql.executemany("DELETE FROM ledger_tombstones WHERE rowid = ?", [(rowid,) for rowid, _, _ in old])
    purged = max((seq for _, lease, seq in old if lease == head.lease), default=0)
    sql.execute("UPDATE ledger_heads SET purged_seq = max(purged_seq, ?) WHERE tenant = ? AND source = ?", (purged, tenant, head.source))
    return len(old)


def _head(sql: sqlite3.Connection, tenant: str, source: str) -> Head | None:
    row = sql.execute(f"SELECT {_HEAD} FROM ledger_heads WHERE tenant = ? AND source = ?", (tenant, source)).fetchone()
    return _as_head(row) if row else None


def _as_head(row: tuple) -> Head:  # type: ignore[type-arg]
    source, lease, seq, digest, committed, *rest = row
    return Head(source, lease, seq, int(digest, 16), bool(committed), *rest)


def _as_row(row: tuple) -> Row:  # type: ignore[type-arg]
    kind, id, body, hash, lease, seq, code = row
    return Row(Ref(kind, id), body, int.from_bytes(hash, "big"), lease, seq, code)


