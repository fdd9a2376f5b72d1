"""A receiver in the fewest lines, written from the protocol alone, and the ways to break it.

It keeps one source in memory. Each defect in DEFECTS breaks one rule; the suite must name it.
"""
from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from ledger import signing
from ledger.errors import Problem
from ledger.keytext import KeyText
from ledger.record import MODULUS, hash_of, to_hex
from tests.compliance.client import Reply

DEFECTS = {
    "unsigned answers": "offered one and the offer stands",
    "a new lease for every asker": "offered one and the offer stands",
    "accepts any lease": "offered one and the offer stands",
    "applies the last push twice": "the last push again changes nothing",
    "takes pushes from the future": "a push from the future",
    "ignores prev": "a push computed for another state",
    "keeps what it refused": "a digest that does not follow",
    "counts replaced records twice": "a replaced record counts once",
    "forgets to subtract deletions": "a deletion leaves the digest",
    "agrees with every beat": "a beat that disagrees",
    "lets an old lease come back": "a superseded lease cannot come back",
    "a beat takes the offered lease": "the offered lease is used by its first push",
    "checks no signature": "a changed byte is refused",
    "any clock will do": "a clock that is off",
    "takes messages for others": "a message for another relay or source",
    "lenient JSON": "poison is refused",
    "inflates without a bound": "a bomb or trailing bytes",
    "drops bad records silently": "a record that cannot be kept",
    "commit is lost": "a push is acknowledged",
}
CAP = 4 << 20


class Reference:
    """*defect* is one of DEFECTS, or "" for a correct receiver."""

    def __init__(self, key: KeyText, aud: str, clock: Callable[[], int], defect: str = "") -> None:
        self.key, self.aud, self.clock, self.defect = key, aud, clock, defect
        self.lease: str | None = None
        self.pending: str | None = None
        self.seq = self.digest = 0
        self.committed = False
        self.rows: dict[tuple[str, str], tuple[str | None, int]] = {}
        self.used: set[str] = set()

    def post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        signed = False
        try:
            if headers.get("relay-key") != self.key.id:
                raise Problem(401, "unknown-key")
            self._verify(headers, body)
            signed = True
            status, document = self._decide(self._decoded(headers, body))
            document |= {"re": headers.get("webhook-id"), "v": 1}
        except Problem as problem:
            signed = signed or problem.type == "clock-skew"
            status, document = problem.status, {"type": problem.type, "status": problem.status, **problem.extra}
        out = json.dumps(document).encode()
        kind = "application/json" if status == 200 else "application/problem+json"
        extra = signing.headers(out, [self.key.secret], headers["webhook-id"], self.clock()) if signed and self.defect != "unsigned answers" else {}
        return Reply(status, {"content-type": kind, **extra}, out)

    def _verify(self, headers: Mapping[str, str], body: bytes) -> None:
        signing.claimed(headers)
        if self.defect != "checks no signature":
            signing.verify(headers, body, [self.key.secret], self.clock(), tolerance=1 << 40 if self.defect == "any clock will do" else 300)

    def _decoded(self, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        encoding = headers.get("content-encoding")
        if encoding == "gzip":
            body = self._inflated(body)
        elif encoding:
            raise Problem(415, "encoding")
        try:
            message = json.loads(body) if self.defect == "lenient JSON" else strict(body)
        except (ValueError, RecursionError):
            raise Problem(400, "malformed") from None
        if not isinstance(message, dict) or message.get("type") not in ("push", "beat", "bye") or type(message.get("seq")) is not int:
            raise Problem(400, "malformed")
        message = {"put": [], "del": [], "commit": False, "after": None, **message}
        if message["type"] == "push" and message["after"] is None:
            raise Problem(400, "malformed")
        if self.defect != "takes messages for others":
            if message["aud"] != self.aud:
                raise Problem(400, "wrong-audience")
            if message["source"] != self.key.claims.source:
                raise Problem(403, "source-mismatch")
        if len(message["put"]) + len(message["del"]) > 90:
            raise Problem(413, "too-large")
        return message

    def _inflated(self, body: bytes) -> bytes:
        machine = zlib.decompressobj(31)
        try:
            out = machine.decompress(body, 0 if self.defect == "inflates without a bound" else CAP)
        except zlib.error:
            raise Problem(400, "malformed") from None
        if machine.unconsumed_tail:
            raise Problem(413, "too-large")
        if not machine.eof or machine.unused_data:
            raise Problem(400, "malformed")
        return out

    def _decide(self, m: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.lease is None or m["lease"] != self.lease:
            self._take_lease(m)
        if m["type"] != "push":
            agrees = (m["seq"], m["prev"]) == (self.seq, to_hex(self.digest)) or self.defect == "agrees with every beat"
            return (200, self._state()) if agrees else self._elsewhere()
        if m["seq"] == self.seq and m["after"] == to_hex(self.digest) and self.defect != "applies the last push twice":
            return 200, self._state()
        skips = m["seq"] != self.seq + 1 and not (self.defect == "takes pushes from the future" and m["seq"] > self.seq)
        if self.defect == "applies the last push twice" and m["seq"] == self.seq:
            self.seq, skips = self.seq - 1, False
            m = m | {"prev": to_hex(self.digest), "after": None}
        if skips or (m["prev"] != to_hex(self.digest) and self.defect != "ignores prev"):
            return self._elsewhere()
        return self._apply(m)

    def _take_lease(self, m: dict[str, Any]) -> None:
        lease, first = m["lease"], m["type"] == "push" and m["seq"] == 1
        allowed = lease is not None and lease == self.pending and first
        allowed |= self.defect == "a beat takes the offered lease" and lease is not None and lease == self.pending
        allowed |= self.defect == "accepts any lease" and lease is not None
        allowed |= self.defect == "lets an old lease come back" and lease in self.used
        if not allowed:
            if self.pending is None or lease == self.pending or self.defect == "a new lease for every asker":
                self.pending = secrets.token_hex(16)
            raise Problem(409, "lease", lease=self.pending)
        self.used.add(lease)
        self.lease, self.pending, self.seq, self.digest, self.committed, self.rows = lease, None, 0, 0, False, {}

    def _apply(self, m: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        rows, digest, stubs = dict(self.rows), self.digest, []
        for put in m["put"]:
            ref, code = (put["k"], put["id"]), code_of(put["b"])
            if code and self.defect == "drops bad records silently":
                digest += hash_of(*ref, put["b"])
                continue
            old = rows.get(ref, (None, 0))[1]
            rows[ref] = (code, hash_of(*ref, put["b"]))
            digest += rows[ref][1] - (0 if self.defect == "counts replaced records twice" else old)
            stubs += [{"k": ref[0], "id": ref[1], "code": code}] if code else []
        for gone in m["del"]:
            old = rows.pop((gone["k"], gone["id"]), (None, 0))[1]
            digest -= 0 if self.defect == "forgets to subtract deletions" else old
        digest %= MODULUS
        if m["after"] not in (None, to_hex(digest)):
            if self.defect == "keeps what it refused":
                self.rows, self.digest = rows, digest
            raise Problem(422, "digest-mismatch")
        self.rows, self.digest, self.seq = rows, digest, m["seq"] if m["after"] else self.seq + 2
        self.committed |= bool(m["commit"]) and self.defect != "commit is lost"
        return 200, self._state() | {"stubs": stubs}

    def _state(self) -> dict[str, Any]:
        return {
            "lease": self.lease, "seq": self.seq, "digest": to_hex(self.digest), "committed": self.committed, "durable": False, "keep_days": None, "stubs": [],
            "server_time": self.clock() * 1000, "beat_s": 60, "max_changes": 90,
        }  # fmt: skip

    def _elsewhere(self) -> tuple[int, dict[str, Any]]:
        raise Problem(409, "state", seq=self.seq, digest=to_hex(self.digest), committed=self.committed)


def strict(body: bytes) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    def refuse(_: str) -> Any:
        raise ValueError("not a number")

    found = json.loads(body, object_pairs_hook=once, parse_constant=refuse)
    bounded(found, 0)
    return found


def bounded(value: Any, depth: int) -> None:
    if depth > 32 or (isinstance(value, int) and abs(value) > 2**53 - 1):
        raise ValueError("too deep or too large")
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= char <= "\udfff" for char in value)):
        raise ValueError("no text")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        bounded(inner, depth + 1)


def code_of(body: str) -> str | None:
    """Why a record cannot be kept, or None."""
    if len(body.encode()) > 64 << 10:
        return "too-large"
    try:
        return None if isinstance(json.loads(body), dict) else "malformed"
    except ValueError:
        return "malformed"
