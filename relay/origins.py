"""Which pages may talk to this relay: those that it served, and those that RELAY_ORIGINS names. Never a wildcard."""
from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from ledger.errors import Problem

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization, X-API-Key, If-None-Match",
    "Access-Control-Max-Age": "600",
}
_EXPOSED = "ETag, Retry-After, RateLimit, RateLimit-Policy"


class Origins:
    """*named* are the pages elsewhere that may read, *url* is the relay's own address."""

    def __init__(self, named: Sequence[str], url: str) -> None:
        parts = urlsplit(url)
        self._named, self._own = frozenset(named), f"{parts.scheme}://{parts.netloc}".lower()

    def headers(self, origin: str, method: str = "GET") -> dict[str, str]:
        """What a browser must be told, so that a page of *origin* may read the answer. Never a wildcard."""
        told = dict(_PREFLIGHT) if method == "OPTIONS" else {}
        if self._named:
            told["Vary"] = "Origin"
        if origin and origin.lower() in self._named:
            told |= {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}
        return told

    def must_be_ours(self, origin: str, host: str) -> None:
        """Raises Problem 403 for a page of somebody else. No origin is no page."""
        if origin and origin.lower() not in self._named and origin.lower() != self._own and not _same(origin, host):
            raise Problem(403, "scope", "this page may not read here: name it in RELAY_ORIGINS")


def _same(origin: str, host: str) -> bool:
    """Whether a page of *origin* came from the host that it now asks."""
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
