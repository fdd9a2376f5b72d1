"""When to try the relay again.

Being offline or refused is a reason to wait, not an error to hide. The wait doubles up to five minutes and is
spread by chance, or a relay coming back is met by all agents at once; a relay that names a time is believed
over our own guess, up to an hour. Nobody ever gives up: the last attempt is as good as the first.

An agent that fails never asks less often than the relay wants to hear from it in health: so a relay that comes back is
found within one beat, however long it was away, and never gets more requests than it is used to.
"""
from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_S = 300.0
LONGEST_ASKED_S = 3600.0
HALT_S = 900.0
"""How long to keep still after a refusal that only a person can mend."""

Roll = Callable[[], float]


def wait_after_failure(failures: int, *, beat_s: float = LONGEST_S, roll: Roll = random.random) -> float:
    """Full jitter: anything between nothing and the doubled wait, for failure number *failures* in a row (from 1)."""
    return min(ceiling(failures), beat_s) * roll()


def wait_when_asked(failures: int, asked: float, *, roll: Roll = random.random) -> float:
    """The larger of what the relay asked for and an equal-jitter wait, which never collapses to nothing."""
    return max(min(asked, LONGEST_ASKED_S), ceiling(failures) * (0.5 + roll() / 2))


def ceiling(failures: int) -> float:
    return min(LONGEST_S, 2.0 ** min(max(failures, 1), 20))


def asked_seconds(retry_after: str | None, now_s: float) -> float:
    """What a Retry-After header asks for: seconds or an HTTP date; nonsense and the past ask for nothing."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), LONGEST_ASKED_S)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(aware.timestamp() - now_s, 0.0), LONGEST_ASKED_S)
