"""Reading on while nobody waits: after a refill, whoever asks next finds most of it summed up.

Only views that somebody asked for are read on; a tenant whom nobody watches costs nothing.
"""
from __future__ import annotations

import threading

from ledger.errors import LedgerError
from ledger.view import Views


class Ahead:
    """Pushes only note their tenant here; the reading is done by whoever keeps house."""

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
        for tenant in sorted(filter(self._views.holds, changed)):
            try:
                self._views.view(tenant)
            except LedgerError as error:
                trouble = trouble or error
                self.note(tenant)
        if trouble:
            raise trouble
