"""Addresses and secrets of channels, unreadable in the store: whoever has a dump of it cannot write to anybody's chat.

A key for each tenant comes from the relay's master secret; the text is XORed with a keystream of HMAC-SHA256 and
authenticated by a second HMAC (encrypt, then authenticate). Only the standard library, because a function has no other.
"""
from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Sequence
from hashlib import sha256

from ledger.errors import Misconfigured

_SALT = b"session-relay alerts 1"
_NONCE, _TAG = 16, 32


class Locker:
    """*master* is newest first: the first one locks, every one opens."""

    def __init__(self, master: Sequence[bytes]) -> None:
        self._masters = [hmac.digest(_SALT, secret, sha256) for secret in master]

    def lock(self, text: str, tenant: str) -> str:
        nonce, (hide, seal) = secrets.token_bytes(_NONCE), _keys(self._masters[0], tenant)
        hidden = nonce + _xor(text.encode(), hide, nonce)
        return base64.b64encode(hidden + hmac.digest(seal, hidden, sha256)).decode()

    def open(self, locked: str, tenant: str) -> str:
        """The text. Raises Misconfigured where no master secret of ours locked it for this tenant."""
        try:
            raw = base64.b64decode(locked, validate=True)
        except ValueError:
            raw = b""
        hidden, tag = raw[:-_TAG], raw[-_TAG:]
        for master in self._masters:
            hide, seal = _keys(master, tenant)
            if hmac.compare_digest(hmac.digest(seal, hidden, sha256), tag):
                return _xor(hidden[_NONCE:], hide, hidden[:_NONCE]).decode()
        raise Misconfigured("the channel was kept under another RELAY_SECRET: set its address again")


def _keys(master: bytes, tenant: str) -> tuple[bytes, bytes]:
    return hmac.digest(master, b"hide\0" + tenant.encode(), sha256), hmac.digest(master, b"seal\0" + tenant.encode(), sha256)


def _xor(data: bytes, key: bytes, nonce: bytes) -> bytes:
    blocks = (hmac.digest(key, nonce + number.to_bytes(4, "big"), sha256) for number in range(len(data) // 32 + 1))
    return bytes(one ^ other for one, other in zip(data, b"".join(blocks), strict=False))
