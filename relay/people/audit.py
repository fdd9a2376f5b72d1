"""Who changed what: one line in the log and one small document, kept for a year, of every act of an administrator.

Names of projects and machines stand in it only until they are forgotten; that something was forgotten, when and by whom, stays.
"""
from __future__ import annotations

import logging
import secrets
from collections.abc import Callable

from ledger.store import Shelf

DRAWER = "audit"
KEPT_MS = 400 * 24 * 3600_000
MOST_SHOWN = 500
log = logging.getLogger("audit")


class Audit:
    def __init__(self, shelf: Shelf, clock: Callable[[], int]) -> None:
        self._shelf, self._clock = shelf, clock

    def note(self, tenant: str, who: str, what: str, **about: object) -> None:
        """*who* is the end of a key's id, or "command"."""
        now = self._clock()
        log.info("%s", what, extra={"tenant": tenant, "key": who})
        value = {"at": now, "who": who, "what": what, **{name: one for name, one in about.items() if one not in (None, "", [])}}
        self._shelf.put(DRAWER, f"{tenant}|{now:014d}-{secrets.token_hex(3)}", value, now=now, expires=now + KEPT_MS)

    def all(self, tenant: str) -> list[dict[str, object]]:
        """What was done, newest first."""
        found = [dict(document.value) for _, document in self._shelf.list(DRAWER, f"{tenant}|", now=self._clock())]
        return found[::-1][:MOST_SHOWN]
