"""The administrator's endpoints, for their own tenant only, and the badges. Tenants are made and removed where the relay runs."""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request

from ledger.errors import LedgerError, Misuse, Problem

if TYPE_CHECKING:
    from relay.app import Relay

LARGEST = 16 << 10
_SECONDS_A_DAY = 86_400
LONGEST_DAYS = 3_650


def add_people_routes(app: Flask, relay: Relay, tenant_of: Callable[[], str]) -> None:
    """*tenant_of* says whose administrator asks, or raises Problem."""

    def who() -> str:
        """Known once tenant_of() has let them in."""
        return str(g.entered.key_id[-12:])

    def settings() -> Any:
        tenant = tenant_of()
        if request.method == "PUT":
            relay.office.change(who(), tenant, _body())
        return {**relay.office.describe(tenant), "badge_url": _badge_url(relay, tenant)}

    def members() -> Any:
        tenant = tenant_of()
        if request.method == "GET":
            return [member.public() for member in relay.office.members(tenant)]
        asked = _body(("name", "role", "machine", "expires_days"))
        member, key = relay.office.add_member(who(), tenant, str(asked.get("name", "")), str(asked.get("role", "")),
                                              expires_s=_seconds(asked), machine=str(asked.get("machine") or ""))  # fmt: skip
        return {**member.public(), "key": key}, 201

    def member(name: str) -> Any:
        tenant = tenant_of()
        return relay.office.remove_member(who(), tenant, name).public()

    def shares() -> Any:
        tenant = tenant_of()
        if request.method == "GET":
            return [share.public() for share in relay.office.shares(tenant)]
        asked = _body(("shows", "project", "machine", "label", "expires_days"))
        if not isinstance(asked.get("shows"), list):
            raise Problem(400, "malformed", "shows: name the parts in a list, such as [\"totals\", \"blocks\"]", parameter="shows")
        key = relay.office.share(who(), tenant, asked["shows"], project=_name(asked, "project"), machine=_name(asked, "machine"),
                                 expires_s=_seconds(asked), label=str(asked.get("label") or ""))  # fmt: skip
        return {"key": key, "url": f"{relay.settings.url}/#key={key}"}, 201

    def share(id: str) -> Any:
        tenant = tenant_of()
        relay.office.unshare(who(), tenant, id)
        return Response(status=204)

    def keys() -> Any:
        return [asdict(one) for one in relay.office.keys(tenant_of())]

    def key(id: str) -> Any:
        tenant = tenant_of()
        relay.office.revoke(who(), tenant, id)
        return Response(status=204)

    def trail() -> Any:
        return relay.office.trail(tenant_of())

    def forget() -> Any:
        tenant, asked = tenant_of(), _body(("what", "name", "dry_run"))
        what, name = asked.get("what"), asked.get("name")
        if what not in ("machine", "project") or not isinstance(name, str) or not name:
            raise Problem(400, "malformed", "what: machine or project, and its name", parameter="what")
        return relay.office.forget(who(), what, name, tenant, dry_run=asked.get("dry_run") is True).public()

    def told(view: Callable[..., Any]) -> Callable[..., Any]:
        def answer(**words: str) -> Any:
            try:
                made = view(**words)
            except Misuse as error:
                raise Problem(400, "malformed", str(error)) from None
            except LedgerError as error:
                if type(error) is not LedgerError:  # a refusal, a busy store, a full one
                    raise
                raise Problem(404, "not-found", str(error)) from None
            made = made if isinstance(made, Response) else app.make_response(_json(made))
            made.headers["Cache-Control"] = "no-store"
            return made

        return answer

    for mount in ("", "/api"):
        for path, view, methods in (
            ("tenant", settings, ["GET", "PUT"]), ("members", members, ["GET", "POST"]), ("members/<name>", member, ["DELETE"]),
            ("shares", shares, ["GET", "POST"]), ("shares/<id>", share, ["DELETE"]), ("keys", keys, ["GET"]), ("keys/<id>", key, ["DELETE"]),
            ("audit", trail, ["GET"]), ("forget", forget, ["POST"]),
        ):  # fmt: skip
            app.add_url_rule(f"{mount}/v1/admin/{path}", f"admin{mount}/{path}", told(view), methods=methods)
    _badges(app, relay)


def _badges(app: Flask, relay: Relay) -> None:
    """Kept for a minute by whoever asked. An id that there is not counts as a wrong key."""

    def found(id: str) -> str:
        from relay.routes import address

        message: str | None = relay.badges.message(id) if 0 < len(id) <= 64 else None
        if message is None:
            relay.limits.refused.take(address(), relay.clock())
            raise Problem(404, "not-found", "there is no such badge")
        return message

    def answer(body: str, kind: str) -> Response:
        made = Response(body, content_type=kind)
        made.headers["Cache-Control"] = "public, max-age=60"
        # A picture is there to stand on other pages.
        made.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        made.add_etag()
        return made.make_conditional(request)  # type: ignore[return-value]

    @app.get("/badge/<name>")
    def the_badge(name: str) -> Response:
        from relay.people import badge

        id, _, kind = name.rpartition(".")
        if kind == "svg":
            return answer(badge.svg(found(id)), "image/svg+xml; charset=utf-8")
        return answer(json.dumps(badge.shields(found(id if kind == "json" else "")), ensure_ascii=False), "application/json")


def _badge_url(relay: Relay, tenant: str) -> str | None:
    id = relay.tenants.get(tenant).badge
    return f"{relay.settings.url}/badge/{id}.svg" if id else None


def _json(made: Any) -> Any:
    body, status = made if isinstance(made, tuple) else (made, 200)
    return Response(json.dumps(body, ensure_ascii=False), status, content_type="application/json")


def _body(known: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    """The object that was sent. Raises Problem 400, also for a member that nobody reads: it may be a misspelt restriction."""
    request.max_content_length = LARGEST
    try:
        found = json.loads(request.get_data())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Problem(400, "malformed", "send a JSON object")
    if known is not None and (odd := [name for name in found if name not in known]):
        raise Problem(400, "malformed", f"nothing here is called {odd[0][:40]!r}: there are {', '.join(known)}", parameter=odd[0][:40])
    return found


def _name(asked: Mapping[str, Any], name: str) -> str | None:
    value = asked.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 512:
        raise Problem(400, "malformed", f"{name} is a name", parameter=name)
    return value


def _seconds(asked: Mapping[str, Any]) -> int:
    days = asked.get("expires_days", 0)
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= LONGEST_DAYS:
        raise Problem(400, "malformed", f"expires_days is a whole number up to {LONGEST_DAYS}; 0 never expires", parameter="expires_days")
    return days * _SECONDS_A_DAY
