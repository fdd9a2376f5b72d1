"""Who watches, on the shelf: a connection knows its tenant, a watcher knows where its page stands.

API Gateway tells only the id of a connection, so one document leads from there to the tenant and a second,
filed under the tenant, holds the cursor. Both expire by themselves a little after the two hours that API Gateway
lets a connection live.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ledger.errors import Conflict
from ledger.store import Shelf
from ledger.views.share import BETWEEN

CONNECTIONS, WATCHERS = "connections", "watchers"
LONGEST_MS = (2 * 60 + 10) * 60_000


@dataclass(frozen=True, slots=True)
class Watcher:
    """A page that subscribed, let in by the key *key_id*; *version* guards its cursor."""

    tenant: str
    id: str
    cursor: str | None = None
    tz: str = ""
    sessions: int = 200
    version: int = 0
    key_id: str = ""


class Connections:
    def __init__(self, shelf: Shelf, clock: Callable[[], int]) -> None:
        self._shelf, self._clock = shelf, clock

    def joined(self, id: str, tenant: str, key_id: str = "") -> None:
        now = self._clock()
        self._shelf.put(CONNECTIONS, id, {"tenant": tenant, "key": key_id}, now=now, expect=0, expires=now + LONGEST_MS)

    def of(self, id: str) -> tuple[str, str] | None:
        """The tenant of a connection and the id of the key that opened it."""
        document = self._shelf.take(CONNECTIONS, id, now=self._clock())
        return (str(document.value["tenant"]), str(document.value["key"])) if document else None

    def stands_at(self, watcher: Watcher) -> bool:
        """Remember where *watcher* stands. False if somebody else told it something meanwhile (or it left)."""
        now = self._clock()
        try:
            self._shelf.put(WATCHERS, _name(watcher.tenant, watcher.id), _value(watcher), now=now, expect=watcher.version, expires=now + LONGEST_MS)
        except Conflict:
            return False
        return True

    def subscribed(self, watcher: Watcher) -> Watcher:
        """Remember a new subscription, whatever was there; the watcher as it is remembered."""
        now = self._clock()
        version = self._shelf.put(WATCHERS, _name(watcher.tenant, watcher.id), _value(watcher), now=now, expires=now + LONGEST_MS)
        return replace(watcher, version=version)

    def watching(self, tenant: str) -> Iterator[Watcher]:
        """Those who watch *tenant*, or what it shares ("tenant|share")."""
        for name, document in self._shelf.list(WATCHERS, _name(tenant, ""), now=self._clock()):
            watched, _, id = name.rpartition(BETWEEN)
            cursor, tz, sessions, key = (document.value[part] for part in ("cursor", "tz", "sessions", "key"))
            yield Watcher(watched, id, cursor if isinstance(cursor, str) else None, str(tz),
                          sessions if isinstance(sessions, int) else 200, document.version, str(key))

    def left(self, id: str, tenant: str | None = None) -> None:
        if tenant is None:
            known = self.of(id)
            tenant = known[0] if known else None
        if tenant is not None:
            self._shelf.drop(WATCHERS, _name(tenant, id))
        self._shelf.drop(CONNECTIONS, id)


def moved(watcher: Watcher, cursor: str | None) -> Watcher:
    return replace(watcher, cursor=cursor)


def _value(watcher: Watcher) -> dict[str, object]:
    return {"cursor": watcher.cursor, "tz": watcher.tz, "sessions": watcher.sessions, "key": watcher.key_id}


def _name(tenant: str, id: str) -> str:
    return f"{tenant}{BETWEEN}{id}"
