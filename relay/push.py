"""The push endpoint: the cheap and anonymous questions first, then the key, then the message, then one transaction.

An agent believes only what is signed with its own key, so every answer to a message whose signature was true is
signed, the refusals too. No answer repeats anything of the body.
"""
from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from ledger import signing, wire
from ledger.errors import LedgerError, Problem
from ledger.keytext import KEY_ID
from ledger.sizes import MAX_WIRE
from ledger.store import Store
from relay.limits import Limits
from relay.protocol import Terms
from relay.receive import Answer, mint_lease, receive, unavailable

PATH = "/v1/push"
audit = logging.getLogger("audit")
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
    def find(self, key_id: str, now: int, *, anew: bool = False) -> Any:
        """The Found of that id; *anew*: whatever was believed of it before *now*. Raises Problem 401."""
        ...

    def touch(self, id: str, now: int) -> None: ...


class Push:
    """The endpoint without a web server: *aud* is this relay's public address, *on_change* hears which tenant has news.
    *apart* says how many seconds a tenant's agents should leave between two pushes; None: as they please. *terms_of* gives a tenant's own terms, as they are
    this moment for a copy that begins."""

    def __init__(
        self, store: Store, keys: Keys, *, aud: str, limits: Limits | None = None, clock: Callable[[], int],
        on_change: Callable[[str], object] = lambda tenant: None, terms: Terms | None = None, mint: Callable[[], str] = mint_lease,
        apart: Callable[[str], int] | None = None, terms_of: Callable[[str, bool], Terms] | None = None,
    ) -> None:  # fmt: skip
        self.apart = apart
        self._store, self._keys, self._aud, self._clock = store, keys, aud.rstrip("/"), clock
        self._limits = limits or Limits.usual()
        usual = terms or Terms()
        self._on_change, self._terms_of, self._mint = on_change, terms_of or (lambda tenant, is_new: usual), mint

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: Body, *, address: str = "") -> Reply:
        """Status, headers and body of the answer; raises nothing that a request can cause."""
        now = self._clock()
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            self._is_push(method, path)
            length = _length(lower)
            claim, tokens = _grammar(lower)
            self._limits.address.spend(address, now)
            wire_bytes = _read(body, length)
            found = self._key(lower["relay-key"], claim, tokens, wire_bytes, now, address)
        except Problem as problem:
            _note(problem, lower, address)
            return _refusal(problem)
        except LedgerError:  # where the keys are noted
            return _refusal(unavailable(2))
        signer = _Signer(found.secrets, claim.id, now // 1000)
        try:
            answer = self._verified(found, claim.at, lower, wire_bytes, now)
        except Problem as problem:
            _note(problem, lower, address)
            return signer.signed(_refusal(problem))
        if answer.seen:
            self._on_change(found.tenant)
        wish = {"apart_s": self.apart(found.tenant)} if self.apart else {}
        document = msgspec.json.encode({"re": claim.id, **answer.document, **wish})
        return signer.signed((answer.status, {"content-type": "application/json", **answer.headers}, document))

    def is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether a key in force signed *body*, found out as cheaply as may be, and without counting it."""
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            claim, tokens = _grammar(lower)
        except Problem:
            return False
        try:
            secrets = self._keys.find(lower["relay-key"], self._clock()).secrets
        except LedgerError:
            secrets = []  # a key nobody knows costs as much time as a known one
        try:
            signing.vouch(claim, tokens, body, secrets)
        except Problem:
            return False
        return True

    def _is_push(self, method: str, path: str) -> None:
        if not path.rstrip("/").endswith(PATH):
            raise Problem(404, "not-found", "messages are pushed to /v1/push")
        if method.upper() != "POST":
            raise Problem(405, "method-not-allowed", "messages are pushed by POST", headers={"Allow": "POST"})

    def _key(self, key: str, claim: signing.Signed, tokens: Sequence[str], body: bytes, now: int, address: str) -> Any:
        """The key that signed *body*. Its clock is not looked at here: an answer about the clock is signed already."""
        try:
            found = self._keys.find(key, now)
        except Problem as unknown:
            self._strange(claim, tokens, body, now, address)
            raise unknown
        try:
            signing.vouch(claim, tokens, body, found.secrets)
        except Problem:
            self._limits.refused.take(address, now)
            raise
        return found

    def _strange(self, claim: signing.Signed, tokens: Sequence[str], body: bytes, now: int, address: str) -> None:
        """A key nobody knows costs as much time as a known one."""
        self._limits.refused.take(address, now)
        try:
            signing.vouch(claim, tokens, body, [])
        except Problem:
            return

    def _verified(self, found: Any, at: int, headers: Mapping[str, str], body: bytes, now: int) -> Answer:
        signing.near(at, now // 1000)
        # The key first: what one machine asks too much is not taken from the others of its tenant.
        quota = self._limits.key.take(headers["relay-key"], now)
        # Beside the reads of the tenant, not among them: busy agents must not lock a page out, nor the other way round.
        self._limits.tenant.spend(f"{found.tenant} pushes", now)
        message = wire.read_push(wire.inflate(body) if _is_gzip(headers, body) else body)
        self._addressed(found, message)
        begins = message.seq == 1

        def still() -> None:
            """Of whom was just forgotten, a process that has not heard of it would take everything in again."""
            self._keys.find(found.id, now, anew=True)

        def lease() -> str:
            still()
            return self._mint()

        try:
            if begins:
                still()
            answer = receive(
                self._store, tenant=found.tenant, source=found.source, message=message, at=at, now_ms=now, terms=self._terms_of(found.tenant, begins),
                mint=lease,
            )
        except Problem:
            raise
        except LedgerError as unusable:
            raise unavailable(2) from unusable
        if begins or message.type == "bye":
            self._keys.touch(headers["relay-key"], now)
        return Answer(answer.status, answer.document, answer.seen, quota)

    def _addressed(self, found: Any, message: wire.Push) -> None:
        if found.scope != "push":
            raise Problem(403, "scope", f"a {found.scope} key may not push: use the push key of this machine")
        if message.aud.rstrip("/") != self._aud:
            raise Problem(403, "wrong-audience", f"this relay is {self._aud}: pair the agent with that address", aud=self._aud)
        if message.source != found.source:
            raise Problem(403, "source-mismatch", "this key belongs to another machine: create one for this machine with `python -m relay keys create --scope push --source NAME`")


@dataclass(frozen=True, slots=True)
class _Signer:
    secrets: list[bytes]
    id: str
    at: int

    def signed(self, reply: Reply) -> Reply:
        status, headers, body = reply
        # The agent's key was made from one of our master secrets; which one it is cannot be seen from here.
        return status, {**headers, **signing.headers(body, self.secrets[: signing.MOST_SIGNATURES], self.id, self.at)}, body


def _note(problem: Problem, headers: Mapping[str, str], address: str) -> None:
    """A line in the audit log for whoever pushes what he may not."""
    if problem.status in (401, 403) and problem.type != "clock-skew":
        named = headers.get("relay-key", "")
        key = {"key": named[-12:]} if KEY_ID.fullmatch(named) else {}
        audit.info("refused: push, %s", problem.type, extra={"address": address, **key})


def _refusal(problem: Problem) -> Reply:
    return problem.status, {"content-type": "application/problem+json", **problem.headers}, problem.document()


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    if not text:
        raise Problem(411, "length-required", "say the body's length in content-length")
    if not _LENGTH.fullmatch(text) or not text.isascii():
        raise Problem(400, "malformed", "content-length is not a number")
    if int(text) > MAX_WIRE:
        raise Problem(413, "too-large", f"a message is at most {MAX_WIRE} bytes: send fewer records at once")
    return int(text)


def _grammar(headers: Mapping[str, str]) -> tuple[signing.Signed, list[str]]:
    """The headers are well formed; who sent them is another question."""
    if not _JSON.fullmatch(headers.get("content-type", "")):
        raise Problem(415, "encoding", "send content-type: application/json")
    if headers.get("content-encoding", "").lower() not in ("", "identity", "gzip"):
        raise Problem(415, "encoding", "send the body as it is or as gzip")
    if not KEY_ID.fullmatch(headers.get("relay-key", "")):
        raise Problem(401, "unknown-key", "send the id of your key in relay-key")
    return signing.claimed(headers)


def _is_gzip(headers: Mapping[str, str], body: bytes) -> bool:
    """The header is not signed and a proxy may drop it; no JSON begins with gzip's mark."""
    return headers.get("content-encoding", "").lower() == "gzip" or body.startswith(b"\x1f\x8b")


def _read(body: Body, length: int) -> bytes:
    found = body if isinstance(body, bytes) else body(length)
    if len(found) != length:
        raise Problem(400, "malformed", "the body is not as long as content-length says")
    return found
