"""The sessions that a checkpoint left out, of which a view that began from it knows only that they exist.

That is enough to notice when one of them matters: then TooFarBack is raised, and the view reads all sessions.
"""
from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING

from ledger.blocks import LENGTH, TooFarBack
from ledger.times import HOUR, QUARTER

if TYPE_CHECKING:
    from ledger.store import Head
    from ledger.views.gather import Changed, Source

MARK_BYTES = 5
"""Two keys share a mark once in 10^12; then a session is taken for a known one, and all are read in vain."""


def mark(key: str) -> bytes:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=MARK_BYTES).digest()


class Rest:
    """*marks* of the keys, and the quarter-hours of the last activity, of sessions whose newest activity is *last*."""

    def __init__(self, marks: bytes, quarters: Iterable[int], last: int) -> None:
        self.marks = frozenset(marks[place : place + MARK_BYTES] for place in range(0, len(marks), MARK_BYTES))
        self.quarters = array("q", sorted(quarters))
        self.last = last

    def holds_any(self, keys: Iterable[str]) -> bool:
        return any(mark(key) in self.marks for key in keys)

    def count_since(self, at: int) -> int:
        return len(self.quarters) - bisect_left(self.quarters, at // QUARTER)

    def may_go_on(self, sources: Mapping[str, Source], heads: Mapping[str, Head], now: int) -> None:
        """Raise TooFarBack unless every source can be read on, and the open block holds known sessions only."""
        if self.last > now - 2 * LENGTH - HOUR:
            raise TooFarBack
        for name, source in sources.items():
            if name not in heads or not source.continues(heads[name]):
                raise TooFarBack

    def must_not_hold(self, changed: Changed) -> None:
        if self.holds_any(changed.sessions) or self.holds_any(changed.missed):
            raise TooFarBack
