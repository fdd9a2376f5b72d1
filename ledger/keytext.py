"""What a key looks like, and what can be read from it without asking anybody.

    sr_<push|read|admin>_<id>_<secret>_<crc32>

The prefix and the checksum let scanners find a leaked key and let a typing error fail on the spot.
The id says tenant, source, scope, issue and expiry; the secret is derived from it by the relay
(relay/keys.py), so nothing in this module knows whether a key is genuine.
"""
from __future__ import annotations

import base64
import re
from binascii import Error as NotBase32
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

SCOPES = ("push", "read", "admin")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,62}")
"""What a tenant or a source may be called. Names starting with "~" are the relay's own and never stand in a key."""
HOLDER = re.compile(rf"~(share|viewer|member|admin)(?:/({NAME.pattern}))?")
"""Where a push key names its source, another key may say who holds it. One that says nothing is a member's, or an admin's."""
SECRET_BYTES = 32
_NONCE_BYTES = 6
_FIXED = 2 + 4 + 4 + _NONCE_BYTES
_VERSION = 1
KEY_ID = re.compile(r"[a-z2-7]{20,320}")
_TEXT = re.compile(r"sr_(push|read|admin)_([a-z2-7]{20,320})_([a-z2-7]{52})_([0-9a-f]{8})")


class BadKey(ValueError):
    """Not a key: mistyped, cut off, or something else. The text says which, and never repeats the key."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a key's id says. *issued* and *expires* are seconds since 1970 UTC; expires 0 means never."""

    scope: str
    tenant: str
    source: str
    issued: int
    expires: int
    nonce: bytes = bytes(_NONCE_BYTES)

    def expired(self, now_ms: int) -> bool:
        return bool(self.expires) and now_ms >= self.expires * 1000

    @property
    def role(self) -> str:
        """What its holder is to the tenant: machine, admin, member, viewer, or a stranger who was given a share."""
        if self.scope != "read":
            return "machine" if self.scope == "push" else "admin"
        found = HOLDER.fullmatch(self.source)
        return found[1] if found else "member"

    @property
    def holder(self) -> str:
        """The name of the machine or of the person; "" where the key names nobody."""
        found = HOLDER.fullmatch(self.source)
        return (found[2] or "") if found else self.source


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key taken apart. Its repr shows no secret."""

    scope: str
    id: str
    secret: bytes

    @classmethod
    def parse(cls, text: str, *, wanted: str = "read") -> KeyText:
        """The parts of *text*. Raises BadKey for everything that is not exactly a key; *wanted* is the scope that its text shows as an example."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise BadKey(f"this is not a key: it should look like sr_{wanted}_…; copy it again, whole")
        scope, id, secret, checksum = found.groups()
        if f"{crc32(text[:-9].encode()):08x}" != checksum:
            raise BadKey("this key is mistyped or cut off: its checksum does not fit; copy it again, whole")
        if claims_of(id).scope != scope:
            raise BadKey("this key says two different scopes: create a new one")
        return cls(scope, id, _from_base32(secret))

    def text(self) -> str:
        body = f"sr_{self.scope}_{self.id}_{_to_base32(self.secret)}"
        return f"{body}_{crc32(body.encode()):08x}"

    @property
    def claims(self) -> Claims:
        return claims_of(self.id)

    def __repr__(self) -> str:
        return f"KeyText({self.scope!r}, {self.id!r})"


def id_of(claims: Claims) -> str:
    """The id that says *claims*. Raises BadKey for a name or a scope that no key may carry."""
    held = HOLDER.fullmatch(claims.source)
    for what, name in (("tenant", claims.tenant), ("member", held[2] or "none") if held else ("machine", claims.source or "none")):
        if not NAME.fullmatch(name):
            raise BadKey(f"a {what}'s name is 1 to 63 letters, digits, dots, @, +, hyphens or underscores, and starts with a letter or digit")
    if claims.scope not in SCOPES or (claims.scope == "push") != bool(claims.source and not held):
        raise BadKey("a push key names the machine that pushes with it (--source NAME); a read or admin key names none")
    if held and (held[1] == "admin") != (claims.scope == "admin"):
        raise BadKey("an admin's key has the scope admin, and nobody else's")
    fixed = bytes((_VERSION, SCOPES.index(claims.scope))) + claims.issued.to_bytes(4, "big") + claims.expires.to_bytes(4, "big")
    return _to_base32(fixed + claims.nonce + f"{claims.tenant}\0{claims.source}".encode())


@lru_cache(maxsize=4096)
def claims_of(id: str) -> Claims:
    """What *id* says. Raises BadKey where it is no key's id."""
    raw = _from_base32(id) if KEY_ID.fullmatch(id) else b""
    if len(raw) <= _FIXED or raw[0] != _VERSION or raw[1] >= len(SCOPES):
        raise BadKey("this is not the id of a key")
    tenant, _, source = raw[_FIXED:].decode("latin-1").partition("\0")
    claims = Claims(SCOPES[raw[1]], tenant, source, int.from_bytes(raw[2:6], "big"), int.from_bytes(raw[6:10], "big"), raw[10:_FIXED])
    if id_of(claims) != id:  # one spelling per id: a revoked key must not come back under another
        raise BadKey("this is not the id of a key")
    return claims


def _to_base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _from_base32(text: str) -> bytes:
    try:
        return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except NotBase32:
        raise BadKey("this is not the id of a key") from None
