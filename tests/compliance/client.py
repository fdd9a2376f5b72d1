"""A sender that can do everything right, and anything wrong on purpose."""
from __future__ import annotations

import gzip
import http.client
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ledger import signing
from ledger.keytext import KeyText
from ledger.record import add, hash_of, to_hex

JSON = "application/json"
PACKED_JSON = "application/vnd.session-relay+json"
"""What compressed messages are called, so that gateways do not take them for text."""
Post = Callable[[bytes, Mapping[str, str]], "Reply"]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def kind(self) -> str:
        """200, or the problem's type."""
        return "200" if self.status == 200 else f"{self.status} {self.document.get('type')}"


def over_http(url: str) -> Post:
    """POST to *url*/v1/push; the body goes exactly as given."""
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection

    def post(body: bytes, headers: Mapping[str, str]) -> Reply:
        connection = connect(parts.netloc, timeout=30)
        try:
            connection.request("POST", f"{parts.path.rstrip('/')}/v1/push", body, dict(headers))
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    return post


@dataclass
class Sender:
    """One source's view of itself: what it believes the relay holds, and how it talks."""

    post: Post
    key: KeyText
    aud: str
    clock: Callable[[], int]
    lease: str | None = None
    seq: int = 0
    digest: int = 0

    def message(self, type: str = "push", *, put: Mapping[str, str] | None = None, gone: Mapping[str, str] | None = None, **changed: Any) -> dict[str, Any]:
        """A message that is right where this sender stands; *changed* members overwrite."""
        put, gone = put or {}, gone or {}
        after = add(self.digest, put=(hash_of("session", id, b) for id, b in put.items()), gone=(hash_of("session", id, b) for id, b in gone.items()))
        right = {
            "v": 1, "type": type, "aud": self.aud, "source": self.key.claims.source, "lease": self.lease,
            "seq": self.seq + (type == "push"), "prev": to_hex(self.digest), "after": to_hex(after), "commit": False,
            "put": [{"k": "session", "id": id, "b": b} for id, b in put.items()], "del": [{"k": "session", "id": id} for id in gone],
            "agent": {"version": "compliance", "boot": "00", "name": "compliance"},
        }  # fmt: skip
        return right | changed

    def send(self, message: Mapping[str, Any]) -> Reply:
        return self.raw(json.dumps(message).encode())

    def raw(self, body: bytes, *, at: int | None = None, id: str | None = None, packed: bool = True, secret: bytes | None = None, **headers: str | None) -> Reply:
        """Sign and send *body*; header names are given with underscores, None leaves one out."""
        wire = gzip.compress(body, mtime=0) if packed else body
        made = signing.headers(wire, [secret or self.key.secret], id or f"msg_{secrets.token_hex(8)}", at or self.clock())
        is_packed = packed or headers.get("content_encoding") == "gzip"
        made |= {"content-type": PACKED_JSON if is_packed else JSON, "relay-key": self.key.id} | ({"content-encoding": "gzip"} if packed else {})
        for name, value in headers.items():
            made.pop(name.replace("_", "-"), None)
            if value is not None:
                made[name.replace("_", "-")] = value
        return self.post(wire, made)

    def start(self) -> Reply:
        """Take the lease that the relay offers."""
        self.lease, self.seq, self.digest = None, 0, 0
        reply = self.send(self.message())
        self.lease = reply.document.get("lease")
        return reply

    def push(self, put: Mapping[str, str] | None = None, gone: Mapping[str, str] | None = None, **changed: Any) -> Reply:
        """A right push; on 200 this sender moves on."""
        message = self.message(put=put, gone=gone, **changed)
        reply = self.send(message)
        if reply.status == 200:
            self.seq, self.digest = message["seq"], int(message["after"], 16)
        return reply

    def believes(self, reply: Reply) -> bool:
        """Is the answer signed by the relay?"""
        try:
            signing.verify(reply.headers, reply.body, [self.key.secret], self.clock())
        except Exception:
            return False
        return True
