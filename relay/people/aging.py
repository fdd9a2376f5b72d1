"""Old sessions of a machine that never came again become day totals, so that no sum changes when they go.

A living agent does this itself, since it is told how long the relay keeps sessions. For an agent that has long been silent the relay does it:
a few sessions at a time leave and their tokens join the totals of their days, in one transaction, so the sums are the same at every moment.
If the agent comes back after all, it finds that the copy has moved on and fills it again.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from ledger import bodies, record
from ledger.day_totals import add, date_of, nothing
from ledger.record import Ref, hash_of
from ledger.store import AT_ONCE, Head, Row, Store, Tombstone
from ledger.times import is_zone
from ledger.views.gather import part_of

PREFIX = "kept/"
"""Day totals that the relay made; an agent's own are called by their date alone."""
_encode = msgspec.json.Encoder().encode
Sums = dict[tuple[Any, ...], list[Any]]


@dataclass(frozen=True, slots=True)
class _Old:
    """A session with its older parts."""

    row: Row
    body: bodies.Session
    parts: tuple[tuple[Row, bodies.Usage], ...]

    @property
    def rows(self) -> list[Row]:
        return [self.row, *(part for part, _ in self.parts)]

    def usage(self) -> Iterator[bodies.UsageRow]:
        yield from self.body.usage
        for _, part in self.parts:
            yield from part.usage

    @property
    def last(self) -> int:
        return max([self.body.last_activity or 0, self.body.end_time or 0, self.body.start_time or 0, *(row[2] for row in self.usage())])


def fold_away(store: Store, tenant: str, head: Head, horizon: int, *, now: int) -> int:
    """Turn sessions that ended before *horizon* into totals of their days; how many. Raises Conflict if the agent speaks meanwhile."""
    if head.lease is None or not head.committed:
        return 0
    rows = list(store.rows(tenant, head.source))
    elsewhere = _elsewhere(store, tenant, head.source)
    zone = _zone(rows)
    days = {row.ref.id: row for row in rows if row.ref.kind == "day" and row.ref.id.startswith(PREFIX)}
    done = 0
    for batch in _batches([old for old in _sessions(rows) if old.last < horizon], zone):
        gone = [row for old in batch for row in old.rows]
        # The same session may be known from another machine too, and is counted there.
        sums = _summed((old for old in batch if old.row.ref.id not in elsewhere), zone)
        puts = [_day(head, days.get(PREFIX + date), date, rows, zone) for date, rows in sorted(sums.items())]
        head = _apply(store, tenant, head, days, puts, gone, now)
        done += len(batch)
    return done


def drop_days(store: Store, tenant: str, head: Head, first: str, *, now: int) -> int:
    """Drop the totals of days before the date *first*; how many."""
    if head.lease is None:
        return 0
    old = [row for row in store.rows(tenant, head.source, kind="day") if row.ref.id.removeprefix(PREFIX) < first]
    for place in range(0, len(old), AT_ONCE):
        head = _apply(store, tenant, head, {}, [], old[place : place + AT_ONCE], now)
    return len(old)


def _apply(store: Store, tenant: str, head: Head, days: dict[str, Row], puts: Sequence[Row], gone: Sequence[Row], now: int) -> Head:
    replaced = [days[row.ref.id].hash for row in puts if row.ref.id in days]
    digest = record.add(head.digest, put=[row.hash for row in puts], gone=[*replaced, *(row.hash for row in gone)])
    after = replace(head, seq=head.seq + 1, digest=digest)
    rows = [replace(row, seq=after.seq) for row in puts]
    store.apply(tenant, head, after, rows, [Tombstone(row.ref, row.lease, after.seq, now) for row in gone])
    days.update((row.ref.id, row) for row in rows)
    return after


def _sessions(rows: Iterable[Row]) -> Iterator[_Old]:
    parts: dict[str, list[tuple[Row, bodies.Usage]]] = {}
    sessions = []
    for row in rows:
        try:
            if row.ref.kind == "usage" and row.body:
                parts.setdefault(part_of(row.ref)[0], []).append((row, bodies.read("usage", row.body)))
            elif row.ref.kind == "session" and row.body:
                sessions.append((row, bodies.read("session", row.body)))
        except bodies.Unreadable:
            continue  # it stays as it is
    for row, body in sessions:
        counted = [part for part in parts.get(row.ref.id, []) if part_of(part[0].ref)[1] <= body.more]
        yield _Old(row, body, tuple(counted))


def _elsewhere(store: Store, tenant: str, source: str) -> set[str]:
    return {row.ref.id for head in store.heads(tenant) if head.source != source for row in store.rows(tenant, head.source, kind="session")}


def _batches(found: Iterable[_Old], zone: ZoneInfo) -> Iterator[list[_Old]]:
    """As many sessions as one transaction takes, with the days that they touch. One that is too long for any stays as it is."""
    batch, dates, rows = list[_Old](), set[str](), 0
    for old in sorted(found, key=lambda old: old.last):
        mine = {date_of(row[0], zone) for row in old.usage()}
        if len(mine) + len(old.rows) > AT_ONCE:
            continue
        if batch and len(dates | mine) + rows + len(old.rows) > AT_ONCE:
            yield batch
            batch, dates, rows = [], set(), 0
        batch.append(old)
        dates |= mine
        rows += len(old.rows)
    if batch:
        yield batch


def _summed(found: Iterable[_Old], zone: ZoneInfo) -> dict[str, Sums]:
    sums: dict[str, Sums] = {}
    for old in found:
        for at, _, _, model, price_class, *amounts in old.usage():
            name = (old.body.session_type, model, price_class, old.body.project or "")
            add(sums.setdefault(date_of(at, zone), {}).setdefault(name, nothing()), amounts)
    return sums


def _day(head: Head, before: Row | None, date: str, sums: Sums, zone: ZoneInfo) -> Row:
    if before is not None:
        for row in bodies.read("day", before.body).rows:
            add(sums.setdefault((*row[:3], row[3] or ""), nothing()), row[4:])
    rows = [(*name, *total) for name, total in sorted(sums.items())]
    id, body = PREFIX + date, _encode({"date": date, "tz": zone.key, "rows": rows}).decode()
    return Row(Ref("day", id), body, hash_of("day", id, body), head.lease or "", 0)


def _zone(rows: Iterable[Row]) -> ZoneInfo:
    for row in rows:
        if row.ref.kind == "machine" and row.body:
            try:
                name = bodies.read("machine", row.body).tz
            except bodies.Unreadable:
                continue
            if name and is_zone(name):
                return ZoneInfo(name)
    return ZoneInfo("UTC")
