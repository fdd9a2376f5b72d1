"""Names that leave this machine only as sealed text, which nobody but a page that holds the seal key can open.

Equal names of a kind are equal when sealed, so that a relay can group by a project without knowing it. That they are
equal is all it learns, beside a rough length: names are padded to a multiple of 16 bytes.
"""
from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

from ledger.errors import LedgerError

PREFIX = "sealed1."
KEY_BYTES, NONCE_BYTES, BLOCK = 32, 12, 16
SEALED = re.compile(r"sealed1\.[A-Za-z0-9_-]{59,}")
"""At least a nonce, one block and a tag."""


class Unopened(LedgerError):
    """This text was not sealed with this key, or not as this kind of name, or it was changed since."""


class Seal:
    """Seals and opens with one 32-byte key; the two keys that do the work are derived from it."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a seal key has 32 bytes")
        self._nonce_key = _derived(key, b"session-relay seal v1 nonce")
        self._cipher = _cipher(_derived(key, b"session-relay seal v1 encrypt"))
        self.sealed: Callable[[str, str], str] = lru_cache(maxsize=4096)(self._sealed)

    def _sealed(self, kind: str, text: str) -> str:
        """*text* as a name of *kind*, sealed; what is sealed already stays as it is."""
        if SEALED.fullmatch(text) and self._opens(kind, text):
            return text
        plain = text.encode("utf-8", "replace")
        nonce = hmac.digest(self._nonce_key, kind.encode() + b"\0" + plain, "sha256")[:NONCE_BYTES]
        padded = plain + b"\0" * (-len(plain) % BLOCK)
        return PREFIX + to_text(nonce + self._cipher.encrypt(nonce, padded, kind.encode()))

    def opened(self, kind: str, sealed: str) -> str:
        """The name again. Raises Unopened."""
        from cryptography.exceptions import InvalidTag

        try:
            whole = to_bytes(sealed.removeprefix(PREFIX)) if sealed.startswith(PREFIX) else b""
            plain: bytes = self._cipher.decrypt(whole[:NONCE_BYTES], whole[NONCE_BYTES:], kind.encode())
            return plain.rstrip(b"\0").decode()
        except (ValueError, InvalidTag):
            raise Unopened("this name was sealed with another key") from None

    def _opens(self, kind: str, text: str) -> bool:
        try:
            self.opened(kind, text)
        except Unopened:
            return False
        return True


def to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def to_bytes(text: str) -> bytes:
    """Raises ValueError for what is not base64url without padding, in its one spelling."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("not base64url")
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
    if to_text(raw) != text:
        raise ValueError("not base64url")
    return raw


def _derived(key: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) with an empty salt, for one block of output."""
    extracted = hmac.digest(b"\0" * sha256().digest_size, key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def _cipher(key: bytes):  # type: ignore[no-untyped-def]
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
