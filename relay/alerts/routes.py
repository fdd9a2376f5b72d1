"""Where a browser asks to be told: the relay's public key, subscriptions, and a trial alert."""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, request

from ledger.errors import Problem
from relay.alerts.webpush import WebPush

LARGEST = 8 << 10
TRIAL = {"id": "trial", "level": "info", "text": "Alerts of your relay arrive here."}


def add_alert_routes(app: Flask, push: WebPush, tenant_of: Callable[[], str], *, prefix: str) -> None:
    """*tenant_of* says who asks, or raises Problem."""

    def key() -> Mapping[str, str]:
        tenant_of()
        return {"key": push.public_key()}

    def subscribe() -> tuple[Mapping[str, str], int]:
        tenant = tenant_of()
        return {"id": push.subscribe(tenant, _document())}, 201

    def unsubscribe(id: str) -> Response:
        if not push.unsubscribe(tenant_of(), id):
            raise Problem(404, "not-found", "there is no such subscription")
        return Response(status=204)

    def trial() -> Mapping[str, int]:
        return {"reached": push.tell(tenant_of(), TRIAL)}

    for path, view, method in (
        ("/v1/alerts/key", key, "GET"), ("/v1/alerts/subscriptions", subscribe, "POST"),
        ("/v1/alerts/subscriptions/<id>", unsubscribe, "DELETE"), ("/v1/alerts/trial", trial, "POST"),
    ):  # fmt: skip
        app.add_url_rule(prefix + path, f"alerts{prefix}{path}{method}".replace(".", ""), view, methods=[method])


def _document() -> Any:
    request.max_content_length = LARGEST
    if not request.is_json:
        raise Problem(415, "encoding", "a subscription is sent as application/json")
    try:
        return json.loads(request.get_data())
    except (ValueError, RecursionError):
        raise Problem(400, "malformed", "the subscription is not JSON") from None
