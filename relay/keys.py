"""Keys: made, opened, revoked.

A key is self-contained: its secret is derived from the relay's master secret and its own id, so a relay
that lost everything still knows its keys, checking one reads nothing, and a dump of the store can neither
sign nor read. The shelf keeps only names, last use and revocations.
"""
from __future__ import annotations

import hmac
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger.errors import LedgerError, Misuse, Problem
from ledger.keytext import SECRET_BYTES, BadKey, Claims, KeyText, claims_of, id_of
from ledger.store import Document, Shelf
from relay.people.marks import Marks

DRAWER = "keys"
RECHECK_MS = 45_000
"""How long an answer about a revocation is believed; a revocation must take effect within 60 s."""
TOUCH_MS = 15 * 60_000
"""Last use is a little inexact, so that a busy key costs no write per request."""
_REMEMBERED = 4096
_SALT = b"session-relay key 1"
audit = logging.getLogger("audit")


@dataclass(frozen=True, slots=True)
class Found:
    """A key that is in force. *secrets* has one secret per master secret, newest first."""

    tenant: str
    source: str
    scope: str
    secrets: list[bytes]
    id: str
    expires: int = 0
    """Milliseconds; 0 never."""

    def __repr__(self) -> str:
        return f"Found({self.tenant!r}, {self.source!r}, {self.scope!r})"


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of `keys list`. Times are milliseconds; 0 is never."""

    id: str
    name: str
    scope: str
    tenant: str
    source: str
    issued: int
    expires: int
    last_use: int
    state: str
    role: str = ""


class KeyRing:
    """All keys of one relay. *master* is newest first: the first one makes keys, every one opens them."""

    def __init__(self, master: Sequence[bytes], shelf: Shelf, revoked: Iterable[str], clock: Callable[[], int]) -> None:
        self._masters = [hmac.digest(_SALT, secret, sha256) for secret in master]
        self._shelf, self._revoked, self._clock = shelf, frozenset(revoked), clock
        self.marks = Marks(shelf, clock)
        self._believed: dict[str, tuple[int, bool]] = {}
        self._lock = threading.Lock()

    def issue(self, scope: str, tenant: str, source: str = "", expires: int = 0, *, name: str = "") -> str:
        """A new key, as the text its holder keeps. *expires* is in seconds since 1970, 0 never. Raises Misuse."""
        now = self._clock()
        # A key of a name that was forgotten within this very second is not one of those that ended with it.
        issued = max(now // 1000, self.marks.until(tenant, source, now) + 1)
        claims = Claims(scope, tenant, source, issued, expires, secrets.token_bytes(6))
        try:
            id = id_of(claims)
        except BadKey as reason:
            raise Misuse(str(reason)) from None
        self._shelf.put(DRAWER, id, {"name": name or claims.holder or scope, "last_use": 0, "revoked": 0}, now=now)
        audit.info("key issued", extra={"key": id[-12:], "scope": scope, "tenant": tenant})
        return KeyText(scope, id, self._secret(self._masters[0], id)).text()

    def find(self, key_id: str, now: int, *, anew: bool = False) -> Found:
        """The key of that id, for whoever proves by a signature to hold it; *anew*: whatever was believed of it before *now*. Raises Problem 401."""
        claims = _claims(key_id)
        if anew:
            self.marks.doubt(now)
            with self._lock:
                if self._believed.get(key_id, (now, False))[0] != now:
                    del self._believed[key_id]
        self._must_be_in_force(key_id, claims, now)
        return Found(claims.tenant, claims.source, claims.scope, [*self._secrets(key_id)], key_id, claims.expires * 1000)

    def open(self, text: str, now: int) -> Found:
        """The key that *text* is, secret and all. Raises Problem 401."""
        try:
            key = KeyText.parse(text)
        except BadKey as reason:
            raise Problem(401, "unknown-key", str(reason)) from None
        # Every secret is compared, so that time does not tell how near a guess came.
        if not sum(hmac.compare_digest(key.secret, secret) for secret in self._secrets(key.id)):
            raise Problem(401, "unknown-key", "this relay did not make this key: create one with `python -m relay keys create`")
        self._must_be_in_force(key.id, key.claims, now)
        return Found(key.claims.tenant, key.claims.source, key.scope, [key.secret], key.id, key.claims.expires * 1000)

    def revoke(self, id: str) -> None:
        """From now on (elsewhere within 60 s) the key opens nothing. Raises Misuse for what is no key's id."""
        try:
            claims = claims_of(id)
        except BadKey as reason:
            raise Misuse(f"{reason}; `python -m relay keys list` shows the ids") from None
        now = self._clock()
        known = self._shelf.take(DRAWER, id, now=now)
        value = dict(known.value) if known else {"name": claims.holder or claims.scope, "last_use": 0}
        self._shelf.put(DRAWER, id, value | {"revoked": now}, now=now)
        with self._lock:
            self._believed[id] = (now, True)
        audit.info("key revoked", extra={"key": id[-12:], "scope": claims.scope, "tenant": claims.tenant})

    def list(self) -> Sequence[Listed]:
        """The keys this store knows of, oldest first."""
        now = self._clock()
        return sorted((self._listed(id, document, now) for id, document in self._shelf.list(DRAWER, now=now)), key=lambda one: (one.issued, one.id))

    def _listed(self, id: str, document: Document, now: int) -> Listed:
        claims, value = claims_of(id), document.value
        gone = bool(value.get("revoked")) or id in self._revoked or self.marks.ended(claims, now)
        state = "revoked" if gone else "expired" if claims.expired(now) else "in force"
        last_use = value.get("last_use")
        return Listed(
            id, str(value.get("name", "")), claims.scope, claims.tenant, claims.holder, claims.issued * 1000,
            claims.expires * 1000, last_use if isinstance(last_use, int) else 0, state, claims.role,
        )  # fmt: skip

    def _must_be_in_force(self, id: str, claims: Claims, now: int) -> None:
        if claims.expired(now):
            raise Problem(401, "key-expired", "this key has expired: create a new one with `python -m relay keys create`")
        if id in self._revoked or self._is_revoked(id, now) or self.marks.ended(claims, now):
            raise Problem(401, "key-revoked", "this key was revoked: create a new one with `python -m relay keys create`")

    def _is_revoked(self, id: str, now: int) -> bool:
        at, revoked = self._believed.get(id, (None, False))
        if at is not None and 0 <= now - at < RECHECK_MS:
            return revoked
        document = self._shelf.take(DRAWER, id, now=now)
        revoked = bool(document and document.value.get("revoked"))
        with self._lock:
            if len(self._believed) >= _REMEMBERED:
                self._believed.clear()
            self._believed[id] = (now, revoked)
        return revoked

    def touch(self, id: str, now: int) -> None:
        """Note that the key was used, every quarter of an hour at most. Never fails: it is a note."""
        try:
            document = self._shelf.take(DRAWER, id, now=now)
            value = dict(document.value) if document else {"name": claims_of(id).holder or claims_of(id).scope, "revoked": 0, "last_use": 0}
            last = value.get("last_use")
            if isinstance(last, int) and now - last >= TOUCH_MS:
                self._shelf.put(DRAWER, id, value | {"last_use": now}, now=now, expect=document.version if document else 0)
        except LedgerError:
            return

    def _secrets(self, id: str) -> Sequence[bytes]:
        return [self._secret(master, id) for master in self._masters]

    @staticmethod
    def _secret(master: bytes, id: str) -> bytes:
        """HKDF-SHA256 (RFC 5869) of one block: the extract step was done once, this is the expand step."""
        return hmac.digest(master, id.encode() + b"\x01", sha256)[:SECRET_BYTES]


def _claims(id: str) -> Claims:
    try:
        return claims_of(id)
    except BadKey:
        raise Problem(401, "unknown-key", "this relay does not know this key: create one with `python -m relay keys create`") from None
