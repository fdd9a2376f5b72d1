"""A small picture for a README, and the same for shields.io: today's use of a tenant that opened it, and nothing else.

Whoever has the address may see it, so the address cannot be guessed, and it shows only what was chosen. Off until a tenant opens it.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from ledger.store import Shelf

DRAWER = "badges"
SHOWS = ("tokens", "cost", "week", "active")
"""Today's tokens, today's cost, percent of the week's limit, sessions that are active now."""
LABEL = "coding agents today"
BELIEVED_MS = 45_000
_REMEMBERED = 1_000


class Badges:
    """Which badges are open. *summary_of* gives a tenant's summary."""

    def __init__(self, shelf: Shelf, clock: Callable[[], int], summary_of: Callable[[str], Mapping[str, Any]]) -> None:
        self._shelf, self._clock, self._summary_of = shelf, clock, summary_of
        self._known: dict[str, tuple[int, tuple[str, tuple[str, ...]] | None]] = {}

    def open(self, tenant: str, id: str, shows: tuple[str, ...]) -> None:
        self._shelf.put(DRAWER, id, {"tenant": tenant, "shows": list(shows)}, now=self._clock())
        self._known.pop(id, None)

    def close(self, id: str) -> None:
        self._shelf.drop(DRAWER, id)
        self._known.pop(id, None)

    def message(self, id: str) -> str | None:
        """What the badge of that id says now; None for none."""
        found = self._of(id)
        return None if found is None else " · ".join(_said(self._summary_of(found[0]), found[1])) or "no use"

    def _of(self, id: str) -> tuple[str, tuple[str, ...]] | None:
        now, known = self._clock(), self._known.get(id)
        if known is not None and 0 <= now - known[0] < BELIEVED_MS:
            return known[1]
        document = self._shelf.take(DRAWER, id, now=now)
        shows = document.value.get("shows") if document else None
        found = (str(document.value["tenant"]), tuple(map(str, shows))) if document and isinstance(shows, list) else None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[id] = (now, found)
        return found


def _said(summary: Mapping[str, Any], shows: tuple[str, ...]) -> list[str]:
    today = summary["totals"]["today"]
    week = max((limit["percent"] for limit in summary["limits"] if limit["window"].startswith("seven_day")), default=None)
    parts = {
        "tokens": f"{short(today['tokens'])} tokens", "cost": f"${today['cost']:.2f}",
        "week": None if week is None else f"week {week:.0f}%", "active": f"{summary['active']} active",
    }  # fmt: skip
    return [str(parts[name]) for name in SHOWS if name in shows and parts[name] is not None]


def short(count: float) -> str:
    """1234567 as 1.2M."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size * 0.99995:  # what would round to a thousand is one of the next unit
            return f"{count / size:.1f}".removesuffix(".0") + unit
    return f"{count:.0f}"


def shields(message: str) -> dict[str, object]:
    """As shields.io's endpoint badge wants it."""
    return {"schemaVersion": 1, "label": LABEL, "message": message, "color": "2f6f6a", "cacheSeconds": 300}


def svg(message: str) -> str:
    """Widths are guessed from the number of letters: fonts differ, and textLength makes the text fit."""
    left, right = len(LABEL) * 6 + 12, len(message) * 6 + 12
    label, said, total = escape(LABEL), escape(message), left + right
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="20" role="img" aria-label="{label}: {said}"><title>{label}: {said}</title>'
        f'<clipPath id="r"><rect width="{total}" height="20" rx="3"/></clipPath><g clip-path="url(#r)"><rect width="{left}" height="20" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="#2f6f6a"/></g><g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="6" y="14" textLength="{left - 12}">{label}</text><text x="{left + 6}" y="14" textLength="{right - 12}">{said}</text></g></svg>\n'
    )
