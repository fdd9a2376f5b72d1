"""A record: the latest state of one thing, and the hash that says which state that is.

A body travels as the text that was serialised once, on the laptop; nobody re-serialises it,
so nobody needs canonical JSON and a hash is the same on every machine.
"""
from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

try:
    from _sha2 import sha256 as _plain_sha256  # type: ignore[import-not-found]
except ImportError:  # before Python 3.12
    try:
        from _sha256 import sha256 as _plain_sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256 as _plain_sha256

MODULUS = 1 << 256
KIND = re.compile(r"[a-z]{1,32}")
ID = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,128}")
EMPTY_DIGEST = 0


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Names a record within one source."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Record:
    """The latest state of one thing. *body* is serialised JSON, at most 64 KiB of UTF-8."""

    kind: str
    id: str
    body: str

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.id)

    @property
    def hash(self) -> int:
        return hash_of(self.kind, self.id, self.body)


def hash_of(kind: str, id: str, body: str) -> int:
    """SHA-256(kind, NUL, id, NUL, body) as an integer; NUL can stand in none of them."""
    openssl = sys.modules.get("_hashlib")
    # OpenSSL is the faster one, but loading it costs three megabytes: only a program that has it anyway is to use it.
    sha256 = openssl.openssl_sha256 if openssl else _plain_sha256
    return int.from_bytes(sha256(b"\0".join((kind.encode(), id.encode(), body.encode()))).digest(), "big")


def add(digest: int, *, put: Iterable[int] = (), gone: Iterable[int] = ()) -> int:
    """The digest after the hashes in *put* came and those in *gone* went. Order does not matter."""
    return (digest + sum(put) - sum(gone)) % MODULUS


def to_hex(digest: int) -> str:
    """64 lower-case hexadecimal digits, as digests and hashes travel."""
    return f"{digest:064x}"


def from_hex(text: str) -> int:
    return int(text, 16)
