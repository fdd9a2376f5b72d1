"""The ledger in a PostgreSQL database: a company's own, Supabase's, Neon's.

A push is one transaction conditioned on the head: the update of the head compares every column with what was read,
and whoever comes second changes nothing.
"""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ledger.errors import Conflict
from ledger.record import Ref, to_hex
from ledger.store import TOMBSTONE_MS, Document, Head, Row, Tombstone, document_text
from ledger.stores.postgres_pool import Connection, Pool, plain_errors
from ledger.stores.postgres_schema import prepare

SWEPT_AT_ONCE = 500
EVERY_TENANT = "*"

_HEAD = "source, lease, seq, digest, committed, pending_lease, last_timestamp, last_seen, beat_s, agent, purged_seq"
_ROW = "r.kind, r.id, r.body, r.hash, r.lease, r.seq, r.code"
_VISIBLE = (
    "FROM session_relay.rows r LEFT JOIN session_relay.heads h ON h.tenant = r.tenant AND h.source = r.source"
    " WHERE r.tenant = %s AND r.source = %s AND (h.committed IS NOT TRUE OR r.lease = h.lease)"
)
_SCOPE = (
    "SELECT set_config('session_relay.tenant', %s, true), set_config('role', %s, true), "
    "set_config('statement_timeout', '15s', true), set_config('lock_timeout', '5s', true)"
)
_FIRST = f"INSERT INTO session_relay.heads(tenant, {_HEAD}) VALUES({', '.join(['%s'] * 12)}) ON CONFLICT DO NOTHING RETURNING 1"
_NEXT = (
    f"UPDATE session_relay.heads SET ({_HEAD}) = ({', '.join(['%s'] * 11)})"
    f" WHERE tenant = %s AND ({_HEAD}) IS NOT DISTINCT FROM (%s::text, %s::text, %s::bigint, %s::text, %s::boolean, %s::text,"
    " %s::bigint, %s::bigint, %s::bigint, %s::text, %s::bigint) RETURNING 1"
)
_REFS = "unnest(%s::text[], %s::text[]) AS x(kind, id)"
_IS_REF = "t.tenant = %s AND t.source = %s AND t.kind = x.kind AND t.id = x.id"
_BURY = (
    "INSERT INTO session_relay.tombstones(tenant, source, kind, id, lease, seq, at)"
    " SELECT %s, %s, * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[])"
    " ON CONFLICT(tenant, source, kind, id) DO UPDATE SET lease = excluded.lease, seq = excluded.seq, at = excluded.at"
)
_PUT = (
    "INSERT INTO session_relay.rows(tenant, source, kind, id, body, hash, lease, seq, code)"
    " SELECT %s, %s, * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[], %s::bigint[], %s::text[])"
    " ON CONFLICT(tenant, source, kind, id) DO UPDATE SET body = excluded.body, hash = excluded.hash, lease = excluded.lease,"
    " seq = excluded.seq, code = excluded.code"
)
_CHANGES = (
    f"SELECT {_ROW}, NULL::bigint AS at FROM session_relay.rows r WHERE r.tenant = %s AND r.source = %s AND r.lease = %s AND r.seq > %s"
    " UNION ALL SELECT t.kind, t.id, NULL, NULL, t.lease, t.seq, NULL, t.at FROM session_relay.tombstones t"
    " WHERE t.tenant = %s AND t.source = %s AND t.lease = %s AND t.seq > %s ORDER BY 6, 1, 2"
)


class PostgresStore:
    """*url* is a connection string; *size* is how many connections there may be at once."""

    durable = True

    def __init__(self, url: str, *, size: int = 8) -> None:
        self._pool = Pool(url, size)
        self._role = prepare(self._pool) or "none"

    def close(self) -> None:
        self._pool.close()

    @contextmanager
    def _as(self, tenant: str) -> Iterator[Connection]:
        """A transaction in which there is nobody but *tenant*."""
        with self._pool.transaction() as sql, sql.pipeline():
            sql.execute(_SCOPE, (tenant, self._role))
            yield sql

    def _all(self, tenant: str, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._as(tenant) as sql:
            return sql.execute(query.encode(), values).fetchall()

    # -- records

    def head(self, tenant: str, source: str) -> Head | None:
        found = self._all(tenant, f"SELECT {_HEAD} FROM session_relay.heads WHERE tenant = %s AND source = %s", tenant, source)
        return _as_head(found[0]) if found else None

    def heads(self, tenant: str) -> list[Head]:
        return [_as_head(row) for row in self._all(tenant, f"SELECT {_HEAD} FROM session_relay.heads WHERE tenant = %s ORDER BY source", tenant)]

    def tenants(self) -> list[str]:
        return [name for (name,) in self._all(EVERY_TENANT, "SELECT DISTINCT tenant FROM session_relay.heads ORDER BY tenant")]

    def hashes(self, tenant: str, source: str, lease: str, refs: Sequence[Ref]) -> dict[Ref, int]:
        query = f"SELECT t.kind, t.id, t.hash FROM session_relay.rows t, {_REFS} WHERE {_IS_REF} AND t.lease = %s"
        found = self._all(tenant, query, *_split(refs), tenant, source, lease)
        return {Ref(kind, id): int.from_bytes(hash, "big") for kind, id, hash in found}

    def apply(self, tenant: str, before: Head | None, after: Head, puts: Sequence[Row] = (), gone: Sequence[Tombstone] = ()) -> None:
        with self._as(tenant) as sql:
            if before is None:
                head = sql.execute(_FIRST, (tenant, *_columns(after)))
            else:
                head = sql.execute(_NEXT, (*_columns(after), tenant, *_columns(before)))
            _write(sql, tenant, after.source, puts, gone)
            # Everything was sent in one go; what the head said decides whether it counts.
            if head.fetchone() is None:
                raise Conflict("the head moved on since it was read: read it again")

    def changes(self, tenant: str, source: str, lease: str, after: int) -> tuple[list[Row], list[Tombstone]]:
        place = (tenant, source, lease, after)
        found = self._all(tenant, _CHANGES, *place, *place)
        rows = [_as_row(row[:7]) for row in found if row[7] is None]
        return rows, [Tombstone(Ref(row[0], row[1]), row[4], row[5], row[7]) for row in found if row[7] is not None]

    def rows(self, tenant: str, source: str, *, kind: str | None = None) -> Iterator[Row]:
        only = "" if kind is None else " AND r.kind = %s"
        values = (tenant, source) if kind is None else (tenant, source, kind)
        return map(_as_row, self._all(tenant, f"SELECT {_ROW} {_VISIBLE}{only} ORDER BY r.kind, r.id", *values))

    def get(self, tenant: str, source: str, ref: Ref) -> Row | None:
        found = self._all(tenant, f"SELECT {_ROW} {_VISIBLE} AND r.kind = %s AND r.id = %s", tenant, source, ref.kind, ref.id)
        return _as_row(found[0]) if found else None

    # -- upkeep

    def sweep(self, tenant: str, source: str, *, now: int) -> int:
        with self._as(tenant) as sql:
            query = f"SELECT {_HEAD} FROM session_relay.heads WHERE tenant = %s AND source = %s FOR UPDATE"
            found = sql.execute(query.encode(), (tenant, source)).fetchone()
            if found is None:
                return 0
            head = _as_head(found)
            rows = _sweep_rows(sql, tenant, head) if head.committed else 0
            return rows + _sweep_tombstones(sql, tenant, head, now)

    def forget(self, tenant: str, source: str) -> int:
        with self._as(tenant) as sql:
            for table in ("heads", "tombstones"):
                sql.execute(f"DELETE FROM session_relay.{table} WHERE tenant = %s AND source = %s".encode(), (tenant, source))
            return _count(sql, "DELETE FROM session_relay.rows WHERE tenant = %s AND source = %s", tenant, source)

    def scour(self) -> bool:
        """Leave nothing of what was removed in the tables. Their log and their backups are the database's own. False: this user may not."""
        with plain_errors(self._pool.place), self._pool.connection() as sql:
            sql.autocommit = True
            try:
                owns = sql.execute("SELECT bool_and(pg_get_userbyid(relowner) = current_user OR pg_has_role(relowner, 'MEMBER')) FROM pg_class"
                                   " WHERE relnamespace = 'session_relay'::regnamespace AND relkind = 'r'").fetchone()  # fmt: skip
                if not owns or not owns[0]:
                    return False
                for table in ("rows", "tombstones", "heads", "shelf"):
                    sql.execute(f"VACUUM (FULL) session_relay.{table}")
            finally:
                sql.autocommit = False
        return True

    # -- the shelf

    def take(self, drawer: str, name: str, *, now: int) -> Document | None:
        query = "SELECT value, version, expires FROM session_relay.shelf WHERE drawer = %s AND name = %s AND (expires IS NULL OR expires > %s)"
        found = self._all(EVERY_TENANT, query, drawer, name, now)
        return Document(json.loads(found[0][0]), *found[0][1:]) if found else None

    def put(self, drawer: str, name: str, value: Mapping[str, object], *, now: int, expect: int | None = None, expires: int | None = None) -> int:
        text = document_text(drawer, value)
        # What has expired counts as absent: its version starts again.
        query = (
            "INSERT INTO session_relay.shelf AS s(drawer, name, value, version, expires)"
            " SELECT %(drawer)s, %(name)s, %(value)s, 1, %(expires)s"
            " WHERE %(expect)s::bigint IS NULL OR %(expect)s::bigint = 0 OR EXISTS("
            "  SELECT 1 FROM session_relay.shelf WHERE drawer = %(drawer)s AND name = %(name)s)"
            " ON CONFLICT(drawer, name) DO UPDATE SET value = excluded.value, expires = excluded.expires,"
            "  version = CASE WHEN s.expires <= %(now)s THEN 1 ELSE s.version + 1 END"
            " WHERE %(expect)s::bigint IS NULL OR %(expect)s::bigint = CASE WHEN s.expires <= %(now)s THEN 0 ELSE s.version END"
            " RETURNING version"
        )
        values = {"drawer": drawer, "name": name, "value": text, "expires": expires, "expect": expect, "now": now}
        with self._as(EVERY_TENANT) as sql:
            found = sql.execute(query, values).fetchone()
        if found is None:
            raise Conflict(f"the document {drawer}/{name} moved on since it was read: read it again")
        return int(found[0])

    def drop(self, drawer: str, name: str, *, expect: int | None = None) -> bool:
        query = "DELETE FROM session_relay.shelf WHERE drawer = %s AND name = %s AND (%s::bigint IS NULL OR version = %s)"
        with self._as(EVERY_TENANT) as sql:
            return _count(sql, query, drawer, name, expect, expect) > 0

    def list(self, drawer: str, prefix: str = "", *, now: int) -> Iterator[tuple[str, Document]]:
        query = (
            "SELECT name, value, version, expires FROM session_relay.shelf WHERE drawer = %s AND name >= %s AND starts_with(name, %s)"
            " AND (expires IS NULL OR expires > %s) ORDER BY name"
        )
        found = self._all(EVERY_TENANT, query, drawer, prefix, prefix, now)
        return iter([(name, Document(json.loads(value), version, expires)) for name, value, version, expires in found])


def _write(sql: Connection, tenant: str, source: str, puts: Sequence[Row], gone: Sequence[Tombstone]) -> None:
    place = (tenant, source)
    if gone:
        refs = _split([stone.ref for stone in gone])
        sql.execute(f"DELETE FROM session_relay.rows t USING {_REFS} WHERE {_IS_REF}".encode(), (*refs, *place))
        sql.execute(_BURY, (*place, *refs, *map(list, zip(*((stone.lease, stone.seq, stone.at) for stone in gone), strict=True))))
    if puts:
        refs = _split([row.ref for row in puts])
        sql.execute(f"DELETE FROM session_relay.tombstones t USING {_REFS} WHERE {_IS_REF}".encode(), (*refs, *place))
        columns = zip(*((row.body, row.hash.to_bytes(32, "big"), row.lease, row.seq, row.code) for row in puts), strict=True)
        sql.execute(_PUT, (*place, *refs, *map(list, columns)))


def _sweep_rows(sql: Connection, tenant: str, head: Head) -> int:
    found = "SELECT kind, id FROM session_relay.rows WHERE tenant = %s AND source = %s AND lease <> %s LIMIT %s"
    query = f"DELETE FROM session_relay.rows t USING ({found}) x WHERE {_IS_REF} AND t.lease <> %s"
    return _count(sql, query, tenant, head.source, head.lease, SWEPT_AT_ONCE, tenant, head.source, head.lease)


def _sweep_tombstones(sql: Connection, tenant: str, head: Head, now: int) -> int:
    over = "tenant = %s AND source = %s AND (at <= %s OR (%s AND lease <> %s))"
    query = (
        f"DELETE FROM session_relay.tombstones t USING (SELECT kind, id FROM session_relay.tombstones WHERE {over} LIMIT %s) x"
        f" WHERE {_IS_REF} RETURNING t.lease, t.seq"
    )
    values = (tenant, head.source, now - TOMBSTONE_MS, head.committed, head.lease, SWEPT_AT_ONCE, tenant, head.source)
    old = sql.execute(query.encode(), values).fetchall()
    purged = max((seq for lease, seq in old if lease == head.lease), default=0)
    if purged > head.purged_seq:
        sql.execute("UPDATE session_relay.heads SET purged_seq = %s WHERE tenant = %s AND source = %s", (purged, tenant, head.source))
    return len(old)


def _count(sql: Connection, query: str, *values: object) -> int:
    """How many rows a deletion took."""
    return len(sql.execute(f"{query} RETURNING 1".encode(), values).fetchall())


def _split(refs: Sequence[Ref]) -> tuple[list[str], list[str]]:
    return [ref.kind for ref in refs], [ref.id for ref in refs]


def _columns(head: Head) -> tuple[object, ...]:
    return (head.source, head.lease, head.seq, to_hex(head.digest), head.committed, head.pending_lease, head.last_timestamp,
            head.last_seen, head.beat_s, head.agent, head.purged_seq)  # fmt: skip


def _as_head(row: tuple[Any, ...]) -> Head:
    source, lease, seq, digest, committed, *rest = row
    return Head(source, lease, seq, int(digest, 16), committed, *rest)


def _as_row(row: tuple[Any, ...]) -> Row:
    kind, id, body, hash, lease, seq, code = row
    return Row(Ref(kind, id), body, int.from_bytes(hash, "big"), lease, seq, code)
