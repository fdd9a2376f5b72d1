"""How fast something is used up, and where that leads: burn, projection with its doubt, running out.

The projection takes quarter-hours as the samples. Its rate is half the mean since the first use and half the last
hour's, because people start and stop; its range is what four of five such samples would stay within.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from ledger.session import FIRST, LAST, Row, tokens_of
from ledger.times import MINUTE, QUARTER

FOUR_OF_FIVE = 1.28
WINDOWS = {"five_hour": 300 * MINUTE, "seven_day": 7 * 1440 * MINUTE}


@dataclass(frozen=True, slots=True)
class Projection:
    """What will have been used at the end, in the unit of the samples; *rate* is per millisecond."""

    middle: float
    low: float
    high: float
    rate: float

    def reaches(self, limit: float, used: float, now: int, end: int) -> int | None:
        """When *limit* is reached, if that is before *end*."""
        if used >= limit:
            return now
        if self.rate <= 0:
            return None
        at = now + (limit - used) / self.rate
        return int(at) if at < end else None


def project(samples: Sequence[float], elapsed: float, left: float) -> Projection:
    """*samples* per quarter-hour since the first use, of which *elapsed* milliseconds have passed; *left* remain."""
    used = sum(samples)
    if not samples or elapsed <= 0:
        return Projection(used, used, used, 0.0)
    whole = max(elapsed / QUARTER, 1.0)
    recent = min(4.0, whole)
    mean = (used / whole + sum(samples[-4:]) / recent) / 2
    spread = sqrt(sum((sample - used / len(samples)) ** 2 for sample in samples) / len(samples))
    ahead = max(left, 0) / QUARTER
    doubt = FOUR_OF_FIVE * spread * sqrt(ahead + ahead * ahead / whole)
    return Projection(used + mean * ahead, used + max(mean * ahead - doubt, 0.0), used + mean * ahead + doubt, mean / QUARTER)


def spread(rows: Iterable[Row], start: int, end: int, slots: int) -> list[int]:
    """Tokens in equal slots of [start, end): a row's tokens lie evenly between its first and last use."""
    found = [0.0] * slots
    width = max((end - start) / slots, 1.0)
    for row in rows:
        first, last, tokens = row[FIRST], row[LAST], tokens_of(row)
        low, high = (first - start) / width, (last - start) / width
        if high < 0 or low >= slots:
            continue
        if int(low) == int(high) or high <= low:
            found[max(int(low), 0)] += tokens
            continue
        for slot in range(max(int(low), 0), min(int(high), slots - 1) + 1):
            found[slot] += tokens * (min(high, slot + 1) - max(low, slot)) / (high - low)
    return [round(value) for value in found]


def length_of(window: str) -> int | None:
    """How long a limit's window is, by its name: "seven_day_opus" is a week."""
    return next((length for name, length in WINDOWS.items() if window.startswith(name)), None)


def runs_out(percent: float, start: int, now: int, end: int) -> int | None:
    """When an even continuation reaches 100 %, if that is before *end*."""
    if percent >= 100:
        return now
    elapsed = now - start
    if percent <= 0 or elapsed <= 0:
        return None
    at = start + elapsed * 100 / percent
    return int(at) if at < end else None
