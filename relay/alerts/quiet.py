"""Hours in which nobody wants to be disturbed, by the clock on their wall."""
from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from relay.alerts.wishes import Quiet


def local(now: int, tz: str) -> datetime:
    return datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(tz))


def is_quiet(quiet: Quiet | None, now: int, tz: str) -> bool:
    """From the first minute on, until the last is reached; hours that begin in the evening end in the morning."""
    if quiet is None or quiet.start == quiet.end:
        return False
    clock = f"{local(now, tz):%H:%M}"
    if quiet.start < quiet.end:
        return quiet.start <= clock < quiet.end
    return clock >= quiet.start or clock < quiet.end


def passes(quiet: Quiet | None, level: str) -> bool:
    """Is it urgent enough to be told in quiet hours?"""
    return quiet is None or (quiet.urgent and level == "bad")
