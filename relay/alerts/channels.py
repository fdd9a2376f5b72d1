"""A tenant's alert channels: kept with their address encrypted, shown without it, and used to send one message."""
from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ledger import __version__, signing
from ledger.errors import Conflict, LedgerError, Problem
from ledger.store import Shelf
from ledger.times import iso
from relay.alerts import carry, webhook
from relay.alerts.locker import Locker
from relay.alerts.webhook import Refused
from relay.alerts.wishes import APPRISE, WEBHOOK, Asked, Channel, Wishes, changed, kept

DRAWER = "alert-wishes"
TRIES = 5
TITLE = "Session Relay"
Message = Mapping[str, Any]


class Book:
    """Every tenant's alert settings, kept on the shelf."""

    def __init__(self, shelf: Shelf, locker: Locker, *, private: bool, clock: Callable[[], int]) -> None:
        self._shelf, self._locker, self.private, self._clock = shelf, locker, private, clock

    def read(self, tenant: str) -> Wishes:
        found = self._shelf.take(DRAWER, tenant, now=self._clock())
        return kept(found.value) if found else Wishes()

    def tenants(self) -> list[str]:
        """Those that ever set something."""
        return [name for name, _ in self._shelf.list(DRAWER, now=self._clock())]

    def change(self, tenant: str, asked: Any) -> tuple[Wishes, dict[str, str]]:
        """The wishes after *asked*, and the secrets that were made for new webhooks, told this once. Raises Problem."""
        for _ in range(TRIES):
            found = self._shelf.take(DRAWER, tenant, now=self._clock())
            wishes, channels = changed(kept(found.value) if found else Wishes(), asked)
            made: dict[str, str] = {}
            if channels is not None:
                known = {channel.name: channel for channel in wishes.channels}
                wishes = _with(wishes, [self._channel(one, known.get(one.name), tenant, made) for one in channels])
            try:
                self._shelf.put(DRAWER, tenant, _plain(wishes), now=self._clock(), expect=found.version if found else 0)
            except Conflict:
                continue
            return wishes, made
        raise Problem(409, "state", "the settings are being changed by somebody else: try again")

    def set_channel(self, tenant: str, one: dict[str, Any]) -> tuple[Wishes, dict[str, str]]:
        """Add a channel, or change the one of that name. Raises Problem."""
        others, _ = self._others(tenant, str(one.get("name")))
        return self.change(tenant, {"channels": [*others, one]})

    def drop_channel(self, tenant: str, name: str) -> bool:
        """Whether there was one of that name. Raises Problem."""
        others, known = self._others(tenant, name)
        if known:
            self.change(tenant, {"channels": others})
        return known

    def _others(self, tenant: str, name: str) -> tuple[list[dict[str, Any]], bool]:
        """The channels but that of *name*, in the words that keep them as they are; and whether there is one of that name."""
        channels = self.read(tenant).channels
        others = [channel for channel in channels if channel.name != name]
        return [{"name": one.name, "least": one.least, "on": one.on} for one in others], len(others) < len(channels)

    def _channel(self, asked: Asked, known: Channel | None, tenant: str, made: dict[str, str]) -> Channel:
        if asked.url is None and asked.secret is None and known and asked.kind in (None, known.kind):
            return Channel(name=asked.name, kind=known.kind, least=asked.least, on=asked.on, shown=known.shown, locked=known.locked)
        if asked.url is None and not (known and asked.secret is not None and asked.kind in (None, known.kind)):
            raise Problem(400, "malformed", f"channel {asked.name} needs a url")
        before = self.opened(known, tenant) if known and known.kind == WEBHOOK else {}
        url = asked.url if asked.url is not None else before.get("url", "")
        kind = asked.kind or (WEBHOOK if url.startswith(("https://", "http://")) else APPRISE)
        held = {"url": url}
        if kind == WEBHOOK:
            webhook.parts_of(url, private=self.private)
            held["secret"] = asked.secret or before.get("secret") or made.setdefault(asked.name, new_secret())
            secret_of(held["secret"])
        elif asked.secret is not None:
            raise Problem(400, "malformed", "a secret is for webhooks: an apprise address has its own inside")
        else:
            carry.checked(url, private=self.private)
        return Channel(name=asked.name, kind=kind, least=asked.least, on=asked.on, shown=masked(url, kind), locked=self._locker.lock(json.dumps(held), tenant))

    def opened(self, channel: Channel, tenant: str) -> dict[str, str]:
        held: dict[str, str] = json.loads(self._locker.open(channel.locked, tenant))
        return held

    def carry(self, tenant: str, channel: Channel, message: Message, number: str) -> None:
        """Send *message* by *channel*. Raises Refused with the reason."""
        try:
            held = self.opened(channel, tenant)
        except LedgerError as error:
            raise Refused(str(error)) from None
        try:
            if channel.kind == WEBHOOK:
                _post(held, tenant, message, number, at=self._clock() // 1000, private=self.private)
            else:
                carry.carry(carry.checked(held["url"], private=self.private), title=TITLE, text=message["text"], level=message["level"], private=self.private)
        except Problem as problem:  # what was allowed when it was set is not any more
            raise Refused(problem.detail) from None


def _post(held: Mapping[str, str], tenant: str, message: Message, number: str, *, at: int, private: bool) -> None:
    data = {name: message[name] for name in ("id", "rule", "level", "text")} | {"tenant": tenant}
    body = json.dumps({"type": message["type"], "timestamp": iso(message["at"]), "data": data}, ensure_ascii=False).encode()
    signed = signing.headers(body, [secret_of(held["secret"])], number, at)
    status = webhook.post(held["url"], body, {**signed, "content-type": "application/json", "user-agent": f"session-relay/{__version__}"}, private=private)
    if 300 <= status < 400:
        raise Refused(f"it answered {status}: redirects are not followed, name the last address")
    if not 200 <= status < 300:
        raise Refused(f"it answered {status}")


def _with(wishes: Wishes, channels: Iterable[Channel]) -> Wishes:
    return Wishes(rules=wishes.rules, quiet=wishes.quiet, tz=wishes.tz, channels=tuple(channels))


def _plain(wishes: Wishes) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(wishes)
    return plain


def masked(url: str, kind: str) -> str:
    """What may be shown: where a webhook goes, of apprise the service alone."""
    return f"{urlsplit(url).scheme}://{urlsplit(url).hostname}/…" if kind == WEBHOOK else f"{url.partition('://')[0]}://…"


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def secret_of(text: str) -> bytes:
    """The bytes of a secret as Standard Webhooks writes it. Raises Problem 400."""
    try:
        raw = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        raw = b""
    if not 16 <= len(raw) <= 64:
        raise Problem(400, "malformed", "a webhook's secret is whsec_ and 16 to 64 bytes of base64; leave it out to have one made")
    return raw
