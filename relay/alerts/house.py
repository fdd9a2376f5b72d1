"""Wires the alerts of one relay together from their parts; it decides nothing."""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ledger.keytext import claims_of
from ledger.store import Shelf
from relay.alerts import facts
from relay.alerts.channels import Book
from relay.alerts.duty import ALL_MS, Duty
from relay.alerts.facts import Facts, KeyEnd, Usual
from relay.alerts.locker import Locker
from relay.alerts.post import Post
from relay.alerts.watch import Watch
from relay.alerts.webpush import WebPush

if TYPE_CHECKING:
    from ledger.views.view import View
    from relay.keys import Listed


class Alerts:
    """*view_of* gives a tenant's view, *keys_of* every key that this relay made; *private* allows addresses inside; *patient*
    waits for what is being sent."""

    def __init__(
        self, shelf: Shelf, *, secrets: Sequence[bytes], url: str, view_of: Callable[[str], View], keys_of: Callable[[], Iterable[Listed]],
        clock: Callable[[], int], private: bool = False, patient: bool = False,
    ) -> None:  # fmt: skip
        self._view_of, self._clock, self._keys = view_of, clock, Keys(keys_of, clock)
        self.webpush = WebPush(shelf, url=url, clock=clock)
        self.book = Book(shelf, Locker(secrets), private=private, clock=clock)
        self.post = Post(shelf, self.book, self.webpush, clock=clock, patient=patient)
        self.watch = Watch(self._facts, shelf, self.book, clock=clock, pushes_to=self.webpush.has)
        self.duty = Duty(self.watch, self.post, self._listeners, clock=clock)

    def _listeners(self) -> set[str]:
        return {*self.book.tenants(), *self.webpush.tenants()}

    def _facts(self, tenant: str, tz: str | None, usual: Usual) -> Facts:
        return facts.read(self._view_of(tenant), self._clock(), tz=tz, usual=usual, keys=self._keys.of(tenant))


class Keys:
    """The push keys in force, by tenant, read once a minute for all."""

    def __init__(self, keys_of: Callable[[], Iterable[Listed]], clock: Callable[[], int]) -> None:
        self._keys_of, self._clock = keys_of, clock
        self._read_at: int | None = None
        self._known: dict[str, list[KeyEnd]] = {}
        self._lock = threading.Lock()

    def of(self, tenant: str) -> list[KeyEnd]:
        now = self._clock()
        with self._lock:
            if self._read_at is None or now - self._read_at >= ALL_MS:
                self._known = {}
                for key in self._keys_of():
                    if key.scope == "push" and key.state == "in force":
                        self._known.setdefault(key.tenant, []).append(KeyEnd(claims_of(key.id).source, key.expires))
                self._read_at = now
            return self._known.get(tenant, [])
