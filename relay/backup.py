"""Take everything out of one store and bring it back into another, verified by digest.

A backup is gzipped JSON lines: a first line that says what it is, then heads, rows and kept documents, and a
last line with counts and a checksum, so that a cut file is known as one. No secret is in it but the key that signs
Web Push: the relay's keys are derived from its master secret, which lies elsewhere.
"""
from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import IO, Any, Protocol

from ledger.errors import Conflict, Misuse
from ledger.record import Ref, add, from_hex, to_hex
from ledger.store import AT_ONCE, Head, Row, Shelf, Store

FORMAT = "session-relay backup 1"
SHARED_DRAWERS = ("keys", "webpush", "alerts", "alert-wishes", "tenants", "members", "shares", "badges", "forgotten", "audit")
TENANT_DRAWERS = ("webpush",)


class Home(Store, Shelf, Protocol):
    """A store that is a shelf too, as all of ours are."""


@dataclass
class Counts:
    """What went through: sources, rows and documents."""

    sources: int = 0
    rows: int = 0
    documents: int = 0


def backup(store: Home, out: IO[bytes], *, now: int) -> Counts:
    """Write all of *store* to *out*. Raises Misuse where a source's rows do not add up to its digest."""
    counts, sum = Counts(), sha256()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed:
        for line in _lines(store, counts, now):
            packed.write(line)
            sum.update(line)
        packed.write(_line({"end": asdict(counts), "sha256": sum.hexdigest()}))
    return counts


def restore(store: Home, source: IO[bytes], *, now: int) -> Counts:
    """Bring a backup into *store*, which must not know any of its sources yet.

    The whole file is checked before anything is written. Raises Misuse, in one line, for a file that is cut, changed or no backup.
    """
    expected = _checked(source)
    source.seek(0)
    restoring = _Restoring(store, now)
    with gzip.GzipFile(fileobj=source, mode="rb") as packed:
        for line in packed:
            restoring.take(json.loads(line))
    restoring.flush()
    if asdict(restoring.counts) != expected:
        raise Misuse(f"the backup says {expected}, {asdict(restoring.counts)} came back: the store is not complete")
    return restoring.counts


def _lines(store: Home, counts: Counts, now: int) -> Iterator[bytes]:
    yield _line({"format": FORMAT})
    for tenant in store.tenants():
        for head in store.heads(tenant):
            rows = list(store.rows(tenant, head.source))
            _verify(head, rows)
            counts.sources += 1
            yield _line({"tenant": tenant, "head": asdict(head) | {"digest": to_hex(head.digest)}})
            for row in rows:
                counts.rows += 1
                yield _line({"tenant": tenant, "source": head.source, "row": _row(row)})
    for drawer in (*SHARED_DRAWERS, *(f"{name}/{tenant}" for name in TENANT_DRAWERS for tenant in store.tenants())):
        for name, document in store.list(drawer, now=now):
            counts.documents += 1
            yield _line({"drawer": drawer, "name": name, "value": document.value, "expires": document.expires})


def _verify(head: Head, rows: Iterable[Row]) -> None:
    digest = add(0, put=(row.hash for row in rows if row.lease == head.lease))
    if digest != head.digest:
        raise Misuse(f"the rows of source {head.source} do not add up to its digest: run `python -m relay upkeep`, let it be refilled, and try again")


def _row(row: Row) -> dict[str, Any]:
    return {"k": row.ref.kind, "id": row.ref.id, "b": row.body, "h": to_hex(row.hash), "lease": row.lease, "seq": row.seq, "code": row.code}


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _checked(source: IO[bytes]) -> dict[str, int]:
    """Read it through once; the counts that its last line promises."""
    sum, last = sha256(), b""
    try:
        with gzip.GzipFile(fileobj=source, mode="rb") as packed:
            if json.loads(packed.readline()).get("format") != FORMAT:
                raise Misuse("this is no backup of a relay, or one of a newer version")
            packed.seek(0)
            for line in packed:
                sum.update(last)
                last = line
        end = json.loads(last)
        if end["sha256"] != sum.hexdigest():
            raise Misuse("the backup was changed after it was made: its checksum does not fit")
        return dict(end["end"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zlib.error):
        raise Misuse("this is no whole backup of a relay: it is cut off, damaged or something else") from None


class _Restoring:
    """Rows wait here until there is a transaction's worth of one source."""

    def __init__(self, store: Home, now: int) -> None:
        self.store, self.now, self.counts = store, now, Counts()
        self.tenant, self.head, self.rows = "", Head(""), list[Row]()

    def take(self, line: dict[str, Any]) -> None:
        if "head" in line:
            self.flush()
            self._begin(line["tenant"], Head(**line["head"] | {"digest": from_hex(line["head"]["digest"])}))
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
            raise Misuse(f"source {head.source} of {tenant} is there already: restore into an empty store") from None
        self.tenant, self.head = tenant, head
        self.counts.sources += 1

    def flush(self) -> None:
        if self.rows:
            self.store.apply(self.tenant, self.head, self.head, self.rows)
            self.counts.rows += len(self.rows)
            self.rows = []


def _as_row(values: dict[str, Any]) -> Row:
    return Row(Ref(values["k"], values["id"]), values["b"], from_hex(values["h"]), values["lease"], values["seq"], values["code"])
