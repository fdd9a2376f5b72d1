"""A store that forgets everything with the process: for tests, trials and relays that may be refilled."""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import RLock

from ledger.errors import Conflict
from ledger.record import Ref
from ledger.store import TOMBSTONE_MS, Document, Head, Row, Tombstone, document_text

SWEPT_AT_ONCE = 500


@dataclass
class _Source:
    head: Head | None = None
    rows: dict[Ref, Row] = field(default_factory=dict)
    tombstones: dict[Ref, Tombstone] = field(default_factory=dict)

    def visible(self, row: Row) -> bool:
        return self.head is None or not self.head.committed or row.lease == self.head.lease


class MemoryStore:
    durable = False

    def __init__(self) -> None:
        self._lock = RLock()
        self._sources: dict[tuple[str, str], _Source] = {}
        self._shelf: dict[str, dict[str, Document]] = {}

    def close(self) -> None:
        pass

    def head(self, tenant: str, source: str) -> Head | None:
        return self._source(tenant, source).head

    def heads(self, tenant: str) -> list[Head]:
        with self._lock:
            found = [kept.head for (owner, _), kept in self._sources.items() if owner == tenant and kept.head]
        return sorted(found, key=lambda head: head.source)

    def tenants(self) -> list[str]:
        with self._lock:
            return sorted({tenant for (tenant, _), kept in self._sources.items() if kept.head})

    def hashes(self, tenant: str, source: str, lease: str, refs: Sequence[Ref]) -> dict[Ref, int]:
        with self._lock:
            rows = self._source(tenant, source).rows
            return {ref: rows[ref].hash for ref in refs if ref in rows and rows[ref].lease == lease}

    def apply(self, tenant: str, before: Head | None, after: Head, puts: Sequence[Row] = (), gone: Sequence[Tombstone] = ()) -> None:
        with self._lock:
            kept = self._sources.setdefault((tenant, after.source), _Source())
            if kept.head != before:
                raise Conflict("the head moved on since it was read: read it again")
            kept.head = after
            for stone in gone:
                kept.rows.pop(stone.ref, None)
                kept.tombstones[stone.ref] = stone
            for row in puts:
                kept.tombstones.pop(row.ref, None)
                kept.rows[row.ref] = row

    def changes(self, tenant: str, source: str, lease: str, after: int) -> tuple[list[Row], list[Tombstone]]:
        with self._lock:
            kept = self._source(tenant, source)
            rows = [row for row in kept.rows.values() if row.lease == lease and row.seq > after]
            stones = [stone for stone in kept.tombstones.values() if stone.lease == lease and stone.seq > after]
        return sorted(rows, key=_seq), sorted(stones, key=_seq)

    def rows(self, tenant: str, source: str, *, kind: str | None = None) -> Iterator[Row]:
        with self._lock:
            kept = self._source(tenant, source)
            found = [row for row in kept.rows.values() if kept.visible(row) and kind in (None, row.ref.kind)]
        return iter(sorted(found, key=lambda row: row.ref))

    def get(self, tenant: str, source: str, ref: Ref) -> Row | None:
        with self._lock:
            kept = self._source(tenant, source)
            row = kept.rows.get(ref)
            return row if row and kept.visible(row) else None

    def sweep(self, tenant: str, source: str, *, now: int) -> int:
        with self._lock:
            kept = self._source(tenant, source)
            head = kept.head
            if head is None:
                return 0
            superseded = [row.ref for row in kept.rows.values() if not kept.visible(row)][:SWEPT_AT_ONCE]
            old = [stone for stone in kept.tombstones.values() if _is_over(stone, head, now)][:SWEPT_AT_ONCE]
            for ref in superseded:
                del kept.rows[ref]
            for stone in old:
                del kept.tombstones[stone.ref]
            purged = max((stone.seq for stone in old if stone.lease == head.lease), default=0)
            kept.head = replace(head, purged_seq=max(head.purged_seq, purged))
            return len(superseded) + len(old)

    def forget(self, tenant: str, source: str) -> int:
        with self._lock:
            return len(self._sources.pop((tenant, source), _Source()).rows)

    def _source(self, tenant: str, source: str) -> _Source:
        with self._lock:
            return self._sources.get((tenant, source)) or _Source()

    # -- the shelf

    def take(self, drawer: str, name: str, *, now: int) -> Document | None:
        with self._lock:
            return _unexpired(self._shelf.get(drawer, {}).get(name), now)

    def put(self, drawer: str, name: str, value: Mapping[str, object], *, now: int, expect: int | None = None, expires: int | None = None) -> int:
        text = document_text(drawer, value)
        with self._lock:
            version = getattr(self.take(drawer, name, now=now), "version", 0)
            if expect not in (None, version):
                raise Conflict(f"the document {drawer}/{name} moved on since it was read: read it again")
            # A copy by way of its text: nobody changes a kept document by changing what was handed in.
            self._shelf.setdefault(drawer, {})[name] = Document(json.loads(text), version + 1, expires)
            return version + 1

    def drop(self, drawer: str, name: str, *, expect: int | None = None) -> bool:
        with self._lock:
            kept = self._shelf.get(drawer, {})
            if name not in kept or expect not in (None, kept[name].version):
                return False
            del kept[name]
            return True

    def list(self, drawer: str, prefix: str = "", *, now: int) -> Iterator[tuple[str, Document]]:
        with self._lock:
            found = sorted(self._shelf.get(drawer, {}).items())
        return iter([(name, kept) for name, kept in found if name.startswith(prefix) and _unexpired(kept, now)])


def _seq(item: Row | Tombstone) -> int:
    return item.seq


def _is_over(stone: Tombstone, head: Head, now: int) -> bool:
    return stone.at <= now - TOMBSTONE_MS or (head.committed and stone.lease != head.lease)


def _unexpired(document: Document | None, now: int) -> Document | None:
    if document is None or (document.expires is not None and document.expires <= now):
        return None
    return document
