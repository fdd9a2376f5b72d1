"""Tickets: how a page opens a live channel without its key standing in an address.

A ticket works once, for half a minute, for one tenant and one origin. The shelf keeps only its hash.
"""
from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger.errors import Problem
from ledger.store import Shelf

DRAWER = "tickets"
GOOD_FOR_MS = 30_000


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket stood for. *key_id* is the key that asked for it, so that a revocation ends the channel too."""

    tenant: str
    key_id: str = ""


class Tickets:
    def __init__(self, shelf: Shelf, clock: Callable[[], int]) -> None:
        self._shelf, self._clock = shelf, clock

    def issue(self, ticket: Ticket, origin: str) -> str:
        """A new ticket, for a page of *origin* ("" where there is none)."""
        text, now = secrets.token_urlsafe(24), self._clock()
        value = {"tenant": ticket.tenant, "key": ticket.key_id, "origin": origin}
        self._shelf.put(DRAWER, _hash(text), value, now=now, expect=0, expires=now + GOOD_FOR_MS)
        return text

    def redeem(self, text: str, origin: str) -> Ticket:
        """What *text* stands for, once. Raises Problem 401 for everybody else, always the same."""
        name = _hash(text[:200])
        document = self._shelf.take(DRAWER, name, now=self._clock())
        if document is None or not self._shelf.drop(DRAWER, name, expect=document.version) or document.value["origin"] != origin:
            raise Problem(401, "unknown-key", "this ticket is used up, too old, or of another page: ask for a new one")
        return Ticket(str(document.value["tenant"]), str(document.value["key"]))


def answer(ticket: str, url: str = "") -> dict[str, Sequence[str] | str | int]:
    """What POST /v1/live-tickets says; *url* only where the channel has an address of its own."""
    return {"ticket": ticket, "expires_in_s": GOOD_FOR_MS // 1000, **({"url": url} if url else {})}


def _hash(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()[:40]
