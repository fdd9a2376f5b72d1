"""Instants, and the days and hours they fall on in a place.

Inside, an instant is whole milliseconds since 1970 UTC. Outside, it is ISO 8601 with milliseconds and Z,
written by iso() alone. A quarter-hour is the finest bucket: every zone's midnight falls on one.
"""
from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
QUARTER = 15 * MINUTE
LAST = 253_402_300_799_000
"""The end of the year 9999: later than any instant that can be written."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(ms: int) -> str:
    """2026-11-22T10:56:03.120Z"""
    seconds, rest = divmod(min(max(int(ms), 0), LAST), 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def iso_or_none(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)


def parse(text: str) -> int:
    """Milliseconds of an ISO 8601 time; a time without a zone is UTC, a bare date its midnight, digits are
    milliseconds. Raises ValueError."""
    if re.fullmatch(r"\d{10,14}", text):
        return int(text)
    moment = datetime.fromisoformat(text.replace(" ", "+") if re.search(r" \d\d:\d\d$", text) and "T" in text else text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


def is_zone(name: str) -> bool:
    """Is it the name of a zone? Asked before opening one, because a name is also a path."""
    return name in _names()


class Zone:
    """Which local date and hour a quarter-hour falls on. Remembers what it worked out."""

    def __init__(self, name: str) -> None:
        self.name = name if is_zone(name) else "UTC"
        self._info = ZoneInfo(self.name)
        self._known: dict[int, tuple[str, int]] = {}

    def place(self, at: int) -> tuple[str, int]:
        """(date, hour) of the quarter-hour that holds the instant *at*."""
        quarter = at // QUARTER
        found = self._known.get(quarter)
        if found is None:
            if len(self._known) > 200_000:
                self._known.clear()
            local = (_EPOCH + timedelta(milliseconds=min(max(quarter * QUARTER, 0), LAST))).astimezone(self._info)
            found = self._known[quarter] = (local.date().isoformat(), local.hour)
        return found

    def day(self, at: int) -> str:
        return self.place(at)[0]

    def midnight(self, day: str) -> int:
        """The first instant of a local date, in milliseconds."""
        start = datetime.combine(date.fromisoformat(day), datetime.min.time(), self._info)
        return int(start.timestamp() * 1000)


@lru_cache(maxsize=64)
def zone(name: str) -> Zone:
    return Zone(name)


def shift(day: str, days: int) -> str:
    """The date *days* later."""
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()
