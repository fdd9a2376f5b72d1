"""The usage of a session, added up by quarter-hour and class, line by line, forwards and backwards."""
from __future__ import annotations

from array import array
from collections.abc import Container, Sequence

from local_agent.readers.claude.tables import (
    AT,
    CLASS,
    COST,
    INPUT,
    OUTPUT,
    QUARTER_MS,
    READ,
    SESSION,
    WIDTH,
    WRITE_1H,
    WRITE_5M,
    Words,
)

Row = list[int]
Tally = dict[int, Row]
"""By slot and class: [first, last, input, output, write_5m, write_1h, read, requests, pico-dollars]."""

Run = tuple[int, int, Row]
"""Session, slot, and what some lines add up to."""

FIRST, LAST = 0, 1
CLASS_BITS = 16


def slot_of(words: Words) -> int:
    """The quarter-hour and class. A request on the very millisecond of a quarter-hour stands alone, because the end of a block falls there."""
    quarter, beyond = divmod(words[AT], QUARTER_MS)
    return (quarter * 2 + (beyond > 0)) << CLASS_BITS | words[CLASS]


def quarter_of(slot: int) -> int:
    return (slot >> CLASS_BITS + 1) * QUARTER_MS


def class_of(slot: int) -> int:
    return slot & (1 << CLASS_BITS) - 1


def with_class(slot: int, classes: Sequence[int]) -> int:
    """The slot with the class that its class is a place of in *classes*."""
    class_ = slot & (1 << CLASS_BITS) - 1
    return slot - class_ + classes[class_]


def runs(words: array[int], synthetic: Container[int]) -> list[Run]:
    """What lines add up to: (session, slot, row) for each run of lines of one session, quarter-hour and class."""
    found: list[Run] = []
    row: Row = []
    session_before = slot_before = -1
    columns = (words[n::WIDTH] for n in (AT, SESSION, CLASS, INPUT, OUTPUT, WRITE_5M, WRITE_1H, READ, COST))
    for at, session, class_, input, output, five, hour, read, cost in zip(*columns, strict=True):
        quarter, beyond = divmod(at, QUARTER_MS)
        slot = (quarter * 2 + (beyond > 0)) << CLASS_BITS | class_
        if slot == slot_before and session == session_before:
            if at < row[0]:
                row[0] = at
            elif at > row[1]:
                row[1] = at
            row[2] += input
            row[3] += output
            row[4] += five
            row[5] += hour
            row[6] += read
            row[7] += 1
            if cost > 0:
                row[8] += cost
        else:
            slot_before, session_before = slot, session
            row = [at, at, input, output, five, hour, read, 1, cost if cost > 0 else 0]
            found.append((session, slot, row))
        if class_ in synthetic:
            row[7] -= 1
    return found


def add(tally: Tally, words: Words, requests: int) -> None:
    slot, at = slot_of(words), words[AT]
    row = tally.get(slot)
    if row is None:
        tally[slot] = [at, at, *words[INPUT:COST], requests, max(words[COST], 0)]
        return
    if at < row[0]:
        row[0] = at
    elif at > row[1]:
        row[1] = at
    row[2] += words[INPUT]
    row[3] += words[OUTPUT]
    row[4] += words[WRITE_5M]
    row[5] += words[WRITE_1H]
    row[6] += words[READ]
    row[7] += requests
    row[8] += max(words[COST], 0)


def merge(tally: Tally, slot: int, run: Row) -> None:
    """Add several lines of one slot at once; *run* is theirs to keep."""
    row = tally.get(slot)
    if row is None:
        tally[slot] = run
        return
    row[0], row[1] = min(row[0], run[0]), max(row[1], run[1])
    for n in range(2, 9):
        row[n] += run[n]


def remove(tally: Tally, words: Words, requests: int) -> bool:
    """Take a line out again. False if only a new addition of all lines can tell when the first or last of the row now was."""
    slot, at = slot_of(words), words[AT]
    row = tally.get(slot)
    if row is None or row[FIRST] == at or row[LAST] == at:
        return False
    for n, word in enumerate(words[INPUT:COST], 2):
        row[n] -= word
    row[7] -= requests
    row[8] -= max(words[COST], 0)
    return True
