"""When a tracker's row was: its times in every spelling, and which one is meant of an hour that autumn repeats."""
from __future__ import annotations

from datetime import UTC, tzinfo

from ledger import untidy
from local_agent.readers.tracker_dialects import Table, Values

MINUTE_MS = 60 * 1000
FILLED = frozenset(("created_at", "updated_at"))
"""Columns that SQLite's CURRENT_TIMESTAMP fills in every dialect, by default or by an UPDATE."""
SIGNS = ("start_time", "end_time", "last_token_update", "updated_at", "created_at")
TIMES = frozenset(SIGNS)


def times_of(row: Values, table: Table, zone: tzinfo | None, *, length: int | None = None) -> dict[str, int]:
    """Every time of the row that can be read, in milliseconds; *length* is how long such a row lasts, where that is known.

    A local time between two and three may have been twice that night. The first time is taken, unless the row itself knows better.
    """
    found, again = {}, {}
    for name in SIGNS:
        where = _zone_of(name, row.get(name), table, zone)
        at = untidy.moment(row.get(name), where)
        if at is None:
            continue
        found[name] = at
        second = None if where is UTC else untidy.moment(row.get(name), where, fold=1)
        if second is not None and second > at:
            again[name] = second
    if "start_time" in again and _near(again["start_time"], found.get("created_at")):
        found["start_time"] = again["start_time"]
    start, end = found.get("start_time"), again.get("end_time")
    if start is not None and end is not None and (found["end_time"] < start or (length is not None and _near(end, start + length))):
        found["end_time"] = end
    return found


def _near(at: int, other: int | None) -> bool:
    return other is not None and abs(at - other) <= MINUTE_MS


def _zone_of(name: str, value: object, table: Table, zone: tzinfo | None) -> tzinfo | None:
    """UTC where SQLite itself filled the column in, else the tracker's zone.

    Such a column may also have been written by a script, in local time; only the spelling tells
    (SQLite writes whole seconds and a space).
    """
    by_sqlite = isinstance(value, str) and len(value) == 19 and value[10] == " "
    return UTC if by_sqlite and (name in FILLED or name in table.utc) else zone
