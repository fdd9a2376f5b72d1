"""Who is calling, and what that allows.

Reads need a read or admin key, as `Authorization: Bearer …` or `X-API-Key: …`. The earlier system's shared key opens the
reads of its own tenant too; where none is set, no shared key opens anything. A tenant comes from a key, never from a request.

A caller who is shown only part of a tenant (a viewer, or a stranger with a link) has the scope "share" here. It opens only the reads
that ask for it, and reads "tenant|share" instead of the tenant.
"""
from __future__ import annotations

import hmac
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from ledger.errors import Problem
from ledger.http.reads import Access
from ledger.keytext import claims_of
from relay.keys import TOUCH_MS, Found, KeyRing
from relay.limits import Limits
from relay.people import shares

FULL = ("read", "admin")
"""Scopes that see everything of their tenant."""
ANY = (*FULL, "share")
BELIEVED_MS = 10_000
"""How long a key that was opened is not opened again. With the ring's own delay this stays under a minute."""
SHARED = "shared"
_REMEMBERED = 4096
_ASK = {"WWW-Authenticate": 'Bearer realm="session relay"'}
audit = logging.getLogger("audit")


@dataclass(slots=True)
class Entered:
    """Somebody who was let in: *key_id* is "" for a shared key, *until* when that must be looked at again (ms),
    *quota* are headers that say how much more they may ask."""

    access: Access
    key_id: str
    until: int
    quota: dict[str, str] = field(default_factory=dict)


class Door:
    """*shared* are the earlier system's keys, of *tenant*."""

    def __init__(self, ring: KeyRing, limits: Limits, *, tenant: str, shared: Sequence[bytes], clock: Callable[[], int],
                 shown_of: shares.ShownOf = lambda name: None) -> None:  # fmt: skip
        self._shown_of = shown_of
        self._ring, self._limits, self._tenant, self._shared, self._clock = ring, limits, tenant, shared, clock
        self._believed: dict[bytes, Entered] = {}
        self._touched: dict[str, int] = {}
        self._used_from: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def enter(self, headers: Mapping[str, str], address: str, *, scopes: Sequence[str] = FULL) -> Entered:
        """Who calls. *headers* has lower-case names. Raises Problem 401, 403 or 429."""
        token, now = _token(headers), self._clock()
        if not token:
            raise Problem(401, "unknown-key", "send a read key: -H 'Authorization: Bearer sr_read_…'", headers=_ASK)
        found = self._recall(token, now) or self._open(token, address, now)
        if found.access.scope not in scopes:
            held = f"a {found.access.role}'s key" if found.access.scope == "share" else f"a {found.access.scope} key"
            raise Problem(403, "scope", f"{held} does not open this: use {'an' if scopes[0] == 'admin' else 'a'} {scopes[0]} key")
        return self._counted(found, now)

    def known(self, headers: Mapping[str, str], address: str) -> Entered | None:
        """The same without ever asking the store: None where the store would have to be asked. Raises Problem 429."""
        token, now = _token(headers), self._clock()
        found = self._recall(token, now) if token else None
        if found is None or found.access.scope not in ANY:
            return None
        self._limits.address.spend(address, now)
        return self._counted(found, now)

    def _counted(self, found: Entered, now: int) -> Entered:
        """One request more of this key and of its tenant: what a key asks too much is not taken from the tenant's others. Raises Problem 429."""
        quota = self._limits.key.take(found.key_id or SHARED, now)
        self._limits.tenant.spend(found.access.tenant, now)
        return Entered(found.access, found.key_id, found.until, quota)

    def posts(self, headers: Mapping[str, str], address: str) -> str:
        """The tenant whose old client posts. Raises Problem 401 or 429."""
        token = _token(headers)
        if not token or not self._is_shared(token, address, self._clock()):
            self._limits.refused.take(address, self._clock())
            audit.info("refused: post", extra={"address": address})
            reason = "wrong X-API-Key" if self._shared else "this relay takes no such posts: set API_SECRET where it runs, or use a push key and the agent"
            raise Problem(401, "unknown-key", reason)
        return self._tenant

    def take_address(self, address: str) -> dict[str, str]:
        """Count a request of *address*; the headers that say how many are left. Raises Problem 429."""
        return self._limits.address.take(address, self._clock())

    def still(self, key_id: str) -> bool:
        """Whether a live viewer who came with that key ("" for a shared one) may stay. Raises what the store raises."""
        if not key_id:
            return bool(self._shared)
        try:
            self._ring.find(key_id, self._clock())
        except Problem:
            return False
        return True

    def _recall(self, token: str, now: int) -> Entered | None:
        found = self._believed.get(_name(token))
        return found if found is not None and now < found.until else None

    def _open(self, token: str, address: str, now: int) -> Entered:
        if token.startswith("sr_"):
            entered = self._by_key(token, address, now)
        elif self._is_shared(token, address, now):
            entered = Entered(Access(self._tenant, "read", None), "", now + BELIEVED_MS)
        else:
            raise self._refused(Problem(401, "unknown-key", "this is no key of this relay"), address, now)
        with self._lock:
            if len(self._believed) >= _REMEMBERED:
                self._believed.clear()
            self._believed[_name(token)] = entered
        return entered

    def _by_key(self, token: str, address: str, now: int) -> Entered:
        try:
            found = self._ring.open(token, now)
        except Problem as problem:
            raise self._refused(problem, address, now) from None
        self._note(found.id, address, now)
        until = min(now + BELIEVED_MS, found.expires) if found.expires else now + BELIEVED_MS
        try:
            access = self._access(found)
        except Problem as problem:
            raise self._refused(problem, address, now) from None
        return Entered(access, found.id, until)

    def _access(self, found: Found) -> Access:
        """What a key reads. Raises Problem 401 for a link whose share is gone: it opens nothing then, never more."""
        role = claims_of(found.id).role
        name = shares.name_of(found.tenant, found.id)
        if name == found.tenant:
            return Access(found.tenant, found.scope, None, role, None, found.expires)
        shown = self._shown_of(name)
        if shown is None:
            raise Problem(401, "key-revoked", "what this link showed is shared no more: ask for a new one")
        return Access(name, "share", None, role, tuple(shown[0].listed()), found.expires)

    def _is_shared(self, token: str, address: str, now: int) -> bool:
        """A shared key may be short enough to guess, so after too many wrong ones not even the right one opens."""
        if not self._shared or self._limits.refused.is_empty(address, now):
            return False
        return bool(sum(hmac.compare_digest(token.encode("utf-8", "replace"), secret) for secret in self._shared))

    def _refused(self, problem: Problem, address: str, now: int) -> Problem:
        """The refusal, or 429 for whoever was refused too often."""
        audit.info("refused: %s", problem.type, extra={"address": address})
        try:
            self._limits.refused.take(address, now)
        except Problem as too_many:
            return too_many
        problem.headers.update(_ASK)
        return problem

    def pushed(self, key_id: str, address: str) -> None:
        """A message signed with that key was taken."""
        self._note(key_id, address, self._clock())

    def _note(self, id: str, address: str, now: int) -> None:
        """One line in the audit log per key, address and quarter of an hour, and last use on the shelf."""
        if now - self._used_from.get((id, address), -TOUCH_MS) < TOUCH_MS:
            return
        with self._lock:
            if len(self._used_from) >= _REMEMBERED:
                self._used_from.clear()
                self._touched.clear()
            last, is_new = self._touched.get(id), (id, address) not in self._used_from
            self._used_from[id, address] = now
            if last is None or now - last >= TOUCH_MS:
                self._touched[id] = now
        claims = claims_of(id)
        said = "key used from a new address" if is_new and last is not None else "key used"
        audit.info(said, extra={"key": id[-12:], "scope": claims.scope, "tenant": claims.tenant, "address": address})
        if self._touched.get(id) == now:
            self._ring.touch(id, now)


def _token(headers: Mapping[str, str]) -> str:
    """What the caller sent as a key; "" for nothing, or for something that cannot be one."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    token = given.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "").strip()
    return token if len(token) <= 1024 else ""


def _name(token: str) -> bytes:
    """Tokens are remembered by hash: a dump of our memory should not be a list of keys."""
    return sha256(token.encode("utf-8", "replace")).digest()
