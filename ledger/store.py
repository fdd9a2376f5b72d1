"""The two ports: Store keeps records and their order, Shelf keeps small documents.

A store is a conditional writer: a change is applied whole, and only on the state it was computed
for. Whoever loses that race gets Conflict, reads again and decides again. The contract is
tests/ledger/test_store_contract.py and test_shelf_contract.py; every store runs them.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.errors import Full
from ledger.record import Ref

TOMBSTONE_MS = 24 * 3600 * 1000
"""How long a deletion is kept for the feed, in milliseconds."""
AT_ONCE = 90
"""Rows, deletions or refs that every store takes at once."""
LARGEST_DOCUMENT = 300 * 1024
"""Bytes of a document on the shelf, as JSON: with its names it fits an item of DynamoDB, the store with the least room."""
SILENT_BEATS = 2.5


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of one source. Times are milliseconds since 1970 UTC.

    *seq* and *digest* belong to *lease*; *committed* says that the rows of this lease are the whole
    truth. *pending_lease* was minted but not used yet. *last_timestamp* is the newest signed
    timestamp (seconds) that was believed. *agent* is the JSON text of the agent's own report.
    *purged_seq*: tombstones up to this seq are gone, so a cursor before it must start again.
    """

    source: str
    lease: str | None = None
    seq: int = 0
    digest: int = 0
    committed: bool = False
    pending_lease: str | None = None
    last_timestamp: int = 0
    last_seen: int = 0
    beat_s: int = 60
    agent: str = "{}"
    purged_seq: int = 0

    @property
    def silent_from(self) -> float:
        """When the source counts as silent, in milliseconds: it missed two beats, and half a beat went by."""
        return self.last_seen + SILENT_BEATS * self.beat_s * 1000


@dataclass(frozen=True, slots=True)
class Row:
    """A record as a store keeps it.

    *hash* is the hash of the record that was sent, also where only a stub of it is kept: then *code*
    says why and *body* is "". *seq* is the change set that wrote it, under *lease*.
    """

    ref: Ref
    body: str
    hash: int
    lease: str
    seq: int
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deletion that viewers must hear of; *at* in milliseconds."""

    ref: Ref
    lease: str
    seq: int
    at: int


class Store(Protocol):
    """Records and their order, by tenant and source. Safe to call from several threads."""

    durable: bool
    """False where a restart of the process forgets everything."""

    def head(self, tenant: str, source: str) -> Head | None:
        """The source's head, read strongly (a writer decides on it)."""
        ...

    def heads(self, tenant: str) -> list[Head]:
        """All heads of a tenant, ordered by source."""
        ...

    def tenants(self) -> list[str]:
        """All tenants that have a head, ordered."""
        ...

    def hashes(self, tenant: str, source: str, lease: str, refs: Sequence[Ref]) -> dict[Ref, int]:
        """The hashes of those *refs* that have a row of *lease*; at most AT_ONCE of them."""
        ...

    def apply(
        self, tenant: str, before: Head | None, after: Head, puts: Sequence[Row] = (), gone: Sequence[Tombstone] = ()
    ) -> None:
        """Write *after*, the rows and the deletions in one transaction, if the head still equals *before*.

        A put replaces the row of the same ref, whatever its lease. A deletion removes the row of its ref
        and leaves the tombstone. Raises Conflict (head differs), Busy or Full; then nothing was written.
        """
        ...

    def changes(self, tenant: str, source: str, lease: str, after: int) -> tuple[list[Row], list[Tombstone]]:
        """Rows and tombstones of *lease* with seq > *after*, ordered by seq."""
        ...

    def rows(self, tenant: str, source: str, *, kind: str | None = None) -> Iterator[Row]:
        """All visible rows of a source: every row until its head is committed, then only its lease's rows."""
        ...

    def get(self, tenant: str, source: str, ref: Ref) -> Row | None:
        """One visible row."""
        ...

    def sweep(self, tenant: str, source: str, *, now: int) -> int:
        """Remove rows of leases that a committed head has superseded, and tombstones older than 24 hours
        (raising head.purged_seq). Returns how many were removed; does a bounded amount, call until 0."""
        ...

    def forget(self, tenant: str, source: str) -> int:
        """Remove a source: head, rows, tombstones. Returns how many rows went."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Document:
    """A small document on the shelf; *expires* is milliseconds since 1970 UTC, or None."""

    value: Mapping[str, object]
    version: int
    expires: int | None = None


def document_text(drawer: str, value: Mapping[str, object]) -> str:
    """A document as the JSON that is kept. Raises Full for one that is too large."""
    import json  # not loaded by whoever only reads an agent's archive, which has nothing on its shelf

    text = json.dumps(value, separators=(",", ":"))
    if len(text.encode()) > LARGEST_DOCUMENT:
        raise Full(f"a document of {drawer} is too large: keep it under {LARGEST_DOCUMENT // 1024} KiB")
    return text


class Shelf(Protocol):
    """Small JSON documents with a version and an expiry, in named drawers (at most LARGEST_DOCUMENT each).

    Keys, revocations, rate limits, tickets, connections, alert rules and checkpoints live here. An expired
    document is as good as gone: no call returns it.
    """

    def take(self, drawer: str, name: str, *, now: int) -> Document | None:
        """The document, read strongly."""
        ...

    def put(
        self, drawer: str, name: str, value: Mapping[str, object], *, now: int, expect: int | None = None, expires: int | None = None
    ) -> int:
        """Write and return the new version (1 for a new document). *expect* 0: only if there is none; *expect* n: only
        if its version is n; None: whatever is there. Raises Conflict, or Full for a document that is too large."""
        ...

    def drop(self, drawer: str, name: str, *, expect: int | None = None) -> bool:
        """Remove; True for whoever really removed it (so that a single-use ticket has one winner)."""
        ...

    def list(self, drawer: str, prefix: str = "", *, now: int) -> Iterator[tuple[str, Document]]:
        """Documents of a drawer whose name begins with *prefix*, ordered by name."""
        ...
