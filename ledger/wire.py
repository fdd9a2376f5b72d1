"""The messages of the push protocol, read.

The types below are the compiled form of the definition in messages.py, which is thirty times too slow to run on every push, and
takes longer to load than everything else here. A test compares the two. What the types refuse is
checked again by the definition, which makes the error message. Members that are not named here are ignored, so that newer agents may say more.
"""
from __future__ import annotations

import zlib
from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from ledger.errors import Problem
from ledger.record import ID
from ledger.sizes import MAX_BODY, MAX_CHANGES, MAX_ID_BYTES, MAX_INFLATED
from ledger.strict import NotStrict, strict_json

VERSION = 1
SPOKEN = (VERSION - 1, VERSION)
MOST_INT = (1 << 53) - 1

MALFORMED_ID, MALFORMED_BODY, TOO_LARGE = "malformed-id", "malformed-body", "too-large"
"""Why a record is kept as a stub."""


Kind = Annotated[str, Meta(pattern=r"^[a-z]{1,32}\Z", min_length=1, max_length=32)]
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES)]
Number = Annotated[int, Meta(ge=0, le=MOST_INT)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", min_length=64, max_length=64)]
Lease = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z", min_length=32, max_length=32)]


class Ref(msgspec.Struct, frozen=True):
    k: Kind
    id: Id


class Put(Ref, frozen=True):
    b: str


class Push(msgspec.Struct, frozen=True):
    """A message that fits PushSchema. *gone* is called "del" on the wire."""

    v: Number
    type: Annotated[str, Meta(pattern=r"^(push|beat|bye)\Z")]
    aud: Annotated[str, Meta(min_length=1, max_length=500)]
    source: Annotated[str, Meta(min_length=1, max_length=128)]
    lease: Lease | None
    seq: Number
    prev: Digest
    after: Digest = "0" * 64
    commit: bool = False
    put: list[Put] = field(default_factory=list)
    gone: list[Ref] = field(default_factory=list, name="del")
    agent: dict[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        return len(self.put) + len(self.gone)


def read_push(data: bytes) -> Push:
    """The message in *data*. Raises Problem 400 (malformed), 413 (too-large) or 426 (upgrade-required)."""
    try:
        found = strict_json(data)
    except NotStrict as reason:
        raise Problem(400, "malformed", f"the body is not JSON as this relay wants it: {reason}") from None
    if not isinstance(found, dict):
        raise Problem(400, "malformed", "the body is not a JSON object")
    _speakable(found)
    _countable(found)
    message = judged(found)
    _consistent(message)
    return message


def judged(found: dict[str, Any]) -> Push:
    """*found* as a message, by the types above; by the definition where they refuse it."""
    try:
        return msgspec.convert(found, Push)
    except msgspec.ValidationError:
        from ledger.messages import judged_slowly

        return judged_slowly(found)


def unfit(put: Put) -> str | None:
    """Why this record can only be kept as a stub, or None."""
    if not _is_id(put.id):
        return MALFORMED_ID
    body = put.b.encode()
    if len(body) > MAX_BODY:
        return TOO_LARGE
    try:
        return None if isinstance(strict_json(body), dict) else MALFORMED_BODY
    except NotStrict:
        return MALFORMED_BODY


def _is_id(text: str) -> bool:
    # The pattern's answer, sooner for the usual id.
    if text.isascii() and text.isprintable():
        return 1 <= len(text) <= 128
    return ID.fullmatch(text) is not None


def inflate(data: bytes) -> bytes:
    """The one gzip member that *data* is, whole. Raises Problem 400 or 413, having inflated no more than MAX_INFLATED."""
    machine = zlib.decompressobj(31)
    try:
        text = machine.decompress(data, MAX_INFLATED + 1)
    except zlib.error:
        raise Problem(400, "malformed", "the body is not gzip as its header says") from None
    if len(text) > MAX_INFLATED:
        raise Problem(413, "too-large", f"the body inflates to more than {MAX_INFLATED} bytes: send fewer records at once")
    if not machine.eof or machine.unused_data:
        raise Problem(400, "malformed", "the gzip body is cut off, or something follows it")
    return text


def _speakable(found: dict[str, Any]) -> None:
    version = found.get("v")
    if type(version) is int and version not in SPOKEN:
        which = "upgrade the relay" if version > VERSION else "upgrade the agent"
        raise Problem(426, "upgrade-required", f"this relay speaks versions {SPOKEN[0]} and {SPOKEN[1]}: {which}", spoken=list(SPOKEN))


def _countable(found: dict[str, Any]) -> None:
    """Far too many changes are refused unread: to find words for each would take the slow way minutes."""
    if any(isinstance(found.get(name), list) and len(found[name]) > MAX_CHANGES for name in ("put", "del")):
        raise _too_many()


def _too_many() -> Problem:
    return Problem(413, "too-large", f"at most {MAX_CHANGES} changes at once: send fewer", max_changes=MAX_CHANGES)


def _consistent(message: Push) -> None:
    """What no single member can say."""
    if message.changes > MAX_CHANGES:
        raise _too_many()
    if message.type != "push" and (message.changes or message.commit):
        raise Problem(400, "malformed", f"a {message.type} carries no changes")
    keys = {(ref.k, ref.id) for ref in (*message.put, *message.gone)}
    if len(keys) != message.changes:
        raise Problem(400, "malformed", "the same record twice in one message")
    if any(len(id.encode()) > MAX_ID_BYTES for _, id in keys):
        raise Problem(400, "malformed", f"an id is at most {MAX_ID_BYTES} bytes")
