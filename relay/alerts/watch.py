"""After every change, and on every round of upkeep: is there news to tell this tenant?"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from ledger.errors import Conflict
from ledger.store import Shelf
from relay.alerts.episodes import Told, news

DRAWER = "alerts"


class Channel(Protocol):
    def tell(self, tenant: str, alert: Mapping[str, Any]) -> int:
        """Carry one alert; returns how many it reached. Never raises."""
        ...


class Watch:
    """Compares what is true with what was told. Two instances may run: only one of them tells."""

    def __init__(
        self, alerts_of: Callable[[str], Iterable[Mapping[str, Any]]], shelf: Shelf, channels: Iterable[Channel], *, clock: Callable[[], int]
    ) -> None:
        self._alerts_of, self._shelf, self._channels, self._clock = alerts_of, shelf, tuple(channels), clock

    def check(self, tenant: str) -> int:
        """Tell what is new; returns how many alerts were told."""
        now = self._clock()
        found = self._shelf.take(DRAWER, tenant, now=now)
        told: Told = found.value if found else {}  # type: ignore[assignment]
        fresh, kept = news(self._alerts_of(tenant), told, now=now)
        if not fresh and kept.keys() == told.keys() and all(now - times["seen"] < 60_000 for times in told.values()):
            return 0
        try:
            self._shelf.put(DRAWER, tenant, kept, now=now, expect=found.version if found else 0)
        except Conflict:
            return 0  # somebody else is telling
        for alert in fresh:
            for channel in self._channels:
                channel.tell(tenant, alert)
        return len(fresh)
