"""Whether a relay is well, and why not: what `/healthz` answers, so that a monitor need not guess.

Red is what a person has to see to: the store does not answer, the disk is full, nobody keeps house, or the clock went back. A machine
that does not push is its own trouble, and alerts tell of it.
"""
from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
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
    probe_ms: float = field(default=0.0)

    def look(self, relay: Relay) -> None:
        """Once a minute: is anything that was heard of later than now?"""
        now = relay.clock()
        heard = [head.last_seen for tenant in relay.store.tenants() for head in relay.store.heads(tenant)]
        self.ahead_ms = max(0, max(heard, default=now) - now)

    def trouble(self, relay: Relay, *, free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free) -> list[str]:
        """Why the relay is not well; empty while it is."""
        found, began = [], relay.clock()
        try:
            relay.store.take("health", "probe", now=began)
        except LedgerError as error:
            found.append(f"the store does not answer: {error}")
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


def _is_full(path: object, free: Callable[[Path], int]) -> bool:
    if not isinstance(path, Path):
        return False
    try:
        return free(path.absolute().parent) < LEAST_FREE
    except OSError:
        return True
