"""Whether a relay is well, and why not: what `/healthz` answers, so that a monitor need not guess.

Red is what a person has to see to: the store does not answer, the disk is full, nobody keeps house, or the clock went back. A machine
that does not push is its own trouble, and alerts tell of it.
"""
from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.errors import LedgerError

if TYPE_CHECKING:
    from relay.app import Relay

STALLED_MS = 120_000
"""The housekeeper works each second; so late it hangs."""
LEAST_FREE = 32 << 20
AHEAD_MS = 300_000
"""So far from the future nothing can have been heard: the clock was set back."""


@dataclass
class Health:
    """What the housekeeper noted. *kept_at* is when it last worked, None where there is none (a function has none)."""

    kept_at: int | None = None
    upkeep_at: int | None = None
    upkeep_trouble: str = ""
    ahead_ms: int = 0
    probe_ms: float = 0.0
    patience_s: float = 5.0
    _asking: threading.Thread | None = None

    def look(self, relay: Relay) -> None:
        """Once a minute: is anything that was heard of later than now?"""
        now = relay.clock()
        heard = [head.last_seen for tenant in relay.store.tenants() for head in relay.store.heads(tenant)]
        self.ahead_ms = max(0, max(heard, default=now) - now)

    def trouble(self, relay: Relay, *, free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free) -> list[str]:
        """Why the relay is not well; empty while it is."""
        found, began = [], relay.clock()
        if silence := self._ask(relay, began):
            found.append(f"the store does not answer: {silence}")
        self.probe_ms = max(0.0, float(relay.clock() - began))
        if _is_full(getattr(relay.store, "path", None), free):
            found.append("the disk is full")
        if self.kept_at is not None and began - self.kept_at > STALLED_MS:
            found.append("upkeep has stalled")
        if self.upkeep_trouble:
            found.append(f"upkeep failed: {self.upkeep_trouble}")
        if self.ahead_ms > AHEAD_MS:
            found.append(f"the clock was set back by {self.ahead_ms // 1000} s")
        return found

    def _ask(self, relay: Relay, now: int) -> str:
        """What keeps the store from answering, or "". A database that takes the question and says nothing must not keep the monitor waiting."""
        if self._asking and self._asking.is_alive():
            return "it was asked before, and is silent"
        said: list[str] = []

        def ask() -> None:
            try:
                relay.store.take("health", "probe", now=now)
            except LedgerError as error:
                said.append(str(error))

        if hasattr(relay.store, "path"):  # a file answers or fails, and each thread would open it anew
            ask()
            return "".join(said)
        self._asking = threading.Thread(target=ask, daemon=True)
        self._asking.start()
        self._asking.join(self.patience_s)
        return f"it has been silent for {self.patience_s:.0f} s" if self._asking.is_alive() else "".join(said)


def _is_full(path: object, free: Callable[[Path], int]) -> bool:
    if not isinstance(path, Path):
        return False
    try:
        return free(path.absolute().parent) < LEAST_FREE
    except OSError:
        return True
