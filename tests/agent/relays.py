"""A relay of a few lines that follows the rules of the push to the letter, and a network that does not.

Written apart from the relay's own code, so that agent and relay cannot share a mistake. Faults are scripted, never chance.
"""
from __future__ import annotations

import gzip
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from ledger import signing
from local_agent.push.transport import Reply

SECRET, KEY_ID, URL, SOURCE = b"s" * 32, "keyid", "https://relay.example.org", "laptop"
NOBODY = "00" * 32


def hash_of(kind: str, id: str, body: str) -> int:
    return int.from_bytes(sha256(f"{kind}\0{id}\0{body}".encode()).digest(), "big")


@dataclass
class Head:
    lease: str
    seq: int = 0
    digest: int = 0
    committed: bool = False


@dataclass
class ModelRelay:
    """*rows* by (kind, id): (lease, body, hash). *settings* go into every answer of status 200."""

    head: Head | None = None
    pending: str | None = None
    rows: dict[tuple[str, str], tuple[str, str, int]] = field(default_factory=dict)
    refuse: dict[tuple[str, str], str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=lambda: {"durable": True, "keep_days": None, "beat_s": 60, "max_changes": 90})
    log: list[dict[str, Any]] = field(default_factory=list)
    clock: Callable[[], int] = lambda: 1_700_000_000

    def visible(self) -> dict[tuple[str, str], str]:
        shown = self.rows.items()
        if self.head and self.head.committed:
            return {ref: body for ref, (lease, body, _) in shown if lease == self.head.lease}
        return {ref: body for ref, (_, body, _) in shown}

    def lose_everything(self) -> None:
        self.head, self.pending = None, None
        self.rows.clear()

    def receive(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """The answer to one message, signed."""
        at = int(headers["webhook-timestamp"])
        signing.verify(headers, body, [SECRET], at)
        if abs(at - self.clock()) > 300:
            return self.signed(headers["webhook-id"], 401, {"type": "clock-skew", "status": 401})
        message = {"after": NOBODY, "commit": False, "put": [], "del": [], **json.loads(gzip.decompress(body))}
        self.log.append(message)
        status, document = self.decide(message)
        return self.signed(headers["webhook-id"], status, {"re": headers["webhook-id"], "status": status, **document})

    def signed(self, id: str, status: int, document: dict[str, Any]) -> Reply:
        body = json.dumps(document).encode()
        return Reply(status, {"content-type": "application/json", **signing.headers(body, [SECRET], id, self.clock())}, body)

    def decide(self, m: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if (h := self.head) is None or m["lease"] != h.lease:
            if m["lease"] is None or m["lease"] != self.pending or m["type"] != "push" or m["seq"] != 1:
                self.pending = self.pending or secrets.token_hex(16)
                return 409, {"type": "lease", "lease": self.pending}
            h, self.pending = Head(m["lease"]), None
        at_head = (m["seq"], m["prev"]) == (h.seq, f"{h.digest:064x}")
        if m["type"] != "push":
            return (200, self.state(h)) if at_head else (409, {"type": "state", **self.state(h)})
        if m["seq"] == h.seq and m["after"] == f"{h.digest:064x}":
            return 200, self.state(h)
        if m["seq"] != h.seq + 1 or m["prev"] != f"{h.digest:064x}":
            return 409, {"type": "state", **self.state(h)}
        return self.take(h, m)

    def take(self, h: Head, m: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        rows, digest, stubs = dict(self.rows), h.digest, []
        for change in m["put"]:
            ref = (change["k"], change["id"])
            if self.refuse.get(ref) == "400":
                return 400, {"type": "malformed"}
            old = rows.get(ref)
            digest += hash_of(*ref, change["b"]) - (old[2] if old and old[0] == h.lease else 0)
            body = "" if ref in self.refuse else change["b"]
            if ref in self.refuse:
                stubs.append({"k": ref[0], "id": ref[1], "code": self.refuse[ref]})
            rows[ref] = (h.lease, body, hash_of(*ref, change["b"]))
        for change in m["del"]:
            old = rows.get((change["k"], change["id"]))
            if old and old[0] == h.lease:
                digest -= old[2]
                del rows[change["k"], change["id"]]
        if digest % (1 << 256) != int(m["after"], 16):
            return 422, {"type": "digest-mismatch"}
        self.head = Head(h.lease, m["seq"], digest % (1 << 256), h.committed or m["commit"])
        self.rows = rows
        return 200, {**self.state(self.head), "stubs": stubs}

    def state(self, h: Head) -> dict[str, Any]:
        return {"v": 1, "lease": h.lease, "seq": h.seq, "digest": f"{h.digest:064x}", "committed": h.committed, "stubs": [], **self.settings}


class Network:
    """Carries messages to a relay; *faults* are used up one by one: a fault may answer, raise, or change what happens."""

    def __init__(self, relay: ModelRelay) -> None:
        self.relay = relay
        self.faults: list[Callable[[Mapping[str, str], bytes], Reply]] = []
        self.sent: list[tuple[dict[str, str], bytes]] = []
        self.dropped_connections = 0

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.sent.append((dict(headers), body))
        if self.faults:
            return self.faults.pop(0)(headers, body)
        return self.relay.receive(headers, body)

    def drop_connections(self) -> None:
        self.dropped_connections += 1

    # -- faults

    def lost_request(self, headers: Mapping[str, str], body: bytes) -> Reply:
        raise ConnectionResetError("cut before it arrived")

    def lost_answer(self, headers: Mapping[str, str], body: bytes) -> Reply:
        self.relay.receive(headers, body)
        raise ConnectionResetError("cut before the answer came")

    def says(self, status: int, content: bytes = b"", **headers: str) -> Callable[[Mapping[str, str], bytes], Reply]:
        """An answer of somebody who is not the relay."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return lambda _headers, _body: Reply(status, named, content)

    def signed(self, status: int, **document: Any) -> Callable[[Mapping[str, str], bytes], Reply]:
        """An answer of the relay itself."""
        def answer(headers: Mapping[str, str], body: bytes) -> Reply:
            return self.relay.signed(headers["webhook-id"], status, {"re": headers["webhook-id"], "status": status, **document})

        return answer
