"""A relay with people who want to be told, a clock that is moved by hand, and somebody who hears what is sent."""
from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from relay.alerts.webhook import Refused
from tests.ledger.ledgerkit import DAY, HOUR, MINUTE, NOW, Laptop, a_session, ms, use
from tests.relay.house import RelayHouse

ALICE, BOB = "alice", "bob"
__all__ = ["ALICE", "BOB", "DAY", "HOUR", "MINUTE", "NOW", "Bell", "Receiver", "a_limit", "a_session", "ms", "receiver", "use"]


def a_limit(percent: float, resets_at: int, *, window: str = "five_hour", observed_at: int = NOW, account: str = "default") -> tuple[str, str, dict[str, Any]]:
    body = {"tool": "claude_code", "account": account, "window": window, "used_percent": percent, "resets_at": resets_at, "observed_at": observed_at, "source": "statusline"}
    return "limit", f"claude_code/{account}/{window}", body


class Bell(RelayHouse):
    """*told* is what the channels carried: (tenant, channel, message). A channel in *deaf* refuses."""

    def __init__(self, store: Any = None, **environ: str) -> None:
        super().__init__(store, RELAY_ALERTS_PRIVATE="yes", **environ)
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.numbers: list[str] = []
        self.deaf: set[str] = set()
        self.alerts.book.carry = self._carry  # type: ignore[method-assign]

    @property
    def alerts(self) -> Any:
        return self.relay.alerts

    def _carry(self, tenant: str, channel: Any, message: Any, number: str) -> None:
        if channel.name in self.deaf:
            raise Refused("it answered 500")
        self.told.append((tenant, channel.name, dict(message)))
        self.numbers.append(number)

    def wants(self, tenant: str = ALICE, *, channels: tuple[str, ...] = ("chat",), **settings: Any) -> None:
        """*tenant* is told by *channels*, with *settings* besides."""
        given = [{"name": name, "url": f"https://hooks.example/{name}"} for name in channels]
        self.alerts.book.change(tenant, {"channels": given, **settings})

    def laptop(self, source: str = "mbp-16", tenant: str = ALICE, **more: Any) -> Laptop:
        return Laptop(self.store, source, tenant, clock=self.clock, **more)

    def round(self, ms: int = 0) -> list[str]:
        """Time passes, everybody is looked after, and what is due is sent; the texts that were told meanwhile."""
        before = len(self.told)
        self.clock.goes(ms)
        self.alerts.duty.all()
        self.alerts.post.settle()
        self.alerts.duty.step()
        self.alerts.post.settle()
        return [message["text"] for _, _, message in self.told[before:]]


class Receiver:
    """A server that takes webhooks: *heard* are (path, headers, body); it answers *status*."""

    def __init__(self, port: int) -> None:
        self.port, self.status, self.heard = port, 204, list[tuple[str, dict[str, str], bytes]]()
        self.headers: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def texts(self) -> list[str]:
        return [json.loads(body)["data"]["text"] for _, _, body in self.heard]


@contextmanager
def receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    made: list[Receiver] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            made[0].heard.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(made[0].status)
            for name, value in made[0].headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    made.append(Receiver(server.server_address[1]))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made[0]
    finally:
        server.shutdown()
        server.server_close()
