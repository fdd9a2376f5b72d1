"""Web Push: alerts on a phone whose page is closed.

The relay makes its own VAPID key on first use and keeps it on the shelf. A subscription is a browser's
offer to be reached at its vendor's push service; only known services are called, so nobody can make the
relay call an address of their choosing. The text is encrypted for that browser alone (RFC 8291).
"""
from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ledger.errors import Conflict, Problem
from ledger.store import Shelf

if TYPE_CHECKING:
    from requests import Session

SERVICES = ("fcm.googleapis.com", "updates.push.services.mozilla.com", "push.apple.com", "notify.windows.com")
"""Where Chrome, Firefox, Safari and Edge are reached, also through subdomains."""
MOST = 20
"""Subscriptions of one tenant."""
TTL_S = 3600
LONGEST = 800
"""Characters; a browser's service takes some 4 KB."""
TIMEOUT_S = 10.0
_ENDPOINT = re.compile(r"https://([A-Za-z0-9.-]+)(?::443)?/[!-\[\]-~]*")
DRAWER, VAPID, LISTENS = "webpush", "vapid", "tenant:"

Send = Callable[..., int]


def is_available() -> bool:
    """Is the library here? A function goes without it: it is larger than all the rest together."""
    return find_spec("pywebpush") is not None


def drawer(tenant: str) -> str:
    return f"{DRAWER}/{tenant}"


def checked(subscription: object) -> dict[str, Any]:
    """A browser's subscription in the three members that matter; Problem 400 for anything else."""
    if not isinstance(subscription, Mapping) or not isinstance(subscription.get("keys"), Mapping):
        raise Problem(400, "malformed", "a subscription has the members endpoint and keys {p256dh, auth}")
    endpoint, keys = subscription.get("endpoint"), subscription["keys"]
    if not isinstance(endpoint, str) or len(endpoint) > 2000 or not reachable(endpoint):
        raise Problem(400, "malformed", "the endpoint is not that of a known push service")
    for name, size in (("p256dh", 65), ("auth", 16)):
        if len(decoded(keys.get(name))) != size:
            raise Problem(400, "malformed", f"keys.{name} is not {size} bytes of base64url")
    return {"endpoint": endpoint, "keys": {"p256dh": keys["p256dh"], "auth": keys["auth"]}}


def reachable(endpoint: str) -> bool:
    """Does it lead to one of SERVICES, and nowhere else? In letters of which no library makes anything else: some take a backslash
    for the end of the host, some for a part of it."""
    found = _ENDPOINT.fullmatch(endpoint)
    host = found[1].lower() if found else ""
    return any(host == service or host.endswith("." + service) for service in SERVICES)


def decoded(text: object) -> bytes:
    if not isinstance(text, str):
        return b""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""


class WebPush:
    """The subscriptions of all tenants and the sending to them."""

    def __init__(self, shelf: Shelf, *, url: str, clock: Callable[[], int], send: Send | None = None) -> None:
        """*url* is the relay's own, told to push services as the one to complain to; *clock* gives milliseconds."""
        self._shelf, self._clock = shelf, clock
        self._contact = url if url.startswith("https:") else f"mailto:operator@{urlsplit(url).hostname}"
        self._send = send or deliver

    def public_key(self) -> str:
        """The VAPID public key as browsers want it (base64url of the uncompressed point)."""
        return str(self._keys()["public"])

    def subscribe(self, tenant: str, subscription: object) -> str:
        """Keep a subscription; returns its id. Subscribing again replaces."""
        kept = checked(subscription)
        id = hashlib.sha256(kept["endpoint"].encode()).hexdigest()[:32]
        others = [name for name, _ in self._shelf.list(drawer(tenant), now=self._clock()) if name != id]
        if len(others) >= MOST:
            raise Problem(409, "quota", f"there are {MOST} subscriptions already: remove one first")
        self._shelf.put(drawer(tenant), id, kept, now=self._clock())
        self._shelf.put(DRAWER, LISTENS + tenant, {}, now=self._clock())
        return id

    def tenants(self) -> list[str]:
        """Who has subscribed, now or once."""
        return [name.removeprefix(LISTENS) for name, _ in self._shelf.list(DRAWER, LISTENS, now=self._clock())]

    def has(self, tenant: str) -> bool:
        """Does any browser of the tenant want to be told?"""
        return is_available() and next(iter(self._shelf.list(drawer(tenant), now=self._clock())), None) is not None

    def unsubscribe(self, tenant: str, id: str) -> bool:
        return self._shelf.drop(drawer(tenant), id)

    def tell(self, tenant: str, alert: Mapping[str, Any]) -> int:
        """Send one alert to every browser of the tenant; returns how many took it. Gone browsers are forgotten."""
        text = json.dumps({"id": alert["id"], "level": alert["level"], "text": alert["text"][:LONGEST]}, ensure_ascii=False)
        reached = 0
        for id, document in list(self._shelf.list(drawer(tenant), now=self._clock())):
            known = reachable(str(document.value.get("endpoint")))
            status = self._send(dict(document.value), text, str(self._keys()["private"]), self._contact) if known else 410
            reached += 200 <= status < 300
            if status in (404, 410):
                self._shelf.drop(drawer(tenant), id)
        return reached

    def _keys(self) -> Mapping[str, object]:
        found = self._shelf.take(DRAWER, VAPID, now=self._clock())
        if found is None:
            try:
                self._shelf.put(DRAWER, VAPID, new_keys(), now=self._clock(), expect=0)
            except Conflict:
                pass  # another instance made one first: theirs is the one
            found = self._shelf.take(DRAWER, VAPID, now=self._clock())
            assert found is not None
        return found.value


def new_keys() -> dict[str, str]:
    """A fresh P-256 pair, both parts base64url without padding."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    private = ec.generate_private_key(ec.SECP256R1())
    number = private.private_numbers().private_value.to_bytes(32, "big")
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return {"private": unpadded(number), "public": unpadded(point)}


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def deliver(subscription: dict[str, Any], text: str, private: str, contact: str, *, session: Session | None = None) -> int:
    """Encrypt and POST; the push service's status, or 0 where it could not be reached."""
    import requests
    from pywebpush import WebPushException, webpush

    try:
        with nullcontext(session) if session else requests.Session() as used:
            used.max_redirects = 0  # wherever a service may point to, nobody there is called
            answer = webpush(
                subscription, text, vapid_private_key=private, vapid_claims={"sub": contact}, timeout=TIMEOUT_S, ttl=TTL_S, requests_session=used
            )
    except WebPushException as refused:
        return refused.response.status_code if refused.response is not None else 0
    except requests.RequestException:
        return 0
    return answer.status_code if not isinstance(answer, str) else 0
