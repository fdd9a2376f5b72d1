"""The arithmetic of day records: what is left of sessions that a relay no longer keeps.

The agent makes them of its archive, and the relay of the sessions of a machine that fell silent; both must come to the same sums.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

AMOUNTS = 6
"""Tokens of input, output, cache written for five minutes and for an hour, and cache read; then requests."""


def nothing() -> list[Any]:
    """A total to begin with: the amounts, and the cost that a tool reported in dollars (None: it reported none)."""
    return [0] * AMOUNTS + [None]


def add(total: list[Any], amounts: Sequence[Any]) -> None:
    """Add the amounts of one usage row, and its reported cost where it has one, to *total*."""
    for place in range(AMOUNTS):
        total[place] += amounts[place] or 0
    if len(amounts) > AMOUNTS and amounts[AMOUNTS] is not None:
        total[AMOUNTS] = round((total[AMOUNTS] or 0) + amounts[AMOUNTS], 9)


def date_of(at: int, zone: tzinfo) -> str:
    """The date in *zone* that the instant *at* (milliseconds) falls on."""
    return datetime.fromtimestamp(at / 1000, UTC).astimezone(zone).date().isoformat()
