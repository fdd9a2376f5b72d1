"""Whose turn it is in the pool of threads: nobody has all of it, so that the others need not wait."""
from __future__ import annotations

import asyncio
from collections.abc import Hashable
from weakref import WeakValueDictionary

from ledger.views.share import owner_of

THREADS_OF_ONE = 6
"""So many threads of the pool work for one tenant or caller at once: the others are for others."""


class Turns:
    """Not for threads: it lives on one loop."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()

    def of_tenant(self, tenant: str) -> asyncio.Semaphore:
        """Held while the pool works for *tenant*, whichever of its keys, shares and viewers asked."""
        return self.of_caller(("tenant", owner_of(tenant)))

    def of_caller(self, caller: Hashable) -> asyncio.Semaphore:
        """The same for a caller whose tenant nobody knows yet."""
        return self._turns.setdefault(caller, asyncio.Semaphore(THREADS_OF_ONE))
