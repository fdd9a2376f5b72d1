"""A laptop, a store and a stopped clock for the tests of what is read."""
from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ledger.http.reads import Access, Home, Reads
from ledger.prices import PriceBook
from ledger.record import Ref, hash_of
from ledger.store import Head, Row, Tombstone
from ledger.stores.memory import MemoryStore
from ledger.views.tenants import Views
from ledger.views.view import View

QUARTER = 900_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
ALICE = "alice"


def ms(text: str) -> int:
    """'2026-11-22T10:00Z' in milliseconds."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


NOW = ms("2026-11-22T10:56:03.120Z")


@dataclass
class StoppedClock:
    now: int = NOW

    def __call__(self) -> int:
        return self.now

    def goes(self, ms: int) -> None:
        self.now += ms


def use(at: int, *, model: str = "claude-opus-5", price_class: str = "standard", input: int = 100, output: int = 50, w5: int = 0, w1: int = 0,
        read: int = 0, requests: int = 1, reported: float | None = None, last: int | None = None) -> list[Any]:  # fmt: skip
    """A usage row: its first use at *at*."""
    return [at - at % QUARTER, at, at if last is None else last, model, price_class, input, output, w5, w1, read, requests, reported]


def a_session(id: str = "s1", /, *rows: list[Any], **more: Any) -> tuple[str, str, dict[str, Any]]:
    """A session record; without rows it has one use a minute ago."""
    usage = sorted([list(row) for row in rows or [use(NOW - MINUTE)]], key=lambda row: (row[1], row[3], row[4]))
    body = {
        "id": id, "session_type": "claude_code", "start_time": usage[0][1], "last_activity": max(row[2] for row in usage),
        "project": "relay", "title": f"Title of {id}", "total_messages": 4, "usage": usage, **more,
    }  # fmt: skip
    return "session", id, {name: value for name, value in body.items() if value is not None}


@dataclass
class Laptop:
    """Writes records of one source into a store, as the push endpoint would."""

    store: Any
    source: str = "mbp-16"
    tenant: str = ALICE
    lease: str = "1" * 32
    clock: StoppedClock = field(default_factory=StoppedClock)
    beat_s: int = 60

    def head(self) -> Head | None:
        return self.store.head(self.tenant, self.source)

    def beats(self) -> None:
        before = self.head()
        assert before
        self.store.apply(self.tenant, before, replace(before, last_seen=self.clock()))

    def pushes(self, *records: tuple[str, str, Any], gone: list[tuple[str, str]] | None = None, commit: bool = True) -> None:
        before = self.head()
        same = before is not None and before.lease == self.lease
        seq = before.seq + 1 if same and before else 1
        after = replace(before or Head(self.source), lease=self.lease, seq=seq, committed=commit or bool(same and before and before.committed),
                        last_seen=self.clock(), beat_s=self.beat_s)  # fmt: skip
        rows = []
        for kind, id, value in records:
            body = value if isinstance(value, str) else json.dumps(value)
            rows.append(Row(Ref(kind, id), body, hash_of(kind, id, body), self.lease, seq))
        stones = [Tombstone(Ref(*ref), self.lease, seq, self.clock()) for ref in gone or []]
        self.store.apply(self.tenant, before, after, rows, stones)


@dataclass
class House:
    """A store with its views and its read API."""

    store: Any = field(default_factory=MemoryStore)
    clock: StoppedClock = field(default_factory=StoppedClock)
    role: str = "agent"

    def __post_init__(self) -> None:
        self.book = PriceBook.load()
        self.views = Views(self.store, self.book, self.clock)
        self.reads = Reads(self.views, home=Home(self.role, "1.0.0", "http://localhost:3001"), clock=self.clock)

    def laptop(self, source: str = "mbp-16", tenant: str = ALICE, **more: Any) -> Laptop:
        return Laptop(self.store, source, tenant, clock=self.clock, **more)

    def view(self, tenant: str = ALICE) -> View:
        return self.views.view(tenant)

    def anew(self, tenant: str = ALICE) -> View:
        """The same, by a process that starts from nothing."""
        return Views(self.store, self.book, self.clock).view(tenant)

    def answer(self, path: str, *, tenant: str = ALICE, scope: str = "read", headers: dict[str, str] | None = None, **query: Any) -> Any:
        return self.reads.answer(Access(tenant, scope), "GET", path, {name: str(value) for name, value in query.items()}, headers or {})

    def get(self, path: str, **more: Any) -> Any:
        """The decoded answer to a GET that works."""
        answer = self.answer(path, **more)
        assert answer.status == 200, (answer.status, answer.body)
        return json.loads(answer.body)
