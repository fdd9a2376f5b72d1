"""Who may ask the agent anything: pages of this computer, and to read, pages that a person allowed by name.

Any web page in the world can send requests to localhost, and can even give its own name this computer's address. So
every request must name us as its host and come from a page that we know. Pages of elsewhere may only read, never change
something; nothing that changes something is a GET, and what a form could send is refused.
"""
from __future__ import annotations

from collections.abc import Callable

from ledger.errors import Problem
from ledger.http.request import Request

NAMES = ("localhost", "127.0.0.1", "[::1]")
SAFE = ("GET", "HEAD", "OPTIONS")
DATA = ("/api", "/ws", "/v1", "/metrics", "/healthz")
"""Paths that hold data; the rest is the page itself, which holds none."""


class Guard:
    """*port* tells the port once it is known, *origins* are the pages of elsewhere that may read."""

    def __init__(self, port: Callable[[], int], *, origins: Callable[[], frozenset[str]]) -> None:
        self._port, self._origins = port, origins

    def check(self, asked: Request) -> None:
        """Raises Problem 403 for whoever may not."""
        if asked.headers.get("host", "").lower() not in self._hosts():
            raise Problem(403, "host", "this address is not the agent's: open http://localhost and its port")
        if asked.origin is None:
            self._check_without_origin(asked)
        elif not self.is_own(asked.origin):
            self._check_foreign(asked)

    def _check_without_origin(self, asked: Request) -> None:
        """Curl and scripts send none; a browser that sends none says at least from where it comes."""
        site = asked.headers.get("sec-fetch-site", "none").lower()
        if site in ("none", "same-origin"):
            return
        # Following a link to our page is fine: it shows nothing to the page that had the link.
        opens_the_page = asked.headers.get("sec-fetch-mode") == "navigate" and asked.headers.get("sec-fetch-dest") == "document"
        if asked.method not in SAFE or not opens_the_page or asked.path.startswith(DATA):
            raise Problem(403, "origin", "pages of other sites may not ask the agent")

    def _check_foreign(self, asked: Request) -> None:
        if not self.is_allowed(asked.origin or ""):
            raise Problem(403, "origin", "this page may not ask the agent: a person can allow it with AGENT_ORIGINS")
        if asked.method not in SAFE:
            raise Problem(403, "origin", "pages of other sites may read, not change anything here")

    def is_own(self, origin: str) -> bool:
        return origin in {f"http://{host}" for host in self._hosts()}

    def is_allowed(self, origin: str) -> bool:
        return origin in self._origins()

    def _hosts(self) -> set[str]:
        port = self._port()
        return {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())

    def cors(self, origin: str | None) -> dict[str, str]:
        """The answer's headers for a page of *origin*; nothing for pages that may not read it. Never a wildcard."""
        if not origin or not (self.is_own(origin) or self.is_allowed(origin)):
            return {"vary": "Origin"}
        return {"vary": "Origin", "access-control-allow-origin": origin, "access-control-expose-headers": "etag"}

    def preflight(self, origin: str | None) -> dict[str, str]:
        granted = self.cors(origin)
        if "access-control-allow-origin" in granted:
            granted |= {
                "access-control-allow-methods": "GET, POST, OPTIONS", "access-control-max-age": "600",
                "access-control-allow-headers": "Content-Type, Authorization, X-API-Key, If-None-Match",
            }  # fmt: skip
        return granted

