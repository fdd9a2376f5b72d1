"""What API Gateway reports of its sockets, and what is answered: a page speaks the same here as with a self-hosted relay.

There is no process that could beat, so a page that hears nothing for a while asks with a heartbeat and is answered at once.
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ledger.errors import LedgerError, Problem
from ledger.serving.frames import encode, feed_frame
from ledger.serving.subscription import EVERYTHING, subscription_of
from ledger.times import iso
from relay.live.connections import Connections, Watcher, moved
from relay.live.fanout import Feed, Gone, Post
from relay.live.tickets import Tickets

OK: Mapping[str, Any] = {"statusCode": 200}
log = logging.getLogger("live")


class Sockets:
    """*still* says whether the key of that id is in force."""

    def __init__(self, connections: Connections, tickets: Tickets, feed: Feed, post: Post, still: Callable[[str], bool],
                 clock: Callable[[], int]) -> None:
        self._connections, self._tickets, self._feed, self._post, self._still, self._clock = connections, tickets, feed, post, still, clock

    def heard(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer one event; a refusal is a status, trouble is 500 and a line in the log."""
        context = event["requestContext"]
        id = context["connectionId"]
        try:
            match context["eventType"]:
                case "CONNECT":
                    self._connect(id, event)
                case "DISCONNECT":
                    self._connections.left(id)
                case _:
                    self._message(id, event.get("body") or "")
        except Problem as refusal:
            return {"statusCode": refusal.status}
        except Gone:
            self._connections.left(id)
        except LedgerError as error:
            log.warning("a viewer could not be answered: %s", error)
            return {"statusCode": 503}
        return OK

    def _connect(self, id: str, event: Mapping[str, Any]) -> None:
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        ticket = self._tickets.redeem((event.get("queryStringParameters") or {}).get("ticket", ""), headers.get("origin", ""))
        if ticket.key_id and not self._still(ticket.key_id):
            raise Problem(401, "key-revoked", "this key was revoked: create a new one with `python -m relay keys create`")
        self._connections.joined(id, ticket.tenant, ticket.key_id)

    def _message(self, id: str, body: str) -> None:
        """What is not JSON, or of no known type, is ignored: nothing that a page says closes its channel."""
        try:
            message = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        now = iso(self._clock())
        match message.get("type") if isinstance(message, dict) else None:
            case "ping":
                self._post(id, encode({"type": "pong", "timestamp": now}))
            case "heartbeat":
                self._post(id, encode({"type": "heartbeat_ack", "timestamp": now}))
            case "subscribe":
                self._subscribe(id, message)
            case "request_data":
                tenant, _ = self._let_in(id)
                self._post(id, feed_frame(self._feed(tenant, *EVERYTHING), None))

    def _let_in(self, id: str) -> tuple[str, str]:
        """Tenant and key of a connection that may hear more. Raises Gone."""
        known = self._connections.of(id)
        if known is None or (known[1] and not self._still(known[1])):
            raise Gone("this connection was never let in, or its key was revoked")
        return known

    def _subscribe(self, id: str, asked: Mapping[str, Any]) -> None:
        """From now on it gets the feed, first what it missed since its cursor."""
        known = self._let_in(id)
        since, tz, sessions = subscription_of(asked)
        # Known before anything is read: a push that comes meanwhile tells it of its news, from the same place on, and then it needs nothing from here.
        watcher = self._connections.subscribed(Watcher(known[0], id, since, tz, sessions, key_id=known[1]))
        feed = self._feed(known[0], since, tz, sessions)
        if self._connections.stands_at(moved(watcher, feed.get("cursor"))):
            self._post(id, feed_frame(feed, since))
