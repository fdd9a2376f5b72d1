"""The view of somebody who may not see everything, and what of its answers was chosen.

It reads the store through a lens (ledger/views/share.py), so it holds no hidden name, no other project and no price. Here its
answers are cut to the chosen parts: what was not chosen is null, or empty where a list or a mapping stands.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any, cast

import msgspec

from ledger.errors import Problem
from ledger.prices import PriceBook
from ledger.store import Shelf, Store
from ledger.views.share import BETWEEN, Lens, Shown, owner_of
from ledger.views.tenants import Views
from ledger.views.view import View

MOST, MOST_SESSIONS = 24, 300_000
"""Shared views that are held at once, and sessions in all of them; each is a view of its own, of what it shows."""
MONEY = frozenset({"cost", "reported_cost", "today_cost", "cost_per_hour", "usd_per_million", "amount"})
NAMES = {"titles": frozenset({"title", "git_branch", "metadata", "conversation_id"}), "projects": frozenset({"project"}), "machines": frozenset({"machine"})}
NEEDS = {
    "/sessions": "sessions", "/sessions/active": "sessions", "/sessions/recent": "sessions", "/sessions/{id}": "sessions", "/sessions/{id}/cost": "sessions",
    "/analytics/current": "totals", "/five-hour-blocks": "blocks", "/limits": "limits", "/machines": "machines",
    "/export/session": "sessions", "/export/usage": "sessions", "/export/block": "blocks", "/export/day": "totals",
}  # fmt: skip
FREE = frozenset({"/v1/feed", "/status", "/dashboard-config"})
STATUS = frozenset({"status", "version", "home", "timestamp", "websocket_endpoint", "features", "last_sync", "sample"})
_PARTS = {"block": "blocks", "recent_blocks": "blocks", "limits": "limits", "days": "totals", "days_changed": "totals", "hours": "totals", "totals": "totals",
          "projects": "projects", "active": "totals", "models": "totals"}  # fmt: skip
_ANY = {"sessions_total": frozenset({"totals", "sessions"})}
"""What belongs to more than one part: whoever sees one of them sees it."""
_NOBODYS = frozenset({"alerts", "stubs", "unpriced"})
Json = dict[str, Any]


class SharedView(View):
    """A view of what *shown* shows."""

    def __init__(self, tenant: str, store: Store, book: PriceBook, clock: Callable[[], int], shown: Shown, salt: bytes) -> None:
        unpriced = PriceBook({"date": book.date, "rows": []})
        super().__init__(owner_of(tenant), cast(Store, Lens(store, shown, salt)), book if "costs" in shown else unpriced, clock)
        self.shown_parts = shown
        self.hides = shown.project is not None

    def must_show(self, path: str) -> None:
        """Raises Problem 403 for a path that shows nothing of what was chosen. One that nobody thought of shows nothing."""
        needed = ("machines", "totals") if path == "/team" else (NEEDS.get(path, ""),)
        if path not in FREE and not all(part in self.shown_parts for part in needed):
            raise Problem(403, "not-shared", "this key does not show that: `shows` of GET /v1/ping says what it shows")

    def present(self, path: str, value: Any) -> Any:
        self.must_show(path)
        if path == "/v1/feed":
            value = self._feed(value)
        elif path == "/status":
            value = {name: part for name, part in value.items() if name in STATUS}
        elif path == "/analytics/current":
            value = {**value, "current_block": value["current_block"] if "blocks" in self.shown_parts else None}
        return self._cut(value)

    def feed(self, cursor: str | None = None, tz: str | None = None, sessions: int = 200) -> Json:
        return cast(Json, self.present("/v1/feed", super().feed(cursor, tz, sessions)))

    def _feed(self, value: Json) -> Json:
        found = {**value, "reset": value["reset"] if "sessions" in self.shown_parts else []}
        if "sessions" not in self.shown_parts:
            found |= {"records": [], "removed": []}
        if "machines" in found and "machines" not in self.shown_parts:
            found["machines"] = []
        return found | {"summary": {name: self._part(name, part) for name, part in value["summary"].items()}}

    def _part(self, name: str, part: Any) -> Any:
        """A part of the summary; empty of its kind where it was not chosen."""
        parts = _ANY.get(name) or {_PARTS.get(name, "totals")}
        if name in _NOBODYS or (not any(each in self.shown_parts for each in parts) and name not in ("tz", "price_book")):
            return [] if isinstance(part, list) else None
        if name == "hours" and "costs" not in self.shown_parts:
            return []
        if name in ("days", "days_changed"):
            return [self._day(day) for day in part]
        return part

    def _day(self, day: Json) -> Json:
        found = dict(day)
        for name in ("projects", "machines"):
            if name not in self.shown_parts:
                found[name] = {}
        if "costs" not in self.shown_parts:
            for name in ("models", "projects", "machines", "tools"):
                found[name] = {key: [tokens, None] for key, (tokens, _) in found[name].items()}
        return found

    def _cut(self, value: Any) -> Any:
        """No money and no name that was not chosen, however deep it stands."""
        if isinstance(value, msgspec.Raw):
            value = msgspec.json.decode(value)
        if isinstance(value, Mapping):
            return {name: None if self._is_hidden(name) else self._cut(part) for name, part in value.items()}
        return [self._cut(part) for part in value] if isinstance(value, list | tuple) else value

    def _is_hidden(self, name: Any) -> bool:
        if name in MONEY:
            return "costs" not in self.shown_parts
        return any(name in names and part not in self.shown_parts for part, names in NAMES.items())


class SharedViews(Views):
    """Views of tenants, and of what is shared of them: "tenant|share". *shown_of* says what a share shows, None for one that is no more."""

    def __init__(self, store: Store, book: PriceBook, clock: Callable[[], int], *, shown_of: Callable[[str], tuple[Shown, bytes] | None],
                 shelf: Shelf | None = None, zone_of: Callable[[str], str | None] | None = None) -> None:  # fmt: skip
        super().__init__(store, book, clock, shelf=shelf, zone_of=zone_of)
        self._shown_of = shown_of
        self._shared: OrderedDict[str, SharedView] = OrderedDict()
        self._shared_lock = Lock()

    def view(self, tenant: str) -> View:
        """Raises Problem 401 for a share that is no more."""
        if BETWEEN not in tenant:
            return super().view(tenant)
        with self._shared_lock:
            view = self._shared.get(tenant)
            if view is not None:
                self._shared.move_to_end(tenant)
        if view is not None:
            view.advance()
            return view
        view = self._made(tenant)
        view.advance()
        self._make_room()
        return view

    def _make_room(self) -> None:
        """Whoever was asked for least is read anew when asked for next."""
        with self._shared_lock:
            while len(self._shared) > 1 and (len(self._shared) > MOST or sum(len(view.order) for view in self._shared.values()) > MOST_SESSIONS):
                self._shared.popitem(last=False)

    def _made(self, tenant: str) -> SharedView:
        found = self._shown_of(tenant)
        if found is None:
            raise Problem(401, "key-revoked", "what this link showed is shared no more: ask for a new one")
        made = SharedView(tenant, self._store, self._book, self._clock, *found)
        made.zone_of = self._zone_of
        with self._shared_lock:
            return self._shared.setdefault(tenant, made)

    def forget(self, tenants: Iterable[str]) -> None:
        """These are read anew when they are asked for next, and what was shared of them too."""
        gone = set(tenants)
        super().forget(gone)
        with self._shared_lock:
            for name in [name for name in self._shared if owner_of(name) in gone or name in gone]:
                del self._shared[name]
