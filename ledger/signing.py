"""Who wrote these bytes, and when: the signature of Standard Webhooks over exactly what is on the wire.

The same three headers and the same function sign pushes, the relay's answers and outgoing webhooks.
Whatever is wrong with a header, the caller hears bad-signature; only a true signature with a wrong
clock hears clock-skew, because only its owner may learn the time that way.
"""
from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger.errors import Problem

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
TOLERANCE_S = 300
MOST_SIGNATURES = 4

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")
_TOKEN = r"v[0-9]{1,2}[a-z]?,[A-Za-z0-9+/]{1,128}={0,2}"
_SIGNATURE = re.compile(rf"{_TOKEN}(?: {_TOKEN}){{0,{MOST_SIGNATURES - 1}}}")
# Tried where no key is known, so that an unknown key costs the same time as a known one.
_NOBODY = b"\0" * 32


@dataclass(frozen=True, slots=True)
class Signed:
    """What a true signature vouches for: the message's id and its time in seconds since 1970 UTC."""

    id: str
    at: int


def sign(body: bytes, secret: bytes, id: str, at: int) -> str:
    """The signature "v1,<base64>" of *body* sent as message *id* at second *at*."""
    return "v1," + b64encode(hmac.digest(secret, b"%s.%d.%s" % (id.encode(), at, body), sha256)).decode()


def headers(body: bytes, secrets: Sequence[bytes], id: str, at: int) -> dict[str, str]:
    """The three headers for *body*, signed with each of *secrets* (two while a key is rotated)."""
    return {ID: id, TIMESTAMP: str(at), SIGNATURE: " ".join(sign(body, secret, id, at) for secret in secrets)}


def claimed(headers: Mapping[str, str]) -> tuple[Signed, list[str]]:
    """What the headers claim, by grammar alone; raises bad-signature where they are not even well formed."""
    lower = {name.lower(): value for name, value in headers.items()}
    id, at, signature = (_matching(lower.get(name), grammar) for name, grammar in _GRAMMAR)
    return Signed(id, int(at)), signature.split(" ")


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: int, tolerance: int = TOLERANCE_S) -> Signed:
    """Who holds one of *secrets* wrote *body*, within *tolerance* seconds of *now*; else a Problem of status 401."""
    signed, tokens = claimed(headers)
    vouch(signed, tokens, body, secrets)
    near(signed.at, now, tolerance)
    return signed


def vouch(signed: Signed, tokens: Sequence[str], body: bytes, secrets: Sequence[bytes]) -> None:
    """Raises bad-signature unless one of *tokens* was made with one of *secrets* for *body*."""
    expected = [sign(body, secret, signed.id, signed.at).encode() for secret in secrets or [_NOBODY]]
    given = [token.encode() for token in tokens]
    # All pairs are compared, so that the time taken does not tell which one was nearly right. The text is
    # compared and not the decoded bytes: base64 has several spellings of one value.
    matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in given]
    if not any(matches) or not secrets:
        raise _refused()


def near(at: int, now: int, tolerance: int = TOLERANCE_S) -> None:
    """Raises clock-skew where second *at* is not within *tolerance* of *now*. To be asked of true signatures only."""
    if abs(now - at) > tolerance:
        raise Problem(
            401, "clock-skew", "the message's time is too far from the server's; set the clock right", server_time=now * 1000
        )


def _matching(value: object, grammar: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not grammar.fullmatch(value):
        raise _refused()
    return value


def _refused() -> Problem:
    return Problem(401, "bad-signature", "the signature does not fit the message and the key")


_GRAMMAR = ((ID, _ID), (TIMESTAMP, _TIMESTAMP), (SIGNATURE, _SIGNATURE))
