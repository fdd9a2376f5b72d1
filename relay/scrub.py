"""Does a source's digest still say what its rows are? Disks forget and people restore halves of backups.

A copy that does not add up is not mended here: its head is forgotten, so that the next beat is refused and the
agent, which has the truth, sends everything again. What is visible stays visible meanwhile, except rows that
are not what was sent.
"""
from __future__ import annotations

from dataclasses import replace

from ledger.errors import Conflict
from ledger.record import MODULUS, hash_of
from ledger.store import AT_ONCE, Head, Row, Store, Tombstone


def scrub(store: Store, tenant: str, source: str, *, now: int) -> bool:
    """Whether the source is sound. False: it was not, and will be refilled. A source that is being written counts as sound."""
    head = store.head(tenant, source)
    if head is None or head.lease is None:
        return True
    rows = list(store.rows(tenant, source))
    altered = [row for row in rows if not _is_whole(row)]
    if not altered and sum(row.hash for row in rows if row.lease == head.lease) % MODULUS == head.digest:
        return True
    return not forget_head(store, tenant, head, altered, now)


def _is_whole(row: Row) -> bool:
    """Of a stub there is only the hash that was sent."""
    return row.code is not None or hash_of(row.ref.kind, row.ref.id, row.body) == row.hash


def forget_head(store: Store, tenant: str, head: Head, altered: list[Row], now: int) -> bool:
    """Have the source filled again by its agent; what is visible stays, but for *altered*. False: it is being written, look again."""
    while store.sweep(tenant, head.source, now=now):
        pass  # what a former lease left must not become visible again
    after = replace(head, lease=None, seq=0, digest=0, committed=False, pending_lease=None, purged_seq=0)
    gone = [Tombstone(row.ref, row.lease, row.seq, now) for row in altered[:AT_ONCE]]
    before = store.head(tenant, head.source)
    if before is None or replace(before, purged_seq=head.purged_seq) != head:
        return False
    try:
        store.apply(tenant, before, after, (), gone)
    except Conflict:
        return False  # somebody pushed meanwhile: look again next time
    return True
