"""Telling everyone who watches, inside the push that made the news, or behind it where there are many.

Up to about twenty watchers are told by a few threads before the push is answered. For a crowd a note is put on the
shelf instead; the table's stream wakes a function that does the same for all of them.
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, Protocol

from ledger.errors import LedgerError
from ledger.serving.frames import feed_frame, says_nothing
from ledger.store import Shelf
from relay.live.connections import Connections, Watcher, moved

CROWD = 20
CROWDS = "crowds"
NOTE_MS = 3600_000
WATCHED_S, UNWATCHED_S = 20, 30
"""How far apart pushes should be. Every one is paid for, and nobody sees those that nobody watches."""
THREADS = 8

Feed = Callable[[str, str | None, str, int], Mapping[str, Any]]
log = logging.getLogger("live")


class Gone(LedgerError):
    """The connection is closed and will not come back."""


class Post(Protocol):
    def __call__(self, id: str, frame: bytes) -> None:
        """Send to one connection. Raises Gone, or Busy for everything that may work later."""


class FanOut:
    """*still* says whether the key of that id is in force: whoever came with a revoked one hears nothing more."""

    def __init__(self, connections: Connections, feed: Feed, post: Post, still: Callable[[str], bool], shelf: Shelf, clock: Callable[[], int]) -> None:
        self._connections, self._feed, self._post, self._still = connections, feed, post, still
        self._shelf, self._clock = shelf, clock
        self._pool = ThreadPoolExecutor(THREADS)
        self._watched: dict[str, bool] = {}

    def apart_s(self, tenant: str) -> int:
        """How many seconds a tenant's agents should leave between pushes, as of its last change."""
        return WATCHED_S if self._watched.get(tenant) else UNWATCHED_S

    def changed(self, tenant: str) -> None:
        """Tell everyone who watches *tenant*. Never raises: news that does not arrive is asked for by the page."""
        try:
            watchers = list(self._connections.watching(tenant))
            self._watched[tenant] = bool(watchers)
            if len(watchers) > CROWD:
                self._shelf.put(CROWDS, tenant, {}, now=self._clock(), expires=self._clock() + NOTE_MS)
            elif watchers:
                self._tell(watchers)
        except LedgerError as error:
            log.warning("watchers were not told: %s", error)

    def leave_note(self, tenant: str) -> None:
        """The same for a function that may not speak to viewers. Never raises."""
        try:
            if any(True for _ in self._connections.watching(tenant)):
                self._leave_note(tenant)
        except LedgerError as error:
            log.warning("nobody was asked to tell watchers: %s", error)

    def _leave_note(self, tenant: str) -> None:
        now = self._clock()
        self._shelf.put(CROWDS, tenant, {}, now=now, expires=now + NOTE_MS)

    def tell_all(self, tenant: str) -> int:
        """The same for a crowd of any size; returns how many there were. Raises what the store raises."""
        watchers = list(self._connections.watching(tenant))
        self._tell(watchers)
        return len(watchers)

    def _tell(self, watchers: list[Watcher]) -> None:
        """One feed for all who stand at the same place."""
        for (tenant, cursor, tz, sessions), group in groupby(sorted(filter(self._welcome, watchers), key=_place), key=_place):
            feed = self._feed(tenant, cursor or None, tz, sessions)
            if says_nothing(feed, cursor or None):
                continue
            frame, next = feed_frame(feed, cursor or None), feed.get("cursor")
            list(self._pool.map(lambda watcher, frame=frame, next=next: self._send(watcher, frame, next), group))

    def _welcome(self, watcher: Watcher) -> bool:
        welcome = not watcher.key_id or self._still(watcher.key_id)
        if not welcome:
            self._connections.left(watcher.id, watcher.tenant)
        return welcome

    def _send(self, watcher: Watcher, frame: bytes, cursor: str | None) -> None:
        # The cursor first: of two instances with the same news only one sends it, and a watcher who
        # subscribed anew meanwhile is left alone. News lost after this is a gap that the page sees and mends.
        try:
            if self._connections.stands_at(moved(watcher, cursor)):
                self._reach(watcher, frame)
        except LedgerError as error:
            log.warning("a watcher was not told: %s", error)

    def _reach(self, watcher: Watcher, frame: bytes) -> None:
        try:
            self._post(watcher.id, frame)
        except Gone:
            self._connections.left(watcher.id, watcher.tenant)


def _place(watcher: Watcher) -> tuple[str, str, str, int]:
    return watcher.tenant, watcher.cursor or "", watcher.tz, watcher.sessions
