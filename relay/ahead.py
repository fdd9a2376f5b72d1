"""Reading on while nobody waits: after a refill, whoever asks next finds most of it summed up.

Only views that somebody asked for are read on; a tenant whom nobody watches costs nothing. It is done in small portions with pauses,
because pushes must not notice, and without pauses as soon as somebody waits.
"""
from __future__ import annotations

import threading

from ledger.errors import LedgerError
from ledger.views.tenants import Views


class Ahead:
    """Pushes only note their tenant here; the reading is done by a thread of its own."""

    def __init__(self, views: Views) -> None:
        self._views, self._lock = views, threading.Lock()
        self._changed: set[str] = set()

    def note(self, tenant: str) -> None:
        """There is news of *tenant*."""
        with self._lock:
            self._changed.add(tenant)

    def step(self) -> None:
        """Read on what changed. Raises the first that the store raised; the next step tries those again."""
        with self._lock:
            changed, self._changed = self._changed, set()
        trouble = None
        for tenant in sorted(changed):
            try:
                self._views.read_on(tenant)
            except LedgerError as error:
                trouble = trouble or error
                self.note(tenant)
        if trouble:
            raise trouble
