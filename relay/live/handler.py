"""Lambda's entry point for the live channel: sockets that connect, speak and leave, and crowds that the table's stream reports.

It needs neither Flask nor the relay's secret: who may watch was decided when the ticket was given.
"""
from __future__ import annotations

import gc

gc.disable()  # for as long as the start takes, as in relay/handler.py

from collections.abc import Mapping
from typing import Any

from ledger.clock import now_ms
from ledger.errors import Problem
from ledger.prices import PriceBook
from ledger.stores import open_store
from ledger.stores.dynamo_http import HttpClient
from ledger.views.shared import SharedViews
from relay.keys import KeyRing
from relay.live.connections import Connections
from relay.live.fanout import FanOut
from relay.live.gateway import Gateway
from relay.live.sockets import Sockets
from relay.live.tickets import Tickets
from relay.people.shares import shown_of
from relay.people.tenants import Tenants
from relay.settings import read

settings = read()
assert settings.account  # this is Lambda
store = open_store(settings.store, client=HttpClient(settings.account))
tenants = Tenants(store, now_ms)
views = SharedViews(store, PriceBook.load(), now_ms, shelf=store, shown_of=shown_of(store, now_ms), zone_of=lambda tenant: tenants.get(tenant).zone)
ring = KeyRing((), store, settings.revoked, now_ms)


def feed(tenant: str, cursor: str | None, tz: str, sessions: int) -> Mapping[str, Any]:
    return {**views.view(tenant).feed(cursor, tz, sessions), "home": "relay"}


def still(key_id: str) -> bool:
    try:
        ring.find(key_id, now_ms())
    except Problem:
        return False
    return True


post, connections = Gateway(settings.gateway, settings.account), Connections(store, now_ms)
sockets = Sockets(connections, Tickets(store, now_ms), feed, post, still, now_ms)
fanout = FanOut(connections, feed, post, still, store, now_ms)
gc.freeze()
gc.enable()


def live(event: Mapping[str, Any], context: object) -> Mapping[str, Any]:
    if "Records" in event:
        for tenant in {record["dynamodb"]["Keys"]["s"]["S"] for record in event["Records"]}:
            fanout.tell_all(tenant)
        return {}
    return sockets.heard(event)
