"""What changed last, kept inside the head, so that the feed needs no index.

An index over seq would cost two more write units for every change. Instead the head carries a short
tail: the latest seq of each of the last records that changed. The same few sessions change again and
again, so it seldom grows; when it does, it is put away as a page that says which stretch of seq it
covers. Whoever asks for changes from further back than pages reach reads the whole source.
"""
from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from ledger.record import Ref
from ledger.stores.packing import pack, unpack

ROOM = 360
"""Bytes the packed tail may take, so that a usual head stays under one write unit."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The latest seq of every record that changed after seq *start*, up to some later seq."""

    start: int = 0
    latest: dict[Ref, int] = field(default_factory=dict)

    def with_changes(self, changed: Iterable[tuple[Ref, int]]) -> Stretch:
        latest = dict(self.latest)
        for ref, seq in changed:
            latest[ref] = max(seq, latest.get(ref, 0))
        return Stretch(self.start, latest)

    def after(self, seq: int) -> set[Ref]:
        return {ref for ref, at in self.latest.items() if at > seq}

    def packed(self) -> bytes:
        by_kind = sorted((ref.kind, seq, ref.id) for ref, seq in self.latest.items())
        kinds = {kind: [[id, seq] for _, seq, id in group] for kind, group in groupby(by_kind, key=lambda entry: entry[0])}
        return pack(json.dumps([self.start, kinds], separators=(",", ":"), ensure_ascii=False))

    @staticmethod
    def unpacked(packed: bytes) -> Stretch:
        start, kinds = json.loads(unpack(packed))
        return Stretch(start, {Ref(kind, id): seq for kind, entries in kinds.items() for id, seq in entries})


@dataclass(frozen=True, slots=True)
class Step:
    """The tail to keep in the head, and the page to put away beside it, if it grew too long."""

    tail: Stretch
    page: Stretch | None = None


def advance(tail: Stretch, seq: int, changed: Iterable[tuple[Ref, int]]) -> Step:
    """What becomes of *tail* when change set *seq* touched those records."""
    grown = tail.with_changes(changed)
    if grown.latest == tail.latest or len(grown.packed()) <= ROOM:
        return Step(grown)
    return Step(Stretch(seq), grown)


def changed_since(seq: int, tail: Stretch, pages: Sequence[tuple[int, Stretch]]) -> set[Ref] | None:
    """The records that changed after *seq*; None if the log does not reach back so far.

    *pages* are (last seq, page), in order. They must join: each begins where the one before it ended.
    """
    reached, refs = tail.start, tail.after(seq)
    for last, page in reversed(pages):
        if reached <= seq:
            break
        if last != reached:
            return None
        reached, refs = page.start, refs | page.after(seq)
    return refs if reached <= seq else None
