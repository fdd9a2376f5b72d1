"""Which alerts are news. An alert is told once per episode and re-armed when it is over.

The summary says what is true now; the shelf remembers what was told. The difference is news.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

QUIET_MS = 10 * 60 * 1000
"""How long an alert must be over before it can be told again: a value that wavers at its threshold is one episode."""

Told = Mapping[str, Mapping[str, int]]
"""By alert id: {"told": ms when it was told, "seen": ms when it was last true}."""


def news(alerts: Iterable[Mapping[str, Any]], told: Told, *, now: int) -> tuple[list[Mapping[str, Any]], dict[str, dict[str, int]]]:
    """The alerts to tell now, and what to remember afterwards. Alerts carry "id", "level" and "text"."""
    fresh, kept = [], {id: dict(times) for id, times in told.items() if now - times["seen"] < QUIET_MS}
    for alert in alerts:
        id = str(alert["id"])
        if id not in kept:
            fresh.append(alert)
        kept[id] = {"told": kept.get(id, {}).get("told", now), "seen": now}
    return fresh, kept
