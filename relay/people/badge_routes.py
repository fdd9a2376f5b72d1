"""The badges over HTTP: open to everybody who has the address, and cached for a minute by whoever asked."""
from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flask import Flask, Response, request

from ledger.errors import Problem
from relay.people import badge
from relay.routes import address

if TYPE_CHECKING:
    from relay.app import Relay


def add_badge_routes(app: Flask, relay: Relay) -> None:
    """An id that there is not counts as a wrong key, so that none is found by trying."""

    def found(id: str) -> str:
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
        id, _, kind = name.rpartition(".")
        if kind == "svg":
            return answer(badge.svg(found(id)), "image/svg+xml; charset=utf-8")
        return answer(json.dumps(badge.shields(found(id if kind == "json" else "")), ensure_ascii=False), "application/json")
