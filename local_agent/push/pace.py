"""When to push what changed: soon, but not at every keystroke.

Half a second of quiet ends a burst; a burst that does not end is sent after two seconds all the same; and two pushes
are at least two seconds apart, so that a busy hour costs the relay no more than it must. A relay that pays for every
push may ask for more while nobody watches.
"""
from __future__ import annotations

import time
from collections.abc import Callable

QUIET_S, LONGEST_S, APART_S = 0.5, 2.0, 2.0
SLEPT_S = 5.0


class Pace:
    """Remembers changes and pushes; all times are of a clock that never goes back."""

    def __init__(self) -> None:
        self.apart_s = APART_S
        self._first: float | None = None
        self._last = 0.0
        self._pushed: float | None = None

    def changed(self, now: float) -> None:
        if self._first is None:
            self._first = now
        self._last = now

    def pushed(self, now: float) -> None:
        """A push began: what changed before it is in it."""
        self._first = None
        self._pushed = now

    def hurry(self, now: float) -> None:
        """A person asked: neither wait for quiet nor keep the distance."""
        self._first = now - LONGEST_S
        self._pushed = None

    def due_at(self) -> float | None:
        """When to push, None while nothing changed."""
        if self._first is None:
            return None
        calm = min(self._last + QUIET_S, self._first + LONGEST_S)
        return calm if self._pushed is None else max(calm, self._pushed + self.apart_s)


class Slumber:
    """Notices that the computer slept: the clock that counts sleep went further than the one that does not."""

    def __init__(self, awake: Callable[[], float] = time.monotonic, always: Callable[[], float] | None = None) -> None:
        self._awake, self._always = awake, always or _clock_that_counts_sleep()
        self._gap = self._always() - self._awake()

    def slept(self) -> bool:
        """True once after each sleep of more than a few seconds (or a clock that was set by as much)."""
        gap = self._always() - self._awake()
        jumped, self._gap = abs(gap - self._gap) > SLEPT_S, gap
        return jumped


def _clock_that_counts_sleep() -> Callable[[], float]:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time
