"""Which tenants to check for alerts: those with news, and every minute all of them, because silence and time raise alerts too."""
from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from ledger.errors import LedgerError
from relay.alerts.post import Post
from relay.alerts.watch import Watch

ALL_MS = 60_000
APART_MS = 5_000
"""A tenant with much news is checked no more often than this."""
log = logging.getLogger("alerts")


class Duty:
    """Pushes only note their tenant here; the looking is done by whoever keeps house, so that no push waits for it.

    *listeners* names the tenants that somebody told where to reach them; nobody else costs anything.
    """

    def __init__(self, watch: Watch, post: Post, listeners: Callable[[], Iterable[str]], *, clock: Callable[[], int]) -> None:
        self._watch, self._post, self._listeners, self._clock = watch, post, listeners, clock
        self._changed: set[str] = set()
        self._lock = threading.Lock()
        self._known: frozenset[str] = frozenset()
        self._all_at = 0
        self._looked: dict[str, int] = {}
        self._due: dict[str, int] = {}
        self.trouble = ""
        """What kept the last step from checking somebody."""

    def note(self, tenant: str) -> None:
        """*tenant* has news: it is checked at the next step."""
        with self._lock:
            self._changed.add(tenant)

    def listens(self, tenant: str) -> None:
        """*tenant* said a moment ago where to reach it: look at once, not at the next minute."""
        with self._lock:
            self._known |= {tenant}
            self._changed.add(tenant)

    def step(self) -> int:
        """Check every tenant that is due, and begin to send what is due; how many alerts are new."""
        now, self.trouble = self._clock(), ""
        for tenant in (due := self._whose_turn(now)):
            self._due[tenant] = now  # something may wait since before we were started
        told = sum(self._try(self._watch.check, tenant) or 0 for tenant in sorted(due))
        for tenant in sorted(tenant for tenant, at in self._due.items() if at <= now):
            again = self._try(self._post.send, tenant)
            if again is None:
                del self._due[tenant]
            else:
                self._due[tenant] = again
        return told

    def all(self) -> int:
        """Check every tenant that listens: what a schedule calls."""
        self._all_at = 0
        return self.step()

    def _whose_turn(self, now: int) -> set[str]:
        with self._lock:
            changed, self._changed = self._changed, set()
        if now >= self._all_at:
            listeners = frozenset(self._listeners())
            with self._lock:
                self._known, self._all_at = listeners, now + ALL_MS
            due = set(listeners)
        else:
            due = {tenant for tenant in changed & self._known if now - self._looked.get(tenant, 0) >= APART_MS}
            with self._lock:
                self._changed |= (changed & self._known) - due
        self._looked = {tenant: at for tenant, at in self._looked.items() if tenant in self._known} | dict.fromkeys(due, now)
        return due

    def _try(self, step: Callable[[str], int | None], tenant: str) -> int | None:
        """One tenant's trouble is not another's."""
        try:
            return step(tenant)
        except LedgerError as error:
            self.trouble = str(error) or type(error).__name__
            log.warning("the alerts of %s wait: %s", tenant, error)
        except Exception as error:
            self.trouble = type(error).__name__
            log.error("the alerts of %s could not be looked at", tenant, exc_info=error)
        return None
