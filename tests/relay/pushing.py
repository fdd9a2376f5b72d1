"""A relay's push endpoint with real keys over any store, and senders that hold them."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ledger.keytext import KeyText
from ledger.store import Head
from ledger.stores import open_store
from relay.keys import KeyRing
from relay.limits import Buckets, Limits, Rate
from relay.protocol import Terms
from relay.push import Push
from tests.compliance.client import Reply, Sender

AUD = "https://relay.example.org"
NOW = 1_790_000_000


def unlimited() -> Limits:
    return Limits(*(Buckets(Rate(1e9, 1e9)) for _ in range(3)))


class Office:
    """The relay, its clock (seconds) and what it told its viewers."""

    def __init__(self, store: Any = None, *, terms: Terms | None = None, limits: Limits | None = None, aud: str = AUD) -> None:
        self.now = NOW
        self.store = store or open_store("memory:")
        self.keys = KeyRing([b"m" * 32], self.store, frozenset(), self.clock)
        self.told: list[str] = []
        self.push = Push(self.store, self.keys, aud=aud, limits=limits or unlimited(), clock=self.clock, on_change=self.told.append, terms=terms)

    def clock(self) -> int:
        return self.now * 1000

    def post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        length = {} if "content-length" in headers else {"content-length": str(len(body))}
        return Reply(*self.push.answer("POST", "/v1/push", {**length, **headers}, body, address="10.0.0.1"))

    def sender(self, tenant: str = "alice", source: str = "laptop", scope: str = "push", expires: int = 0) -> Sender:
        key = KeyText.parse(self.keys.issue(scope, tenant, source if scope == "push" else "", expires))
        return Sender(self.post, key, AUD, lambda: self.now)

    def begun(self, *, put: Mapping[str, str] | None = None, **who: str) -> Sender:
        """A sender whose first copy is committed."""
        sender = self.sender(**who)
        sender.start()
        assert sender.push(put, commit=True).status == 200
        return sender

    def head(self, sender: Sender) -> Head:
        found = self.store.head(sender.key.claims.tenant, sender.key.claims.source)
        assert found is not None
        return found

    def visible(self, sender: Sender) -> dict[str, str | None]:
        """Bodies by id; the code of a stub, in brackets."""
        rows = self.store.rows(sender.key.claims.tenant, sender.key.claims.source)
        return {row.ref.id: f"[{row.code}]" if row.code else row.body for row in rows}
