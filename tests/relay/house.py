"""A whole relay without sockets: its Flask app over a store, with a clock that stands still, and people who hold keys."""
from __future__ import annotations

import json
from typing import Any

from ledger.keytext import KeyText
from ledger.stores.memory import MemoryStore
from relay import settings
from relay.app import Relay, create_app
from tests.compliance.client import Reply, Sender
from tests.ledger.ledgerkit import StoppedClock

URL, SHARED, PAGE = "https://relay.example.org", "the shared key of old", "https://page.example"


class RelayHouse:
    """*environ* is what the relay is told besides a secret."""

    def __init__(self, store: Any = None, **environ: str) -> None:
        self.clock = StoppedClock()
        given = {"RELAY_SECRET": "correct horse battery staple", "RELAY_URL": URL, "API_SECRET": SHARED, "RELAY_ORIGINS": PAGE, "RELAY_RATE": "1000000"}
        self.settings = settings.read({**given, **environ}, store="memory:")
        self.store = store or MemoryStore()
        self.relay = Relay(self.settings, self.store, clock=self.clock)
        self.client = create_app(self.relay).test_client()

    def key(self, scope: str = "read", tenant: str = "alice", source: str = "", **more: Any) -> str:
        return self.relay.ring.issue(scope, tenant, source, **more)

    def ask(self, path: str, key: str | None = None, *, method: str = "GET", body: bytes | str | None = None, **headers: str) -> Any:
        """The answer of the app, as werkzeug gives it."""
        given = {name.replace("_", "-"): value for name, value in headers.items()} | ({"Authorization": f"Bearer {key}"} if key else {})
        return self.client.open(path, method=method, data=body, headers=given)

    def get(self, path: str, key: str | None = None, **headers: str) -> Any:
        """The decoded answer to a GET that works."""
        answer = self.ask(path, key or self.key(), **headers)
        assert answer.status_code == 200, (answer.status_code, answer.data)
        return json.loads(answer.data)

    def post(self, *, source: str = "laptop", key: str = SHARED, path: str = "/", timestamp: str = "2026-11-22T10:56:00.000Z", **data: Any) -> Any:
        """What the earlier system's client sends."""
        return self.ask(path, method="POST", body=json.dumps({"source": source, "timestamp": timestamp, "data": data}), X_API_Key=key, Content_Type="application/json")

    def sender(self, tenant: str = "alice", source: str = "laptop") -> Sender:
        def post(body: bytes, headers: Any) -> Reply:
            answer = self.client.post("/v1/push", data=body, headers=dict(headers))
            return Reply(answer.status_code, {name.lower(): value for name, value in answer.headers}, answer.data)

        return Sender(post, KeyText.parse(self.key("push", tenant, source)), URL, lambda: self.clock() // 1000)
