"""Which readings of an official limit can be believed. Imports nothing, because the status line must start at once."""
from __future__ import annotations

MOST_PERCENT = 200.0
"""105 % is seen in the wild; an epoch in the place of a percentage, too."""
LONGEST_MS = 32 * 24 * 3600 * 1000
"""No window resets later than this; a time beyond it is damage."""
LENGTHS_MS = {"five_hour": 5 * 3600 * 1000, "seven_day": 7 * 24 * 3600 * 1000}
CLOCKS_MS = 10 * 60 * 1000
"""How far this computer's clock may be from the one that named the reset."""


def believed(used: object, resets_at: object, observed_at: int, window: str) -> tuple[float, int] | None:
    """(percent, reset in milliseconds), or None. *resets_at* is Unix seconds; both may be written as text.

    A window that is reset later than its length from now has not begun: the time is another window's.
    """
    percent, seconds = _number(used), _number(resets_at)
    if percent is None or seconds is None or not 0 <= percent <= MOST_PERCENT:
        return None
    at = int(seconds * 1000 if seconds < 1e11 else seconds)
    length = LENGTHS_MS.get("seven_day" if window.startswith("seven_day") else window)
    return (round(percent, 4), at) if observed_at < at <= observed_at + (length + CLOCKS_MS if length else LONGEST_MS) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or len(str(value)) > 40:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 1e18 else None  # which no NaN is
