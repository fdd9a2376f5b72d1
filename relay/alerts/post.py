"""Sends what waits: each channel of a tenant by itself, so that one that hangs or fails keeps nobody else waiting."""
from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from ledger.errors import LedgerError
from ledger.store import Shelf
from relay.alerts import memory
from relay.alerts.channels import Book
from relay.alerts.webhook import Refused
from relay.alerts.webpush import WebPush
from relay.alerts.wishes import WEB_PUSH

WORKERS, MOST_AT_ONCE = 8, 32
ROUND_S = 120.0
"""So long one channel is busy at most before it lets others have its place."""
Sent = tuple[dict[str, Any], "bool | None", str]
log = logging.getLogger("alerts")


class Post:
    """*push* carries to browsers; *patient*: wait until all is sent (a function is frozen when it returns)."""

    def __init__(self, shelf: Shelf, book: Book, push: WebPush, *, clock: Callable[[], int], patient: bool = False) -> None:
        self._shelf, self._book, self._push, self._clock, self._patient = shelf, book, push, clock, patient
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: set[Future[None]] = set()
        self._lock = threading.Lock()

    def send(self, tenant: str) -> int | None:
        """Begin to send what is due; when something is due next, None for never."""
        self._under_way = {one for one in self._under_way if not one.done()}
        now = self._clock()
        if len(self._under_way) >= MOST_AT_ONCE:
            return now + 1000
        due_at = memory.next_due(memory.read(self._shelf, tenant, now)[0])
        if due_at is None or due_at > now:
            return due_at if due_at is None or not self._under_way else now + 1000
        groups: dict[str, list[dict[str, Any]]] = {}
        for one in memory.change(self._shelf, tenant, now, lambda kept: memory.take_due(kept, now)):
            groups.setdefault(one["to"], []).append(one)
        begun = {self._workers().submit(self._send_group, tenant, to, group) for to, group in groups.items()}
        self._under_way |= begun
        if self._patient:
            wait(begun, timeout=60)
        return now + 1000

    def _workers(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="alerts")
        return self._pool

    def _send_group(self, tenant: str, to: str, group: Iterable[dict[str, Any]]) -> None:
        """One channel's messages in order. After the first failure the rest waits too: it would fail as slowly."""
        sent: list[Sent] = []
        until = time.monotonic() + ROUND_S
        for one in group:
            if sent and (sent[-1][1] is not True or time.monotonic() > until):
                sent.append((one, None, ""))
                continue
            sent.append(self._send_one(tenant, to, one))
        with self._lock:  # our own threads need not race each other; other instances are met by the version
            try:
                memory.change(self._shelf, tenant, self._clock(), lambda kept: memory.put_back(kept, sent, self._clock()))
            except LedgerError as error:
                log.warning("what was sent could not be noted, it may come twice: %s", error)

    def _send_one(self, tenant: str, to: str, one: dict[str, Any]) -> Sent:
        try:
            self.tell(tenant, to, one["message"])
        except Refused as why:
            log.warning("channel %s of %s: %s", to, tenant, why)
            return one, False, str(why)
        except LedgerError as error:
            return one, False, str(error)
        except Exception as error:  # a channel's fault must not end the others
            log.error("channel %s of %s failed: %s", to, tenant, type(error).__name__)
            return one, False, f"it failed ({type(error).__name__})"
        return one, True, ""

    def tell(self, tenant: str, to: str, message: dict[str, Any]) -> None:
        """Carry one message now. Raises Refused; a channel that is no more, or off, takes everything."""
        if to == WEB_PUSH:
            if self._push.has(tenant) and not self._push.tell(tenant, message):
                raise Refused("no browser took it")
            return
        channel = next((channel for channel in self._book.read(tenant).channels if channel.name == to and channel.on), None)
        if channel is not None:
            self._book.carry(tenant, channel, message, memory.number_of(tenant, message, to))

    def trial(self, tenant: str, to: str) -> str:
        """Send a trial message; "" or why it failed."""
        now = self._clock()
        try:
            self.tell(tenant, to, {"type": "trial", "id": "trial", "rule": "trial", "level": "info", "text": "Alerts of your relay arrive here.", "at": now})
        except Refused as why:
            return str(why)
        return ""

    def settle(self, seconds: float = 30.0) -> None:
        """Wait for what is under way, for tests and a stop in order."""
        wait(self._under_way, timeout=seconds)
