"""The administrator's endpoints, for their own tenant only. Tenants are made and removed where the relay runs."""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request

from ledger.errors import LedgerError, Misuse, Problem
from relay.limits import Buckets, Rate

if TYPE_CHECKING:
    from relay.app import Relay
    from relay.people.office import Office

LARGEST = 16 << 10
_SECONDS_A_DAY = 86_400
LONGEST_DAYS = 3_650


def add_people_routes(app: Flask, relay: Relay, tenant_of: Callable[[], str]) -> None:
    """*tenant_of* says whose administrator asks, or raises Problem."""
    admin = _Admin(relay, tenant_of)
    for mount in ("", "/api"):
        for path, view, methods in (
            ("tenant", admin.settings, ["GET", "PUT"]), ("members", admin.members, ["GET", "POST"]), ("members/<name>", admin.member, ["DELETE"]),
            ("shares", admin.shares, ["GET", "POST"]), ("shares/<id>", admin.share, ["DELETE"]), ("keys", admin.keys, ["GET"]), ("keys/<id>", admin.key, ["DELETE"]),
            ("audit", admin.trail, ["GET"]), ("forget", admin.forget, ["POST"]),
        ):  # fmt: skip
            app.add_url_rule(f"{mount}/v1/admin/{path}", f"admin{mount}/{path}", _told(view), methods=methods)


class _Admin:
    """What each path does. A view answers a document, a document with a status, or a Response."""

    def __init__(self, relay: Relay, tenant_of: Callable[[], str]) -> None:
        self._relay, self._tenant_of = relay, tenant_of
        # Each of them writes the whole file of a SQLite store anew, so that no trace is left, and all pushes wait for it.
        self._forgettings = Buckets(Rate(5, 1 / 60))

    @property
    def _office(self) -> Office:
        return self._relay.office  # made when it is first asked for: a function's start does not wait for it

    @property
    def _who(self) -> str:
        """Known once tenant_of() has let them in."""
        return str(g.entered.key_id[-12:])

    def settings(self) -> Any:
        tenant = self._tenant_of()
        if request.method == "PUT":
            self._office.change(self._who, tenant, _body())
        return {**self._office.describe(tenant), "badge_url": _badge_url(self._relay, tenant)}

    def members(self) -> Any:
        tenant = self._tenant_of()
        if request.method == "GET":
            return [member.public() for member in self._office.members(tenant)]
        asked = _body(("name", "role", "machine", "expires_days"))
        member, key = self._office.add_member(self._who, tenant, str(asked.get("name", "")), str(asked.get("role", "")),
                                              expires_s=_seconds(asked), machine=str(asked.get("machine") or ""))  # fmt: skip
        return {**member.public(), "key": key}, 201

    def member(self, name: str) -> Any:
        tenant = self._tenant_of()
        return self._office.remove_member(self._who, tenant, name).public()

    def shares(self) -> Any:
        tenant = self._tenant_of()
        if request.method == "GET":
            return [share.public() for share in self._office.shares(tenant)]
        asked = _body(("shows", "project", "machine", "label", "expires_days"))
        if not isinstance(asked.get("shows"), list):
            raise Problem(400, "malformed", "shows: name the parts in a list, such as [\"totals\", \"blocks\"]", parameter="shows")
        key = self._office.share(self._who, tenant, asked["shows"], project=_name(asked, "project"), machine=_name(asked, "machine"),
                                 expires_s=_seconds(asked), label=str(asked.get("label") or ""))  # fmt: skip
        return {"key": key, "url": f"{self._relay.settings.url}/#key={key}"}, 201

    def share(self, id: str) -> Any:
        tenant = self._tenant_of()
        self._office.unshare(self._who, tenant, id)
        return Response(status=204)

    def keys(self) -> Any:
        return [asdict(one) for one in self._office.keys(self._tenant_of())]

    def key(self, id: str) -> Any:
        tenant = self._tenant_of()
        self._office.revoke(self._who, tenant, id)
        return Response(status=204)

    def trail(self) -> Any:
        return self._office.trail(self._tenant_of())

    def forget(self) -> Any:
        tenant, asked = self._tenant_of(), _body(("what", "name", "dry_run"))
        what, name = asked.get("what"), asked.get("name")
        if what not in ("machine", "project") or not isinstance(name, str) or not name:
            raise Problem(400, "malformed", "what: machine or project, and its name", parameter="what")
        if asked.get("dry_run") is not True:
            self._forgettings.take(tenant, self._relay.clock())
        return self._office.forget(self._who, what, name, tenant, dry_run=asked.get("dry_run") is True).public()


def _told(view: Callable[..., Any]) -> Callable[..., Any]:
    """What *view* answers as a response that nobody keeps, and what it refuses as a Problem."""

    def answer(**words: str) -> Response:
        try:
            made = view(**words)
        except Misuse as error:
            raise Problem(400, "malformed", str(error)) from None
        except LedgerError as error:
            if type(error) is not LedgerError:  # a refusal, a busy store, a full one
                raise
            raise Problem(404, "not-found", str(error)) from None
        response: Response = made if isinstance(made, Response) else _json(made)
        response.headers["Cache-Control"] = "no-store"
        return response

    return answer


def _badge_url(relay: Relay, tenant: str) -> str | None:
    id = relay.tenants.get(tenant).badge
    return f"{relay.settings.url}/badge/{id}.svg" if id else None


def _json(made: Any) -> Response:
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
