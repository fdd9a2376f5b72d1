"""Alerts over HTTP: what is open, what a person wants to be told and where, a trial, and the subscriptions of browsers."""
from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request

from ledger.errors import Problem
from relay.alerts import webpush
from relay.limits import Buckets, Rate

if TYPE_CHECKING:
    from ledger.http.reads import Access
    from relay.alerts.house import Alerts

LARGEST = 32 << 10
TRIAL = {"id": "trial", "level": "info", "text": "Alerts of your relay arrive here."}
TRIALS_AT_ONCE = 2
"""Of a relay's few threads."""
_trying = threading.BoundedSemaphore(TRIALS_AT_ONCE)
Caller = Callable[..., "Access"]


def add_alert_routes(app: Flask, alerts: Callable[[], Alerts], caller: Caller, clock: Callable[[], int], *, prefix: str) -> None:
    """*caller* says who asks, or raises Problem; with scopes only those may. *alerts* is asked when it is needed."""
    views = _Views(alerts, caller, clock)
    routes: list[tuple[str, Callable[..., Any], str]] = [
        ("/v1/alerts", views.shown, "GET"), ("/v1/alerts/settings", views.settings, "GET"), ("/v1/alerts/settings", views.change, "PUT"),
        ("/v1/alerts/trial", views.trial, "POST"),
    ]  # fmt: skip
    if webpush.is_available():
        routes += [("/v1/alerts/key", views.key, "GET"), ("/v1/alerts/subscriptions", views.subscribe, "POST"), ("/v1/alerts/subscriptions/<id>", views.unsubscribe, "DELETE")]
    for path, view, method in routes:
        app.add_url_rule(prefix + path, f"alerts{prefix}{path}{method}".replace(".", ""), view, methods=[method])

    def private(answer: Response) -> Response:
        if request.path.startswith(f"{prefix}/v1/alerts"):
            answer.headers.setdefault("Cache-Control", "no-store")
        return answer

    app.after_request(private)


class _Views:
    """What each path answers."""

    def __init__(self, alerts: Callable[[], Alerts], caller: Caller, clock: Callable[[], int]) -> None:
        self._alerts, self._caller, self._clock = alerts, caller, clock
        self._trials = Buckets(Rate(10, 1 / 20))

    def shown(self) -> Mapping[str, Any]:
        return self._alerts().watch.shown(_reader(self._caller))

    def settings(self) -> Mapping[str, Any]:
        access = self._caller()
        found = self._alerts().book.read(_member(access)).public()
        if access.scope != "admin":  # who may only read need not know where messages go
            found["channels"] = [{name: channel[name] for name in ("name", "kind", "on")} for channel in found["channels"]]
        return found

    def change(self) -> Mapping[str, Any]:
        tenant = self._caller("admin").tenant
        wishes, made = self._alerts().book.change(tenant, _document())
        self._alerts().duty.listens(tenant)
        found = wishes.public()
        for channel in found["channels"]:
            if channel["name"] in made:
                channel["secret"] = made[channel["name"]]
        return found

    def trial(self) -> Mapping[str, Any]:
        asked = _document() if request.get_data() else {}
        to = asked.get("channel") if isinstance(asked, dict) else None
        tenant = _reader(self._caller) if to is None else self._caller("admin").tenant
        if to is not None and not any(channel.name == to and channel.on for channel in self._alerts().book.read(tenant).channels):
            raise Problem(404, "not-found", "there is no such channel, or it is off: GET /v1/alerts/settings lists them")
        with _turn():
            self._trials.take(tenant, self._clock())
            if to is None:
                return {"reached": self._alerts().webpush.tell(tenant, TRIAL)}
            why = self._alerts().post.trial(tenant, str(to))
            return {"channel": to, "ok": not why, "detail": why}

    def key(self) -> Mapping[str, str]:
        _reader(self._caller)
        return {"key": self._alerts().webpush.public_key()}

    def subscribe(self) -> tuple[Mapping[str, str], int]:
        tenant = _reader(self._caller)
        made = self._alerts().webpush.subscribe(tenant, _document())
        self._alerts().duty.listens(tenant)
        return {"id": made}, 201

    def unsubscribe(self, id: str) -> Response:
        if not self._alerts().webpush.unsubscribe(_reader(self._caller), id):
            raise Problem(404, "not-found", "there is no such subscription: it was removed before")
        return Response(status=204)


@contextmanager
def _turn() -> Iterator[None]:
    """Raises Problem 429 where so many trials wait for somebody else's answer that those who read would have to wait, too."""
    if not _trying.acquire(blocking=False):
        raise Problem(429, "rate-limited", "others try their alerts at this moment: try again in 10 s", headers={"Retry-After": "10"})
    try:
        yield
    finally:
        _trying.release()


def _reader(caller: Caller) -> str:
    return _member(caller())


def _member(access: Access) -> str:
    """The tenant of somebody who sees all of it: alerts name machines and titles, so they are shown to nobody who is shown a part."""
    if access.scope not in ("read", "admin"):
        raise Problem(403, "scope", "a shared view has no alerts: use a read key")
    return access.tenant


def _document() -> Any:
    request.max_content_length = LARGEST
    if not request.is_json:
        raise Problem(415, "encoding", "send it as application/json")
    try:
        return json.loads(request.get_data())
    except (ValueError, RecursionError):
        raise Problem(400, "malformed", "the body is not JSON: send an object") from None
