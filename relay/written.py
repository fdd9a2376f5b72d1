"""Writing for a source whose truth is the relay itself: it mints the lease and counts the changes."""
from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ledger import record
from ledger.record import Record, Ref
from ledger.store import AT_ONCE, Head, Row, Store, Tombstone


def write(store: Store, tenant: str, source: str, head: Head | None, wanted: Sequence[Record], gone: set[Ref], now: int, beat_s: int) -> bool:
    """Apply what differs from what is there, in batches that every store takes at once; whether anything did. Raises Conflict."""
    lease = head.lease if head and head.lease else secrets.token_hex(16)
    at = replace(head or Head(source), lease=lease, committed=True, beat_s=beat_s, last_seen=now)
    known: dict[Ref, int] = {}
    for some in batches([*(one.ref for one in wanted), *gone]):
        known |= store.hashes(tenant, source, lease, some)
    changes: list[Record | Ref] = [one for one in wanted if known.get(one.ref) != one.hash]
    changes += [ref for ref in sorted(gone) if ref in known]
    before = head
    for batch in [*batches(changes)] or [[]]:  # without a change the head is written all the same: it was heard
        puts, dropped, at = _change_set(at, batch, known, now)
        store.apply(tenant, before, at, puts, dropped)
        before = at
    return bool(changes)


def _change_set(head: Head, batch: Sequence[Record | Ref], known: Mapping[Ref, int], now: int) -> tuple[list[Row], list[Tombstone], Head]:
    """The rows and deletions of one transaction, and the head after it."""
    lease, seq = head.lease or "", head.seq + 1 if batch else head.seq
    puts = [Row(one.ref, one.body, one.hash, lease, seq) for one in batch if isinstance(one, Record)]
    dropped = [Tombstone(ref, lease, seq, now) for ref in batch if isinstance(ref, Ref)]
    replaced = [known[ref] for ref in (*(row.ref for row in puts), *(stone.ref for stone in dropped)) if ref in known]
    return puts, dropped, replace(head, seq=seq, digest=record.add(head.digest, put=[row.hash for row in puts], gone=replaced))


def batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
