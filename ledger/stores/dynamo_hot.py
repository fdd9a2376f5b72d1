"""The session somebody works in right now, kept inside the head while it changes again and again.

A row of its own costs a transaction, four write units; inside the head it costs one or two. A row moves in when it changes
twice in a row, and out, to its own place in the table, in the transaction of the first push that changes something else. Until then
whatever lies at its own place is an older state of it, so every reading lays the row in the head over what it found.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ledger.record import Ref
from ledger.stores.dynamo_items import Item, number, ref_of, size_of
from ledger.stores.dynamo_log import Stretch

ROOM = 2048
"""A head with its row is at most this large: two write units, half of what a transaction costs."""


def hot_of(head: Item | None) -> Item | None:
    """The row inside the head, without its partition."""
    return head["i"]["M"] if head and "i" in head else None


def with_hot(head: Item, row: Item | None) -> Item:
    return head if row is None else head | {"i": {"M": {name: value for name, value in row.items() if name != "p"}}}


def at_its_place(hot: Item, partition: str) -> Item:
    return {"p": {"S": partition}, **hot}


def may_move_in(row: Item, head: Item, hot: Item | None, tail: Stretch, seq: int) -> bool:
    """Whether the only row of a push may stand in the head: it is there already, or it changed in push *seq*, the one before."""
    again = ref_of(hot) == ref_of(row) if hot else tail.after(seq - 1) == {ref_of(row)}
    return again and size_of(with_hot(head, row)) <= ROOM


def laid_over(hot: Item | None, found: Iterable[Item], wanted: Callable[[Ref], bool]) -> Iterator[Item]:
    """*found* with the row of the head in its place. A reading that came later than the head's may have found a newer state."""
    for item in found:
        if hot is None or item["s"] != hot["s"]:
            yield item
        elif item.get("l") == hot.get("l") and number(item, "n") > number(hot, "n"):
            yield item
            hot = None
    if hot is not None and wanted(ref_of(hot)):
        yield hot
