"""One push as bytes: what changed, and the number, the digests and the agent's report around it.

The bytes are made once and kept, so that every try sends the same ones; only the signature is fresh.
"""
from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ledger.record import EMPTY_DIGEST, Record, Ref, add, to_hex
from ledger.sizes import MAX_BODY, MAX_INFLATED

ROOM = 64 << 10
"""What is left free for the envelope and the agent's report."""


@dataclass(frozen=True, slots=True)
class Change:
    """A record to put (*body* is its text) or a ref to delete (*body* is None); *hash* is what comes or goes."""

    ref: Ref
    hash: int
    body: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a source stands at the relay. No lease: it has none yet, or forgot it."""

    lease: str | None = None
    seq: int = 0
    digest: int = EMPTY_DIGEST
    committed: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """A message that may have to be sent again: *wire* are the gzipped bytes, *id* names them at every try."""

    id: str
    type: str
    place: Place
    seq: int
    after: int
    commit: bool
    changes: tuple[Change, ...]
    wire: bytes


def digest_after(before: int, changes: Sequence[Change], replaced: Mapping[Ref, int]) -> int:
    """The digest when *changes* are applied; *replaced* are the hashes that stood where something is put."""
    put = [change.hash for change in changes if change.body is not None]
    gone = [change.hash for change in changes if change.body is None]
    overwritten = [replaced[change.ref] for change in changes if change.body is not None and change.ref in replaced]
    return add(before, put=put, gone=[*gone, *overwritten])


def compose(
    type: str, *, id: str, aud: str, source: str, place: Place, agent: Mapping[str, object],
    changes: Sequence[Change] = (), after: int | None = None, commit: bool = False,
) -> Batch:  # fmt: skip
    """A message for the relay. A beat or a bye names where we stand; a push the next number."""
    is_push = type == "push"
    seq = place.seq + 1 if is_push else place.seq
    after = place.digest if after is None else after
    # Every member, even where it says nothing: whoever writes a relay from the protocol looks for each.
    message = {
        "v": 1, "type": type, "aud": aud, "source": source, "lease": place.lease, "seq": seq, "prev": to_hex(place.digest), "after": to_hex(after), "commit": commit,
        "put": [{"k": change.ref.kind, "id": change.ref.id, "b": change.body} for change in changes if change.body is not None],
        "del": [{"k": change.ref.kind, "id": change.ref.id} for change in changes if change.body is None],
        "agent": agent,
    }  # fmt: skip
    return Batch(id, type, place, seq, after, commit, tuple(changes), compress(msgspec.json.encode(message)))


def compress(body: bytes) -> bytes:
    """The same bytes for the same body: no time and no name in the header."""
    return gzip.compress(body, compresslevel=9, mtime=0)


def that_fit(changes: Sequence[Change], most: int) -> list[Change]:
    """The first of *changes* that go into one message: by number, and by size before compression."""
    room = MAX_INFLATED - ROOM
    chosen: list[Change] = []
    for change in changes[:most]:
        room -= size_of(change)
        if room < 0 and chosen:
            break
        chosen.append(change)
    return chosen


def size_of(change: Change) -> int:
    """No less than what the change takes as JSON inside a message, quotes and backslashes being escaped."""
    body = change.body or ""
    return len(body.encode()) + body.count('"') + body.count("\\") + len(change.ref.id.encode()) + len(change.ref.kind) + 40


def unfit(record: Record) -> str | None:
    """Why the relay could never take this record, or None."""
    from ledger.record import ID, KIND

    if not KIND.fullmatch(record.kind) or not ID.fullmatch(record.id):
        return "malformed"
    return "too-large" if len(record.body.encode()) > MAX_BODY else None
