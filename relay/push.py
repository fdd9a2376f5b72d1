"""The push endpoint: the cheap and anonymous questions first, then the key, then the message, then one transaction.

An agent believes only what is signed with its own key, so every answer to a message whose signature was true is
signed, the refusals too. No answer repeats anything of the body.
"""
from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from ledger import signing, wire
from ledger.errors import Busy, Conflict, Full, LedgerError, Problem
from ledger.keytext import KEY_ID
from ledger.record import Ref, from_hex, to_hex
from ledger.store import Head, Row, Store
from relay.limits import Limits
from relay.protocol import (
    Agree,
    Decision,
    Elsewhere,
    NewLease,
    Signed,
    Take,
    Terms,
    TwoAgents,
    alive,
    changes_of,
    decide,
    has_two_agents,
    taken,
)

PATH = "/v1/push"
TRIES = 5
"""How often a lost race is run again before the agent is asked to wait."""
_LENGTH = re.compile(r"[0-9]{1,12}")
_JSON = re.compile(r"application/(vnd\.session-relay\+)?json\s*(;.*)?", re.IGNORECASE)
# The name of its own is for gateways that take every body called application/json for text, and break a compressed one.

Body = bytes | Callable[[int], bytes]
"""The body, or how to read so many bytes of it: nothing is read before the headers are found good."""
Reply = tuple[int, dict[str, str], bytes]


class Found(Protocol):
    """A key in force."""

    tenant: str
    source: str
    scope: str
    secrets: list[bytes]


class Keys(Protocol):
    def find(self, key_id: str, now: int) -> Any:
        """The Found of that id. Raises Problem 401."""
        ...

    def touch(self, id: str, now: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the state machine says. *seen*: viewers of the tenant have something to look at."""

    status: int
    document: dict[str, Any]
    seen: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def mint_lease() -> str:
    return secrets.token_hex(16)


def receive(
    store: Store, *, tenant: str, source: str, message: wire.Push, at: int, now_ms: int, terms: Terms, mint: Callable[[], str] = mint_lease
) -> Answer:
    """Apply *message* of *source*, or say why not. Raises Problem 409, 422, 503 or 507; then nothing was applied."""
    signed = Signed(message, at, now_ms)
    for _ in range(TRIES):
        head = store.head(tenant, source)
        try:
            return _act(store, tenant, head, signed, terms, decide(head, signed, mint))
        except Conflict:
            continue  # another message of this source was faster: decide again
        except Busy as busy:
            raise unavailable(busy.retry_after) from busy
        except Full as full:
            raise Problem(507, "quota", "the relay has no room for more", headers={"Retry-After": "300"}) from full
    raise unavailable(1)


def _act(store: Store, tenant: str, head: Head | None, signed: Signed, terms: Terms, decision: Decision) -> Answer:
    match decision:
        case Take(base):
            return _take(store, tenant, head, base, signed, terms)
        case Agree(there, again):
            return _agree(store, tenant, there, signed, terms, again)
        case NewLease(there):
            _write_if_changed(store, tenant, head, there)
            raise Problem(409, "lease", "begin a new copy under this lease", lease=there.pending_lease)
        case TwoAgents(there):
            _write_if_changed(store, tenant, head, there)
            raise Problem(409, "duplicate-source", "another agent pushes with the same key: give each machine a key of its own")
        case Elsewhere(there):
            raise Problem(409, "state", "the copy stands elsewhere", seq=there.seq, digest=to_hex(there.digest), committed=there.committed)


def _take(store: Store, tenant: str, head: Head | None, base: Head, signed: Signed, terms: Terms) -> Answer:
    message = signed.message
    if head and head.committed and message.lease != head.lease and _swept(store, tenant, head, signed.now):
        raise Conflict  # the head may have moved with the sweep: read it again
    refs = [Ref(ref.k, ref.id) for ref in (*message.put, *message.gone)]
    # A copy that begins has no rows under its lease yet: nobody but us ever knew it.
    known = store.hashes(tenant, message.source, message.lease or "", refs) if refs and base.seq else {}
    changes = changes_of(signed, base, known)
    if changes.digest != from_hex(message.after):
        if store.head(tenant, message.source) != head:
            raise Conflict  # another instance wrote between our two readings: nothing is known about this message yet
        raise Problem(422, "digest-mismatch", "the changes do not lead to the digest they name")
    after = taken(base, signed, changes, terms)
    store.apply(tenant, head, after, changes.rows, changes.gone)
    return Answer(200, _document(store, after, terms, signed, changes.stubs), seen=True)


def _swept(store: Store, tenant: str, head: Head, now: int) -> int:
    """Before a new lease makes every row visible again, those that the old one had superseded must be gone."""
    total = 0
    while removed := store.sweep(tenant, head.source, now=now):
        total += removed
    return total


def _agree(store: Store, tenant: str, head: Head, signed: Signed, terms: Terms, again: bool) -> Answer:
    if again:
        rows, _ = store.changes(tenant, head.source, head.lease or "", head.seq - 1)
        return Answer(200, _document(store, head, terms, signed, [row for row in rows if row.code]))
    after = alive(head, signed, terms)
    _write_if_changed(store, tenant, head, after)
    return Answer(200, _document(store, after, terms, signed, []), seen=_is_noticed(head, after, signed.now))


def _is_noticed(before: Head, after: Head, now: int) -> bool:
    """A beat is news to viewers only where the machine was thought gone, or goes."""
    was_fresh = now < before.last_seen + before.beat_s * 2500
    return before != after and (not was_fresh or after.beat_s == 0)


def _write_if_changed(store: Store, tenant: str, before: Head | None, after: Head) -> None:
    if before != after:
        store.apply(tenant, before, after)


def _document(store: Store, head: Head, terms: Terms, signed: Signed, stubs: Sequence[Row]) -> dict[str, Any]:
    return {
        "v": signed.message.v, "lease": head.lease, "seq": head.seq, "digest": to_hex(head.digest), "committed": head.committed,
        "durable": store.durable, "keep_days": terms.keep_days,
        "stubs": [{"k": row.ref.kind, "id": row.ref.id, "code": row.code} for row in stubs],
        "server_time": signed.now, "beat_s": head.beat_s or terms.beat_s, "max_changes": terms.max_changes,
        "notices": ["duplicate-source"] if has_two_agents(head, signed.now) else [],
    }  # fmt: skip


def unavailable(retry_after: float) -> Problem:
    seconds = max(1, round(retry_after))
    return Problem(503, "store-unavailable", f"the relay's store is busy: the same again in {seconds} s", headers={"Retry-After": str(seconds)})


# -- the request


class Push:
    """The endpoint without a web server: *aud* is this relay's public address, *on_change* hears which tenant has news.
    *apart* says how many seconds a tenant's agents should leave between two pushes; None: as they please."""

    def __init__(
        self, store: Store, keys: Keys, *, aud: str, limits: Limits | None = None, clock: Callable[[], int],
        on_change: Callable[[str], object] = lambda tenant: None, terms: Terms | None = None, mint: Callable[[], str] = mint_lease,
        apart: Callable[[str], int] | None = None,
    ) -> None:  # fmt: skip
        self.apart = apart
        self._store, self._keys, self._aud, self._clock = store, keys, aud.rstrip("/"), clock
        self._limits = limits or Limits.usual()
        self._on_change, self._terms, self._mint = on_change, terms or Terms(), mint

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: Body, *, address: str = "") -> Reply:
        """Status, headers and body of the answer; raises nothing that a request can cause."""
        now = self._clock()
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            self._is_push(method, path)
            length = _length(lower)
            claim = _grammar(lower)
            self._limits.address.take(address, now)
            wire_bytes = _read(body, length)
            found = self._key(lower, wire_bytes, now, address)
        except Problem as problem:
            return _refusal(problem)
        except LedgerError:  # where the keys are noted
            return _refusal(unavailable(5))
        signer = _Signer(found.secrets, claim.id, now // 1000)
        try:
            answer = self._verified(found, lower, wire_bytes, now)
        except Problem as problem:
            return signer.signed(_refusal(problem))
        if answer.seen:
            self._on_change(found.tenant)
        wish = {"apart_s": self.apart(found.tenant)} if self.apart else {}
        document = msgspec.json.encode({"re": claim.id, **answer.document, **wish})
        return signer.signed((answer.status, {"content-type": "application/json", **answer.headers}, document))

    def _is_push(self, method: str, path: str) -> None:
        if not path.rstrip("/").endswith(PATH):
            raise Problem(404, "not-found", "messages are pushed to /v1/push")
        if method.upper() != "POST":
            raise Problem(405, "method-not-allowed", "messages are pushed by POST", headers={"Allow": "POST"})

    def _key(self, headers: Mapping[str, str], body: bytes, now: int, address: str) -> Any:
        """The key that signed *body*. Its clock is not looked at here: an answer about the clock is signed already."""
        try:
            found = self._keys.find(headers["relay-key"], now)
        except Problem as unknown:
            self._strange(headers, body, now, address)
            raise unknown
        try:
            signing.verify(headers, body, found.secrets, now // 1000, tolerance=1 << 60)
        except Problem:
            self._limits.refused.take(address, now)
            raise
        return found

    def _strange(self, headers: Mapping[str, str], body: bytes, now: int, address: str) -> None:
        """A key nobody knows costs as much time as a known one."""
        self._limits.refused.take(address, now)
        try:
            signing.verify(headers, body, [], now // 1000)
        except Problem:
            return

    def _verified(self, found: Any, headers: Mapping[str, str], body: bytes, now: int) -> Answer:
        at = int(headers[signing.TIMESTAMP])
        signing.near(at, now // 1000)
        quota = self._limits.key.take(headers["relay-key"], now)
        message = wire.read_push(wire.inflate(body) if _is_gzip(headers) else body)
        self._addressed(found, message)
        try:
            answer = receive(
                self._store, tenant=found.tenant, source=found.source, message=message, at=at, now_ms=now, terms=self._terms, mint=self._mint
            )
        except Problem:
            raise
        except LedgerError as unusable:
            raise unavailable(60) from unusable
        if message.seq == 1 or message.type == "bye":
            self._keys.touch(headers["relay-key"], now)
        return Answer(answer.status, answer.document, answer.seen, quota)

    def _addressed(self, found: Any, message: wire.Push) -> None:
        if found.scope != "push":
            raise Problem(403, "scope", f"a {found.scope} key may not push: use the push key of this machine")
        if message.aud.rstrip("/") != self._aud:
            raise Problem(403, "wrong-audience", f"this relay is {self._aud}: pair the agent with that address", aud=self._aud)
        if message.source != found.source:
            raise Problem(403, "source-mismatch", "this key belongs to another source: create a key for this one")


@dataclass(frozen=True, slots=True)
class _Signer:
    secrets: list[bytes]
    id: str
    at: int

    def signed(self, reply: Reply) -> Reply:
        status, headers, body = reply
        # The agent's key was made from one of our master secrets; which one it is cannot be seen from here.
        return status, {**headers, **signing.headers(body, self.secrets[: signing.MOST_SIGNATURES], self.id, self.at)}, body


def _refusal(problem: Problem) -> Reply:
    return problem.status, {"content-type": "application/problem+json", **problem.headers}, problem.document()


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    if not text:
        raise Problem(411, "length-required", "say the body's length in content-length")
    if not _LENGTH.fullmatch(text) or not text.isascii():
        raise Problem(400, "malformed", "content-length is not a number")
    if int(text) > wire.MAX_WIRE:
        raise Problem(413, "too-large", f"a message is at most {wire.MAX_WIRE} bytes: send fewer records at once")
    return int(text)


def _grammar(headers: Mapping[str, str]) -> signing.Signed:
    """The headers are well formed; who sent them is another question."""
    if not _JSON.fullmatch(headers.get("content-type", "")):
        raise Problem(415, "encoding", "send content-type: application/json")
    if headers.get("content-encoding", "").lower() not in ("", "identity", "gzip"):
        raise Problem(415, "encoding", "send the body as it is or as gzip")
    if not KEY_ID.fullmatch(headers.get("relay-key", "")):
        raise Problem(401, "unknown-key", "send the id of your key in relay-key")
    return signing.claimed(headers)[0]


def _is_gzip(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "").lower() == "gzip"


def _read(body: Body, length: int) -> bytes:
    found = body if isinstance(body, bytes) else body(length)
    if len(found) != length:
        raise Problem(400, "malformed", "the body is not as long as content-length says")
    return found
