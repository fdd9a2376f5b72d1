"""Take everything out of one store and bring it back into another, verified by digest.

A backup is gzipped JSON lines: a first line that says what it is, then heads, rows and kept documents, and a
last line with counts and a checksum, so that a cut file is known as one. No secret is in it but the key that signs
Web Push: the relay's keys are derived from its master secret, which lies elsewhere.
"""
from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import IO, Any

from ledger.errors import Conflict, Misuse
from ledger.record import Ref, add, from_hex, hash_of, to_hex
from ledger.store import AT_ONCE, Head, Row
from ledger.stores import Ledger

FORMAT = "session-relay backup 1"
SHARED_DRAWERS = ("keys", "webpush", "alerts", "alert-wishes", "tenants", "members", "shares", "badges", "forgotten", "audit")
TENANT_DRAWERS = ("webpush",)
TRIES = 20
"""A machine that pushes while its rows are read is read so often."""


@dataclass
class Counts:
    """What went through: sources, rows and documents."""

    sources: int = 0
    rows: int = 0
    documents: int = 0


def backup(store: Ledger, out: IO[bytes], *, now: int) -> Counts:
    """Write all of *store* to *out*. Raises Misuse where a source's rows do not add up to its digest."""
    counts, sum = Counts(), sha256()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed:
        for line in _lines(store, counts, now):
            packed.write(line)
            sum.update(line)
        packed.write(_line({"end": asdict(counts), "sha256": sum.hexdigest()}))
    return counts


def restore(store: Ledger, source: IO[bytes], *, now: int) -> Counts:
    """Bring a backup into *store*, which must not know any of its sources yet.

    The whole file is checked before anything is written. Raises Misuse, in one line, for a file that is cut, changed or no backup.
    """
    return bring(store, source, checked(source), now=now)


def bring(store: Ledger, source: IO[bytes], expected: Mapping[str, int], *, now: int) -> Counts:
    """The second half of restore: *expected* is what `checked` said of *source*. What was written is read again, and must add up."""
    source.seek(0)
    restoring = _Restoring(store, now)
    with gzip.GzipFile(fileobj=source, mode="rb") as packed:
        for line in packed:
            restoring.take(json.loads(line))
    restoring.flush()
    if asdict(restoring.counts) != expected:
        raise Misuse(f"the backup says {expected}, {asdict(restoring.counts)} came back: the store is not complete")
    for tenant, source_name in restoring.sources:
        head = store.head(tenant, source_name)
        if head is None or not _adds_up(head, store.rows(tenant, source_name)):
            raise Misuse(f"what {source_name} of {tenant} has does not add up to its digest in the new store: do not use it")
    return restoring.counts


def _lines(store: Ledger, counts: Counts, now: int) -> Iterator[bytes]:
    yield _line({"format": FORMAT})
    for tenant in store.tenants():
        for head in store.heads(tenant):
            found = _of_one_moment(store, tenant, head)
            if found is None:
                continue
            head, rows = found
            counts.sources += 1
            yield _line({"tenant": tenant, "head": asdict(head) | {"digest": to_hex(head.digest)}})
            for row in rows:
                counts.rows += 1
                yield _line({"tenant": tenant, "source": head.source, "row": _row(row)})
    for drawer in (*SHARED_DRAWERS, *(f"{name}/{tenant}" for name in TENANT_DRAWERS for tenant in store.tenants())):
        for name, document in store.list(drawer, now=now):
            counts.documents += 1
            yield _line({"drawer": drawer, "name": name, "value": document.value, "expires": document.expires})


def _of_one_moment(store: Ledger, tenant: str, head: Head) -> tuple[Head, list[Row]] | None:
    """A head and the rows that it speaks of, though its machine pushes meanwhile; None where it is forgotten meanwhile."""
    for _ in range(TRIES):
        rows = list(store.rows(tenant, head.source))
        if _adds_up(head, rows):
            return head, rows
        before, now = head, store.head(tenant, head.source)
        if now is None:
            return None
        if now == before:
            raise Misuse(f"the rows of the machine {head.source} do not add up to its digest: run `python -m relay upkeep`, let it be refilled, and try again")
        head = now
    raise Misuse(f"the machine {head.source} pushes faster than it can be read: try again when it has brought everything")


def _adds_up(head: Head, rows: Iterable[Row]) -> bool:
    return add(0, put=(row.hash for row in rows if row.lease == head.lease)) == head.digest


def _row(row: Row) -> dict[str, Any]:
    return {"k": row.ref.kind, "id": row.ref.id, "b": row.body, "h": to_hex(row.hash), "lease": row.lease, "seq": row.seq, "code": row.code}


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def checked(source: IO[bytes]) -> dict[str, int]:
    """Read it through once; the counts that its last line promises. Raises Misuse for a file that is cut, changed or no backup,
    also where whoever changed it made a new checksum: every body must have its hash, and each source's hashes its digest."""
    sum, last, weighed = sha256(), b"", _Weighed()
    try:
        with gzip.GzipFile(fileobj=source, mode="rb") as packed:
            if json.loads(packed.readline()).get("format") != FORMAT:
                raise Misuse("this is no backup of a relay, or one of a newer version: name a file that `python -m relay backup` wrote, or upgrade this relay")
            packed.seek(0)
            for line in packed:
                sum.update(last)
                last = line
                weighed.take(json.loads(line))
        weighed.close()
        end = json.loads(last)
        if end["sha256"] != sum.hexdigest():
            raise Misuse("the backup was changed after it was made: its checksum does not fit")
        return dict(end["end"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zlib.error):
        raise Misuse("this is no whole backup of a relay: it is cut off, damaged or something else") from None


class _Weighed:
    """Compares the rows of one source after the other with its digest, while a file is read through."""

    def __init__(self) -> None:
        self._head, self._sum = Head(""), 0

    def take(self, line: dict[str, Any]) -> None:
        if "row" in line:
            row = _as_row(line["row"])
            if row.code is None and row.hash != hash_of(row.ref.kind, row.ref.id, row.body):
                raise Misuse(f"the backup was changed after it was made: the {row.ref.kind} {row.ref.id} does not fit its hash")
            self._sum = add(self._sum, put=[row.hash] if row.lease == self._head.lease else [])
        elif "head" in line:
            self.close()
            self._head, self._sum = _as_head(line["head"]), 0

    def close(self) -> None:
        """The source is over."""
        if self._sum != self._head.digest:
            raise Misuse(f"the backup was changed after it was made: the rows of source {self._head.source} do not add up to its digest")


class _Restoring:
    """Rows wait here until there is a transaction's worth of one source."""

    def __init__(self, store: Ledger, now: int) -> None:
        self.store, self.now, self.counts = store, now, Counts()
        self.tenant, self.head, self.rows = "", Head(""), list[Row]()
        self.sources: list[tuple[str, str]] = []

    def take(self, line: dict[str, Any]) -> None:
        if "head" in line:
            self.flush()
            self._begin(line["tenant"], _as_head(line["head"]))
        elif "row" in line:
            self.rows.append(_as_row(line["row"]))
            if len(self.rows) == AT_ONCE:
                self.flush()
        elif "drawer" in line:
            self.store.put(line["drawer"], line["name"], line["value"], now=self.now, expires=line["expires"])
            self.counts.documents += 1

    def _begin(self, tenant: str, head: Head) -> None:
        try:
            self.store.apply(tenant, None, head)
        except Conflict:
            raise Misuse(f"{head.source} of {tenant} is there already: restore into an empty store") from None
        self.tenant, self.head = tenant, head
        self.sources.append((tenant, head.source))
        self.counts.sources += 1

    def flush(self) -> None:
        if self.rows:
            self.store.apply(self.tenant, self.head, self.head, self.rows)
            self.counts.rows += len(self.rows)
            self.rows = []


def _as_head(values: dict[str, Any]) -> Head:
    return Head(**values | {"digest": from_hex(values["digest"])})


def _as_row(values: dict[str, Any]) -> Row:
    return Row(Ref(values["k"], values["id"]), values["b"], from_hex(values["h"]), values["lease"], values["seq"], values["code"])
