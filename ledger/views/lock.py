"""A lock that knows whether somebody waits for it, so that work that gives way can hurry then."""
from __future__ import annotations

from threading import Lock, RLock


class ViewLock:
    """Its holder may take it again."""

    def __init__(self) -> None:
        self._lock, self._counting = RLock(), Lock()
        self.waiting = 0
        """How many threads wait for it."""

    def __enter__(self) -> None:
        if self._lock.acquire(blocking=False):
            return
        self._count(1)
        try:
            self._lock.acquire()
        finally:
            self._count(-1)

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _count(self, more: int) -> None:
        with self._counting:
            self.waiting += more
