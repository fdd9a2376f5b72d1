"""Which pages may talk to this relay, and who may watch it live.

A page is ours if this relay served it or RELAY_ORIGINS names it. A live channel opens with a single-use ticket, bound to
the page that asked for it, or with a key in a header, which no page can send: never with a key in an address.
"""
from __future__ import annotations

from functools import partial

from ledger.errors import Problem
from ledger.http.request import Request
from ledger.serving.viewers import Admission
from relay.access import ANY, Door
from relay.limits import address_of
from relay.live.tickets import Tickets
from relay.origins import Origins


class Admissions:
    """Lets live viewers in."""

    def __init__(self, door: Door, tickets: Tickets, origins: Origins) -> None:
        self._door, self._tickets, self._origins = door, tickets, origins

    def admit(self, asked: Request) -> Admission:
        """Raises Problem 401, 403 or 429."""
        origin, ticket = asked.headers.get("origin", ""), asked.arguments.get("ticket", "")
        self._origins.must_be_ours(origin, asked.headers.get("host", ""))
        asked.note["headers"] = self._origins.headers(origin)
        if ticket:
            self._door.take_address(address_of(asked.client))
            held = self._tickets.redeem(ticket, origin)
            tenant, key_id = held.tenant, held.key_id
            if not self._door.still(key_id):
                raise Problem(401, "key-revoked", "the key behind this ticket is no longer in force: ask for a ticket with another key")
        else:
            entered = self._door.enter(asked.headers, address_of(asked.client), scopes=ANY)
            tenant, key_id = entered.access.tenant, entered.key_id
        asked.note.update(tenant=tenant, key=key_id[-12:] or "shared")
        return Admission(tenant, partial(self._door.still, key_id))
