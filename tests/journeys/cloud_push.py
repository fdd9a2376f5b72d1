"""A small sender for the cloud journey: it pushes sessions of its own invention and can race against itself."""
from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cache
from typing import Any

from ledger.keytext import KeyText
from ledger.record import MODULUS
from ledger.store import Head, Row
from tests.compliance.client import Sender, over_http

QUARTER = 900_000


def a_session(id: str) -> str:
    now = time.time_ns() // 1_000_000
    at = now // QUARTER * QUARTER
    return json.dumps({"id": id, "session_type": "claude_code", "start_time": at, "last_activity": now, "is_active": True, "total_messages": 3, "project": "session-relay",
                       "models_used": ["claude-opus-4-5-20251101"], "estimated_tokens": 30, "title": f"Pushed at {now}", "machine": "desktop", "provenance": "observed",
                       "usage": [[at, now, now, "claude-opus-4-5-20251101", "standard", 10, 20, 0, 0, 0, 1, None]]}, separators=(",", ":"))


class Agent:
    def __init__(self, cloud: Any, tenant: str, source: str) -> None:
        self.cloud, self.tenant, self.source = cloud, tenant, source
        key = KeyText.parse(cloud.relay("keys", "create", "--scope", "push", "--tenant", tenant, "--source", source))
        self.sender = Sender(over_http(cloud.url), key, cloud.url, lambda: int(time.time()))
        self.ids = [str(uuid.uuid4()) for _ in range(4)]
        self.bodies: dict[str, str] = {}

    def push(self, count: int) -> int:
        """Push *count* changed sessions; the status."""
        if self.sender.lease is None:
            self.sender.start()
        changed = {id: a_session(id) for id in self.ids[:count]}
        message = self._message(changed)
        reply = self.sender.send(message)
        if reply.status == 200:
            self.sender.seq, self.sender.digest = message["seq"], int(message["after"], 16)
            self.bodies |= changed
        return reply.status

    def _message(self, changed: dict[str, str]) -> dict[str, Any]:
        """What replaces a session takes its old hash out of the digest."""
        replaced = {id: self.bodies[id] for id in changed if id in self.bodies}
        return self.sender.message(put=changed, gone=replaced, commit=True) | {"del": []}

    def begin_anew(self) -> None:
        """A new copy with one session of its own, so that the rows of the former one are superseded."""
        self.sender.start()
        self.bodies, self.ids = {}, [str(uuid.uuid4()) for _ in range(4)]
        assert self.push(1) == 200

    def catch_up(self) -> None:
        """Begin anew if the relay does not stand where this sender thinks it does."""
        if self.sender.lease is None or self.sender.send(self.sender.message("beat", seq=self.sender.seq)).status != 200:
            self.begin_anew()

    def race(self, rivals: int) -> list[int]:
        """As many instances as there are rivals get a different next push of this source at the same time; the winner's is believed."""
        changes = [{self.ids[0]: a_session(self.ids[0]), str(uuid.uuid4()): a_session("x")} for _ in range(rivals)]
        messages = [self._message(change) for change in changes]
        with ThreadPoolExecutor(rivals) as pool:
            replies = list(pool.map(lambda message: copy(self.sender).send(message), messages))
        for message, change, reply in zip(messages, changes, replies, strict=True):
            if reply.status == 200:
                self.sender.seq, self.sender.digest = message["seq"], int(message["after"], 16)
                self.bodies |= change
        return [reply.status for reply in replies]

    def there(self) -> tuple[Head, list[Row]]:
        """What the relay has of this source."""
        with self.cloud.store() as store:
            return store.head(self.tenant, self.source), list(store.rows(self.tenant, self.source))

    def stale_rows(self) -> int:
        """Rows that a newer copy superseded and that still lie about."""
        with self.cloud.store() as store:
            head = store.head(self.tenant, self.source)
            found = store.changes(self.tenant, self.source, head.lease, 0)[0]
            client = self.cloud.client("dynamodb")
            lying = client.query(TableName=self.cloud.table, KeyConditionExpression="p = :p AND begins_with(s, :r)",
                                 ExpressionAttributeValues={":p": {"S": f"R|{self.tenant}|{self.source}"}, ":r": {"S": "r"}})["Items"]
            return len(lying) - len(found)


def digest_of(rows: Iterable[Row]) -> int:
    return sum(row.hash for row in rows) % MODULUS


@cache
def agent_of(cloud: Any, tenant: str, source: str) -> Agent:
    return Agent(cloud, tenant, source)
