"""A relay that follows a script, so that one can watch what an agent sends when things go wrong.

Behind it stands the correct receiver of reference.py; a scene may come between: lose an answer, forge one, refuse. Whatever
happens, every message must be right in itself; what is not is collected as a fault.
"""
from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ledger import signing
from ledger.errors import Problem
from ledger.keytext import KeyText
from tests.compliance.client import Reply
from tests.compliance.reference import Reference

MAX_CHANGES, MAX_WIRE, MAX_BODY = 90, 1 << 20, 64 << 10
Honest = Callable[[], Reply]


@dataclass(frozen=True)
class Asked:
    """One message as it came: *at* in seconds, header names in lower case, *said* the JSON in it."""

    at: float
    headers: Mapping[str, str]
    wire: bytes
    said: Mapping[str, Any]

    @property
    def type(self) -> str:
        return str(self.said.get("type"))

    @property
    def puts(self) -> list[dict[str, Any]]:
        return list(self.said.get("put", ()))

    @property
    def changes(self) -> int:
        return len(self.puts) + len(self.said.get("del", ()))


Act = Callable[[Asked, Honest], Reply | None]


class Stage:
    """*act* comes between the agent and the honest receiver; an answer of None is a connection that breaks."""

    def __init__(self, key: KeyText, url: str, clock: Callable[[], float]) -> None:
        self.key, self.url, self.clock = key, url, clock
        self.offset_s = 0
        """How far the relay's clock is from the agent's."""
        self.receiver = Reference(key, url, lambda: int(clock()) + self.offset_s)
        self.act: Act = lambda asked, honest: honest()
        self.asked: list[Asked] = []
        self.faults: list[str] = []
        self.strayed: list[str] = []
        """Other things that were asked for."""
        self.shows_key = False

    # -- what the server calls

    def post(self, wire: bytes, headers: Mapping[str, str]) -> Reply | None:
        """A message to /v1/push; None: break the connection."""
        asked = Asked(self.clock(), headers, wire, self._said(wire, headers))
        self._secrets(wire, headers)
        self._in_itself(asked)
        self.asked.append(asked)
        return self.act(asked, lambda: self._honest(asked))

    def other(self, method: str, path: str, headers: Mapping[str, str]) -> Reply:
        """Anything else that is asked for."""
        self._secrets(b"", headers)
        if method == "GET" and path == "/v1/ping":
            document = {"home": "relay", "version": "compliance", "url": self.url, "sample": False}
            return Reply(200, {"content-type": "application/json"}, json.dumps(document).encode())
        self.strayed.append(f"{method} {path}")
        return Reply(404, {"content-type": "application/json"}, b"{}")

    # -- what scenes answer with

    def signed(self, asked: Asked, status: int, *, secret: bytes | None = None, id: str | None = None, **said: Any) -> Reply:
        """An answer of the scene's own, signed as the relay signs unless told otherwise."""
        known = {"re": asked.headers.get("webhook-id"), "v": 1} if status == 200 else {"status": status}
        body = json.dumps(known | said).encode()
        kind = "application/json" if status == 200 else "application/problem+json"
        made = signing.headers(body, [secret or self.key.secret], id or asked.headers["webhook-id"], int(self.clock()) + self.offset_s)
        return Reply(status, {"content-type": kind, **made}, body)

    def unsigned(self, asked: Asked, status: int, headers: Mapping[str, str] | None = None, **said: Any) -> Reply:
        reply = self.signed(asked, status, **said)
        return Reply(status, {"content-type": reply.headers["content-type"], **(headers or {})}, reply.body)

    def taken(self, asked: Asked) -> dict[str, Any]:
        """What an answer says that claims to have taken *asked*."""
        said = asked.said
        return {
            "lease": said.get("lease"), "seq": said.get("seq"), "digest": said.get("after", said.get("prev")), "committed": True, "durable": True,
            "stubs": [], "server_time": int(self.clock()) * 1000, "beat_s": 60, "max_changes": 90,
        }  # fmt: skip

    @property
    def rows(self) -> set[tuple[str, str]]:
        return set(self.receiver.rows)

    # -- what must always be so

    def _honest(self, asked: Asked) -> Reply:
        reply = self.receiver.post(asked.wire, asked.headers)
        if reply.status == 422:
            self.faults.append("its digest does not follow from what it sent")
        return reply

    def _said(self, wire: bytes, headers: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            said = json.loads(gzip.decompress(wire) if headers.get("content-encoding") == "gzip" else wire)
        except (OSError, ValueError, EOFError):
            said = None
        if not isinstance(said, dict):
            self.faults.append("it sends what is no JSON object")
            return {}
        return said

    def _secrets(self, wire: bytes, headers: Mapping[str, str]) -> None:
        sent = b"\n".join([wire, *(f"{name}: {value}".encode() for name, value in headers.items())])
        if headers.get("content-encoding") == "gzip":
            sent += gzip.decompress(wire)
        secret = self.key.secret
        for form in (secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"="), base64.urlsafe_b64encode(secret).rstrip(b"="), self.key.text().encode()):
            if form in sent and "its secret is on the wire" not in self.faults:
                self.faults.append("its secret is on the wire")

    def _in_itself(self, asked: Asked) -> None:
        said, found = asked.said, self.faults
        try:
            signing.verify(asked.headers, asked.wire, [self.key.secret], 0, tolerance=1 << 60)
        except Problem as problem:
            found.append(f"its signature does not fit the bytes on the wire ({problem.type})")
        if asked.headers.get("relay-key") != self.key.id:
            found.append("it does not name its key")
        if said.get("aud") != self.url:
            found.append("it does not name this relay as the audience")
        if said.get("source") != self.key.claims.source:
            found.append("it names another source than its key's")
        if asked.type not in ("push", "beat", "bye"):
            found.append(f"it sends a message of type {asked.type!r}")
        if asked.changes > MAX_CHANGES or len(asked.wire) > MAX_WIRE or any(len(put["b"].encode()) > MAX_BODY for put in asked.puts):
            found.append("it sends more than a message may hold")
        for other in self.asked:
            same_id, same_bytes = other.headers.get("webhook-id") == asked.headers.get("webhook-id"), other.wire == asked.wire
            if same_id != same_bytes and (same_id or (asked.type == "push" and said.get("lease"))):
                found.append("the same id names other bytes" if same_id else "the same bytes have another id at another try")
