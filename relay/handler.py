"""Lambda's entry points for HTTP and for the schedule. Everything is built once, when an instance starts.

Sockets have a function of their own (relay/live/handler.py): their events have no path, so they must never reach Flask.
"""
from __future__ import annotations

import gc

# A start makes what stays. Looking for garbage in it is a twelfth of the start, and would be done again whenever the function works.
gc.disable()

import logging
from collections.abc import Mapping
from typing import Any

import serverless_wsgi

from ledger.clock import now_ms
from ledger.stores import open_store
from ledger.stores.dynamo_http import HttpClient
from relay.app import Relay, create_app
from relay.live.connections import Connections
from relay.live.fanout import FanOut
from relay.live.gateway import Gateway
from relay.payload import fitting
from relay.settings import read
from relay.vault import opened

settings = opened(read())
assert settings.account  # this is Lambda


def keep_days(tenant: str) -> int | None:
    return relay.keep_days(tenant)


store = open_store(settings.store, client=HttpClient(settings.account), keep_days=keep_days)
relay: Relay = Relay(settings, store)
fanout = FanOut(Connections(store, now_ms), relay.feed, Gateway(settings.gateway, settings.account), relay.door.still, store, now_ms)
relay.on_change, relay.push.apart = fanout.changed, fanout.apart_s
app = create_app(relay)
log = logging.getLogger("relay")
log.setLevel(logging.INFO)
logging.getLogger("audit").setLevel(logging.INFO)
ENOUGH_MS = 120_000
"""A round begins only with this much time left."""
gc.freeze()
gc.enable()


def http(event: dict[str, Any], context: object) -> Mapping[str, Any]:
    if "connectionId" in event["requestContext"]:
        return {"statusCode": 400}
    accept = next((value for name, value in event["headers"].items() if name.lower() == "accept-encoding"), "")
    return fitting(serverless_wsgi.handle_request(app, event, context), accept)


def upkeep(event: Mapping[str, Any], context: Any) -> str:
    """Every few minutes the alerts, and a night's rounds: every source's digest is looked at, or as many as time allows (the next night goes on from there).

    A step that failed makes the function fail, so that the alarm says so.
    """
    relay.on_change = fanout.leave_note
    if event.get("only") == "alerts":
        told = relay.alerts.duty.all()
        if relay.alerts.duty.trouble:
            raise RuntimeError(relay.alerts.duty.trouble)
        return f"{told} new alerts"
    seen: set[str] = set()
    while True:
        done = relay.upkeep.round()
        log.info("%s", done)
        if done.trouble:
            raise RuntimeError(done.trouble)
        if not done.scrubbed or done.scrubbed in seen or context is None or context.get_remaining_time_in_millis() < ENOUGH_MS:
            return str(done)
        seen.add(done.scrubbed)
