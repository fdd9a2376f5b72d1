"""Who must be looked after: tenants with news, and each minute all, because silence and time make alerts too."""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from relay.alerts.watch import Watch

ALL_MS = 60_000


class Duty:
    """Pushes only note their tenant here; the looking is done by whoever keeps house, so that no push waits for it.

    *listeners* names the tenants that somebody told where to reach them; nobody else costs anything.
    """

    def __init__(self, watch: Watch, listeners: Callable[[], Iterable[str]], *, clock: Callable[[], int]) -> None:
        self._watch, self._listeners, self._clock = watch, listeners, clock
        self._changed: set[str] = set()
        self._lock = threading.Lock()
        self._known: frozenset[str] = frozenset()
        self._all_at = 0

    def note(self, tenant: str) -> None:
        """There is news of *tenant*."""
        with self._lock:
            self._changed.add(tenant)

    def step(self) -> int:
        """Look after whoever is due; how many alerts were told."""
        now = self._clock()
        with self._lock:
            changed, self._changed = self._changed, set()
        if now >= self._all_at:
            self._known, self._all_at = frozenset(self._listeners()), now + ALL_MS
            changed = set(self._known)
        return sum(self._watch.check(tenant) for tenant in sorted(changed & self._known))
