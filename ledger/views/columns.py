"""The sessions of a view in columns, so that a hundred thousand of them can be searched at the speed of C.

Columns are made once and used until many sessions have changed; those that changed meanwhile are looked at one by one.
Reading a column touches a few large blocks of memory; asking each session would touch a hundred thousand small ones.
"""
from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress, repeat
from operator import contains, eq
from typing import Any

from ledger.session import Held

SEPARATOR = "\0"
MOST_CHANGED = 400
Place = tuple[int, str, Held]
VALUES: dict[str, Callable[[Held], int]] = {
    "last_activity": lambda held: held.last,
    "start_time": lambda held: held.start,
    "tokens": lambda held: held.tokens,
    "cost": lambda held: -1 if held.cost is None else held.cost,
    "duration": lambda held: held.last - held.start,
}


class Columns:
    """All sessions at one moment, oldest activity first. A slot is a place in them."""

    def __init__(self, order: Sequence[Place]) -> None:
        self.helds = [held for _, _, held in order]
        self.last = array("q", [last for last, _, _ in order])
        self.changed: dict[str, Held | None] = {}
        """Sessions that came, changed or went (None) since; their slots are dead."""
        self.dead: set[int] = set()
        self._texts = SEPARATOR.join([held.text for held in self.helds])
        self._made: dict[str, Any] = {}

    def column(self, name: str) -> Any:
        """A column of the sessions' facts, made when first asked for."""
        found = self._made.get(name)
        if found is None:
            if name in VALUES:
                found = array("q", map(VALUES[name], self.helds))
            else:
                # Equal texts as one object: then comparing a column compares pointers to few, warm objects.
                known: dict[Any, Any] = {}
                found = [known.setdefault(fact, fact) for fact in (getattr(held, name) for held in self.helds)]
            self._made[name] = found
        return found

    def slot(self, held: Held) -> int | None:
        """Where a session stood, if it has not changed since."""
        low, high = bisect_left(self.last, held.last), bisect_right(self.last, held.last)
        return next((slot for slot in range(low, high) if self.helds[slot] is held), None)

    def change(self, old: Held | None, new: Held | None) -> None:
        if old is not None and (slot := self.slot(old)) is not None:
            self.dead.add(slot)
        key = (new or old).key  # type: ignore[union-attr]
        self.changed[key] = new

    @property
    def is_worn(self) -> bool:
        return len(self.changed) > MOST_CHANGED

    def since(self, at: int) -> Sequence[int]:
        return range(bisect_left(self.last, at), len(self.last))

    def equal(self, slots: Sequence[int], name: str, wanted: object) -> Sequence[int]:
        column = self.column(name)
        if len(slots) == len(column):
            return list(compress(slots, map(eq, column, repeat(wanted))))
        return [slot for slot in slots if column[slot] == wanted]

    def holding(self, slots: Sequence[int], name: str, wanted: str) -> Sequence[int]:
        column = self.column(name)
        if len(slots) == len(column):
            return list(compress(slots, map(contains, column, repeat(wanted))))
        return [slot for slot in slots if wanted in column[slot]]

    def words(self, slots: Sequence[int], words: Iterable[str]) -> Sequence[int]:
        """The slots whose text holds all words. The longest is asked first: it leaves the fewest for the others."""
        texts: list[str] | None = None
        for word in sorted(words, key=len, reverse=True):
            if SEPARATOR in word:  # which no text holds
                return []
            if texts is None:
                # Split anew each time: the pieces lie side by side, which is faster to read than kept ones.
                texts = self._texts.split(SEPARATOR) if self.helds else []
            if len(slots) == len(texts):
                slots = list(compress(slots, map(contains, texts, repeat(word))))
            else:
                slots = [slot for slot in slots if word in texts[slot]]
        return slots

    def alive(self, slots: Sequence[int], without: Iterable[Held] = ()) -> Sequence[int]:
        dead = self.dead | {slot for held in without if (slot := self.slot(held)) is not None}
        return [slot for slot in slots if slot not in dead] if dead else slots

    def now(self) -> Mapping[str, Held]:
        """The sessions that are looked at one by one."""
        return {key: held for key, held in self.changed.items() if held is not None}
