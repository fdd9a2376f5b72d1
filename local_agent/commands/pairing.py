"""Pairing with a relay: is it there, is it one, does it take this key from this computer, and do our clocks agree.

The answers are gathered before anything is remembered, so that a typing error never replaces a pairing that works.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from ledger.errors import LedgerError, Misuse
from ledger.keytext import BadKey, KeyText
from local_agent.delivery import Delivery, Relay, parse
from local_agent.push.classify import Verdict, meaning_of_failure
from local_agent.push.transport import Reply

SKEW_S = 300


class Asker(Protocol):
    """A transport that can also look."""

    def get(self, url: str) -> Reply: ...


class NotPaired(LedgerError):
    """The relay or the key will not do; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """What answers at a relay's address."""

    url: str
    aud: str
    version: str
    skew_s: float | None = None
    document: dict[str, Any] = field(default_factory=dict)


def look(transport: Asker, url: str, now_ms: int) -> Found:
    """Ask a relay who it is. Raises NotPaired for everything that is no relay."""
    try:
        reply = transport.get(f"{url}/v1/ping")
    except Exception as error:  # every library under us raises its own kinds; each means no answer
        meaning = meaning_of_failure(error)
        hint = "check the address and the network" if meaning.verdict is not Verdict.PORTAL else "is this network asking you to log in?"
        raise NotPaired(f"{url} does not answer: {meaning.detail}; {hint}") from None
    document = parse(reply.body)
    if reply.status != 200 or document.get("home") not in ("relay", "agent"):
        raise NotPaired(f"what answers at {url} is no relay (status {reply.status}): check the address")
    if document["home"] == "agent":
        raise NotPaired(f"{url} is an agent, not a relay: use the relay's address (a local one is http://127.0.0.1:8787)")
    return Found(url, str(document.get("url") or url).rstrip("/"), str(document.get("version", "")), _skew(document, now_ms), document)


def _skew(document: dict[str, Any], now_ms: int) -> float | None:
    from datetime import datetime

    try:
        return now_ms / 1000 - datetime.fromisoformat(str(document.get("server_time"))).timestamp()
    except ValueError:
        return None


def usable_key(text: str, now_ms: int) -> KeyText:
    """A push key that has not expired. Raises Misuse for anything else."""
    key = read_key(text)
    if key.claims.expired(now_ms):
        raise Misuse("this key has expired: make a new one (python -m relay keys create --scope push --source NAME)")
    return key


def read_key(text: str) -> KeyText:
    """A push key, whether it is still in force or not. Raises Misuse for anything else."""
    if not text.strip():
        raise Misuse("the key is missing: say it after the URL, or write it to stdin (python -m relay keys create --scope push --source NAME makes one)")
    try:
        key = KeyText.parse(text.strip(), wanted="push")
    except BadKey as error:
        raise Misuse(str(error)) from None
    if key.scope != "push":
        raise Misuse(f"this is a {key.scope} key: an agent needs a push key (python -m relay keys create --scope push --source NAME)")
    return key


def relay_of(url: str, aud: str, key: KeyText) -> Relay:
    return Relay(url, aud, key.claims.source, key.id, (key.secret,))


def prove(delivery: Delivery, now_ms: int) -> None:
    """Send one signed beat that changes nothing, and see that the relay takes our word. Raises NotPaired."""
    outcome = delivery.probe(now_ms)
    if outcome.state != "synced":
        raise NotPaired(f"the relay does not take this key: {outcome.detail}; make a new one (python -m relay keys create --scope push --source NAME)")
