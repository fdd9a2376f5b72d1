"""The usage of a session, added up by quarter-hour and class, line by line, forwards and backwards."""
from __future__ import annotations

from local_agent.readers.claude.tables import AT, CLASS, COST, INPUT, OUTPUT, QUARTER_MS, READ, WRITE_1H, WRITE_5M, Words

Row = list[int]
Tally = dict[int, Row]
"""By slot and class: [first, last, input, output, write_5m, write_1h, read, requests, pico-dollars]."""

FIRST, LAST, REQUESTS, PICOS = 0, 1, 7, 8
CLASS_BITS = 16


def slot_of(words: Words) -> int:
    """The quarter-hour and class. A request on the very millisecond of a quarter-hour stands alone, because the end of a block falls there."""
    quarter, beyond = divmod(words[AT], QUARTER_MS)
    return (quarter * 2 + (beyond > 0)) << CLASS_BITS | words[CLASS]


def quarter_of(slot: int) -> int:
    return (slot >> CLASS_BITS + 1) * QUARTER_MS


def class_of(slot: int) -> int:
    return slot & (1 << CLASS_BITS) - 1


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
