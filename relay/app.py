"""Wires a relay together from its parts; it decides nothing."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Flask

from ledger import __version__
from ledger.api import Route, read_api
from ledger.clock import now_ms
from ledger.http.reads import Home, Reads
from ledger.prices import PriceBook
from ledger.stores import Ledger
from ledger.views.shared import SharedViews
from relay.access import ANY, Door
from relay.ahead import Ahead
from relay.alerts.routes import add_alert_routes
from relay.health import Health
from relay.keys import KeyRing
from relay.limits import Limits
from relay.live.tickets import Tickets
from relay.origins import Origins
from relay.people.badge_routes import add_badge_routes
from relay.people.routes import add_people_routes
from relay.people.shares import shown_of
from relay.people.tenants import Tenants
from relay.people.terms import days, terms_of
from relay.protocol import Terms
from relay.push import Push
from relay.routes import LARGEST_POST, MOUNTS, OLD, add_routes, caller_of
from relay.settings import TENANT, Settings

if TYPE_CHECKING:
    from ledger.http.openapi import Call
    from ledger.serving.live import Live
    from relay.admission import Admissions
    from relay.alerts.house import Alerts
    from relay.legacy import Posts
    from relay.logs import AccessLog
    from relay.people.badge import Badges
    from relay.people.office import Office
    from relay.upkeep import Upkeep


@dataclass
class Relay:
    """All parts of one relay. *on_change* hears which tenant has news; by default the viewers of this process do."""

    settings: Settings
    store: Ledger
    clock: Callable[[], int] = now_ms
    on_change: Callable[[str], object] | None = None
    access_log: AccessLog | None = None
    changes: int = 0
    began: int = field(init=False)
    health: Health = field(init=False, default_factory=Health)

    def __post_init__(self) -> None:
        s, clock = self.settings, self.clock
        self.began = clock()
        self.limits = Limits.usual(s.rate)
        self.ring = KeyRing(s.secrets, self.store, s.revoked, clock)
        self.tenants = Tenants(self.store, clock)
        shown = shown_of(self.store, clock)
        self.door = Door(self.ring, self.limits, tenant=TENANT, shared=s.shared, clock=clock, shown_of=shown)
        self.views = SharedViews(self.store, PriceBook.load(), clock, shelf=self.store, shown_of=shown, zone_of=lambda tenant: self.tenants.get(tenant).zone)
        self.ahead = Ahead(self.views)
        self.push = Push(self.store, self.ring, aud=s.url, limits=self.limits, clock=clock, on_change=self.changed,
                         terms_of=terms_of(self.tenants, Terms(s.beat_s, keep_days=s.retention_days, keep_totals_days=s.totals_days)))  # fmt: skip
        self.tickets = Tickets(self.store, clock)
        self.origins = Origins(s.origins, s.url)
        self.reads = Reads(self.views, home=Home("relay", __version__, s.url, status=self._status, owners=self.tenants.owners, calls=_calls), clock=clock)

    def _forgotten(self, tenant: str) -> None:
        self.views.forget([tenant])
        self.changed(tenant)

    def _status(self, tenant: str) -> Mapping[str, Any]:
        port = urlsplit(self.settings.url).port or self.settings.port
        found = self.live.statistics(tenant) if "live" in self.__dict__ else None
        return {"port": port} | ({"connected_clients": found["current_connections"], "statistics": found} if found else {})

    # Parts that a function which takes pushes and answers reads never loads.

    @cached_property
    def posts(self) -> Posts:
        """What the earlier system's clients send."""
        from relay.legacy import Posts

        return Posts(self.store, self.clock, self.changed, forgets=lambda tenant, project: self.tenants.get(tenant).forgets(project))

    @cached_property
    def upkeep(self) -> Upkeep:
        from relay.upkeep import Upkeep

        s = self.settings
        return Upkeep(self.store, keep_days=s.retention_days, totals_days=s.totals_days, tenants=self.tenants, clock=self.clock, on_change=self.changed)

    @cached_property
    def badges(self) -> Badges:
        from relay.people.badge import Badges

        return Badges(self.store, self.clock, lambda tenant: self.views.view(tenant).summary())

    @cached_property
    def office(self) -> Office:
        """What an administrator may do."""
        from relay.people.office import Office

        return Office(self.store, self.ring, self.tenants, self.badges, self.clock, self._forgotten)

    @cached_property
    def live(self) -> Live:
        """The viewers of this process."""
        from ledger.serving.live import Live

        return Live(self.feed, clock=self.clock)

    @cached_property
    def admissions(self) -> Admissions:
        from relay.admission import Admissions

        return Admissions(self.door, self.tickets, self.origins)

    def keep_days(self, tenant: str) -> int | None:
        """The horizon of a tenant's sessions; None: they are kept for ever."""
        return days(self.tenants.get(tenant).keep_days, self.settings.retention_days)

    def feed(self, tenant: str, cursor: str | None, tz: str, sessions: int) -> Mapping[str, Any]:
        return {**self.views.view(tenant).feed(cursor, tz, sessions), "home": self.reads.home.role}

    @cached_property
    def alerts(self) -> Alerts:
        """Who is told of what."""
        from relay.alerts.house import Alerts

        s = self.settings
        return Alerts(self.store, secrets=s.secrets, url=s.url, view_of=self.views.view, keys_of=self.ring.list, clock=self.clock,
                      private=s.alerts_private, patient=s.on_lambda)  # fmt: skip

    def changed(self, tenant: str) -> None:
        self.changes += 1
        if not self.settings.on_lambda:  # there a schedule looks after everybody
            self.alerts.duty.note(tenant)
            self.ahead.note(tenant)
        (self.on_change or self.live.changed)(tenant)


def _calls() -> Iterable[Call]:
    from relay.described import CALLS

    return CALLS


def create_app(relay: Relay) -> Flask:
    """The Flask app: the same on our own server, in a function, and in tests."""
    app = Flask("relay", static_folder=None)
    app.url_rule_class = Route
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_POST
    for mount in MOUNTS:
        app.register_blueprint(read_api(relay.reads, partial(caller_of, relay, *ANY), name=f"api{mount}".replace("/", "_").replace(".", ""), prefix=mount, legacy_errors=mount == OLD))
    for mount in ("", "/api"):
        add_alert_routes(app, lambda: relay.alerts, partial(caller_of, relay), relay.clock, prefix=mount)
    add_people_routes(app, relay, lambda: caller_of(relay, "admin").tenant)
    add_badge_routes(app, relay)
    add_routes(app, relay)
    return app
